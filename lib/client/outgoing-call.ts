import { isObservable } from 'rxjs';
import { resolveEncoding } from '../bridge/encodings.js';
import { patternToRpc, type DrpcPattern } from '../bridge/pattern.js';
import { isStreamedValue } from '../bridge/streamed-value.js';
import { marshalChecked, type Encoding } from '../encoding/encoding.js';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';
import { typeName } from '../errors/type-name.js';
import { unknownNameIn } from '../errors/unknown-name.js';
import { assertUserMetadata, mergeMetadata, type Metadata } from '../metadata/metadata.js';
import type { CallSpec } from '../pool/call.js';
import type { RequestFeed } from '../pool/outbox.js';
import type { Payload } from '../stream/stream.js';
import type { DrpcOutgoingCall } from './drpc-client.interceptor.js';
import type { ResolvedClientOptions } from './drpc-client.options.js';
import { DrpcRecord, type DrpcCallOptions } from './drpc.record.js';
import { IterableRequest, ObservableRequest } from './request-streams.js';

/** What a client says of all its calls. */
type Defaults = Pick<ResolvedClientOptions, 'encoding' | 'encodings' | 'metadata' | 'timeout'>;

/** Longer texts wait as bytes. */
const LONG_TEXT = 4096;

const CALL_OPTIONS: readonly string[] = [
  'metadata',
  'timeout',
  'signal',
  'encoding',
] satisfies (keyof DrpcCallOptions)[];

const NO_METADATA: Readonly<Metadata> = Object.freeze({});

/**
 * Puts a call together: of what the client says of all calls, what the dispatch hook added, and what the call
 * itself brings, alone or in a record; the later goes before the earlier.
 * @throws TypeError or RangeError for what is wrong with it.
 */
export function outgoingCall(
  defaults: Defaults,
  kind: DrpcOutgoingCall['kind'],
  pattern: unknown,
  data: unknown,
  options: DrpcCallOptions,
  hooked: Metadata | undefined,
): DrpcOutgoingCall {
  const rpc = patternToRpc(pattern);
  const record = data instanceof DrpcRecord ? data : undefined;
  const given = record ? { ...record.options, ...definedOf(options) } : options;
  // A misspelt timeout would be none.
  const unknown = unknownNameIn('call option', given, CALL_OPTIONS);
  if (unknown !== undefined) throw new TypeError(unknown);
  const { metadata, timeout, signal, encoding } = given;
  return {
    kind,
    pattern: pattern as DrpcPattern,
    rpc,
    data: record ? record.data : data,
    metadata: mergedMetadata(defaults.metadata, hooked, metadata),
    timeout: timeout === undefined ? defaults.timeout : checkedTimeout(timeout),
    signal: signal === undefined ? undefined : checkedSignal(signal),
    encoding:
      encoding === undefined
        ? (defaults.encodings.get(rpc) ?? defaults.encoding)
        : resolveEncoding(encoding, 'encoding'),
  };
}

/** The call as the pool takes it. @throws DrpcError (code 3) when its payload has no form in its encoding. */
export function callSpec({ rpc, data, encoding, metadata, timeout, signal }: DrpcOutgoingCall): CallSpec {
  const source = requestFeed(data, rpc, encoding);
  const payload = source ? undefined : kept(marshal(data, rpc, encoding, reasonOf));
  return { rpc, encoding, payload, source, metadata, timeout, signal };
}

/** What is wrong with a call before it leaves is its caller's fault: code 3. */
export function invalidCall(error: unknown): DrpcError {
  if (error instanceof DrpcError) return error;
  const message = error instanceof Error ? error.message : 'the call can not be made';
  return new DrpcError(DrpcCode.InvalidArgument, message, { cause: error });
}

/** A pattern for logs and errors, whatever it is. */
export function showPattern(pattern: unknown): string {
  if (typeof pattern === 'string') return `"${escapeName(pattern)}"`;
  try {
    return escapeName(patternToRpc(pattern));
  } catch {
    return typeName(pattern);
  }
}

function mergedMetadata(
  defaults: Readonly<Metadata> | undefined,
  hooked: Metadata | undefined,
  own: Readonly<Metadata> | undefined,
): Readonly<Metadata> {
  if (hooked === undefined && own === undefined) return defaults ?? NO_METADATA;
  if (hooked !== undefined) assertUserMetadata(hooked);
  if (own !== undefined) assertUserMetadata(own);
  return mergeMetadata(defaults, hooked, own);
}

/** An explicit `undefined` is no setting. */
function definedOf(options: DrpcCallOptions): DrpcCallOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function checkedTimeout(timeout: unknown): number | undefined {
  if (timeout === Infinity) return undefined;
  if (typeof timeout === 'number' && timeout >= 0) return timeout;
  const shown = typeof timeout === 'number' ? timeout : typeName(timeout);
  throw new RangeError(`timeout is ${shown}: must be a number of milliseconds of at least 0, or Infinity`);
}

function checkedSignal(signal: unknown): AbortSignal {
  if (signal instanceof AbortSignal) return signal;
  throw new TypeError(`signal is ${typeName(signal)}: must be an AbortSignal`);
}

function requestFeed(data: unknown, rpc: string, encoding: Encoding): RequestFeed | undefined {
  if (typeof data !== 'object' || data === null) return undefined;
  const toMessage = (value: unknown): Payload => marshal(value, rpc, encoding);
  if (isObservable(data)) return new ObservableRequest(data, toMessage);
  return isStreamedValue(data) ? new IterableRequest(data, toMessage) : undefined;
}

/** A call keeps its message until it is answered, and the garbage collector moves large texts about that live so long. */
function kept(payload: Payload): Payload {
  return typeof payload === 'string' && payload.length > LONG_TEXT ? Buffer.from(payload) : payload;
}

/**
 * @param reason what the error says of its cause. The error of a request stream goes to the service, and foreign texts
 * stay here: there it says nothing.
 */
function marshal(
  value: unknown,
  rpc: string,
  encoding: Encoding,
  reason: (cause: unknown) => string = () => '',
): Payload {
  try {
    return marshalChecked(encoding, value);
  } catch (cause) {
    throw new DrpcError(
      DrpcCode.InvalidArgument,
      `the request of rpc "${escapeName(rpc)}" can not be encoded as ${escapeName(encoding.name)}${reason(cause)}`,
      { cause },
    );
  }
}

/** In one line: JSON.stringify() tells of a circle in several. */
function reasonOf(cause: unknown): string {
  return cause instanceof Error ? `: ${escapeName(cause.message.replace(/\s+/g, ' '))}` : '';
}
