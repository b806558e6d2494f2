import { SpanKind, SpanStatusCode, type Attributes, type SpanStatus } from '@opentelemetry/api';
import { DrpcCode } from '../errors/codes.js';

/*
 * Names of OpenTelemetry's semantic conventions for RPC, stable since 1.45.
 * @see https://opentelemetry.io/docs/specs/semconv/rpc/
 */
const SYSTEM = 'rpc.system.name';
const METHOD = 'rpc.method';
const STATUS_CODE = 'rpc.status_code';
const ERROR_TYPE = 'error.type';
export const CLIENT_DURATION = 'rpc.client.call.duration';
export const SERVER_DURATION = 'rpc.server.call.duration';
export const SERVER_ADDRESS = 'server.address';
export const SERVER_PORT = 'server.port';
export const PEER_ADDRESS = 'network.peer.address';
export const PEER_PORT = 'network.peer.port';

/** Bounds of the buckets for durations, in seconds. */
export const DURATION_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

/** Codes that are faults of the server; of all others its caller is the cause, and they leave its spans alone. */
const SERVER_FAULTS: ReadonlySet<DrpcCode> = new Set([
  DrpcCode.Unknown,
  DrpcCode.DeadlineExceeded,
  DrpcCode.Unimplemented,
  DrpcCode.Internal,
  DrpcCode.Unavailable,
  DrpcCode.DataLoss,
]);

/** What is known of a call when it begins. */
export function callAttributes(rpc: string): Attributes {
  return { [SYSTEM]: 'drpc', [METHOD]: rpc };
}

/** What is known of it at its end, beside that. */
export function endAttributes(code: DrpcCode, isFault: boolean): Attributes {
  const name = statusName(code);
  return isFault ? { [STATUS_CODE]: name, [ERROR_TYPE]: name } : { [STATUS_CODE]: name };
}

/** Whether a call that ended with `code` counts as failed, seen from this side. */
export function isFault(kind: SpanKind, code: DrpcCode): boolean {
  return kind === SpanKind.SERVER ? SERVER_FAULTS.has(code) : code !== DrpcCode.Ok;
}

export function faultStatus(message: string | undefined): SpanStatus {
  return { code: SpanStatusCode.ERROR, ...(message !== undefined && { message }) };
}

/** gRPC's name of a code: `DEADLINE_EXCEEDED`. */
export function statusName(code: DrpcCode): string {
  // gRPC spells this one with two l.
  if (code === DrpcCode.Canceled) return 'CANCELLED';
  return DrpcCode[code].replace(/(?<=[a-z])[A-Z]/g, '_$&').toUpperCase();
}
