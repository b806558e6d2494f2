/** Traces and metrics by @opentelemetry/api, which this needs at once: `nestjs-drpc/opentelemetry`. */

export { type TelemetryOptions } from './telemetry/call-telemetry.js';
export { instrumentClient, type ClientMetricsOptions } from './telemetry/instrument-client.js';
export { instrumentServer } from './telemetry/instrument-server.js';
export { telemetryInterceptor } from './telemetry/telemetry-interceptor.js';
