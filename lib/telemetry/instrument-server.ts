import { context, propagation, ROOT_CONTEXT, SpanKind, type Attributes } from '@opentelemetry/api';
import { DrpcCode } from '../errors/codes.js';
import type { DrpcContext } from '../transport/drpc.context.js';
import type { DrpcServer } from '../transport/drpc.server.js';
import { CallTelemetry, type CallSpan, type TelemetryOptions } from './call-telemetry.js';
import { PEER_ADDRESS, PEER_PORT, SERVER_DURATION } from './conventions.js';
import { observeServer } from './server-metrics.js';

/**
 * Makes a span of each call of a server, as a part of the trace that came in its metadata, measures it, and has
 * its handler run within that span. While the server listens its {@link DrpcServer.stats} are metrics, too.
 *
 * It uses the processing hooks of the server. Those that were set before are kept; set none afterwards.
 * @returns the server, which is the strategy of a microservice
 */
export function instrumentServer<Server extends DrpcServer>(
  server: Server,
  options: TelemetryOptions = {},
): Server {
  const telemetry = new CallTelemetry(SpanKind.SERVER, SERVER_DURATION, options);
  const spans = new WeakMap<DrpcContext, CallSpan>();
  server.aroundProcessing(
    (call, run) => {
      const parent = propagation.extract(ROOT_CONTEXT, call.metadata);
      const span = telemetry.begin(call.pattern, parent, peerAttributes(call));
      spans.set(call, span);
      return context.with(span.context, run);
    },
    (call) => spans.get(call)?.end(call.code ?? DrpcCode.Ok),
  );
  observeServer(server, () => telemetry.meter);
  return server;
}

function peerAttributes({ peer: { address, port } }: DrpcContext): Attributes {
  return address === undefined ? {} : { [PEER_ADDRESS]: address, [PEER_PORT]: port };
}
