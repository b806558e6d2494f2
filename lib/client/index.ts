export {
  type DrpcApiPattern,
  type DrpcArguments,
  type DrpcFreePattern,
  type DrpcRequest,
  type DrpcResponse,
} from './drpc-api.js';
export { drpcClient, type DrpcClientProvider } from './drpc-client.helper.js';
export { type DrpcClientInterceptor, type DrpcOutgoingCall } from './drpc-client.interceptor.js';
export { type DrpcClientOptions } from './drpc-client.options.js';
export { type DrpcClientStats } from './client-stats.js';
export { type DrpcClientEvents } from './client-listeners.js';
export { DrpcClient } from './drpc.client.js';
export {
  DrpcHealthIndicator,
  type DrpcHealthCallOptions,
  type DrpcHealthOptions,
  type DrpcHealthReport,
  type DrpcHealthResult,
} from './drpc.health.js';
export {
  type DrpcServiceCallOptions,
  type DrpcServiceClient,
  type DrpcServiceForm,
  type DrpcServiceMethod,
  type DrpcServiceOptions,
} from './drpc.services.js';
export { DrpcRecord, DrpcRecordBuilder, type DrpcCallOptions } from './drpc.record.js';
