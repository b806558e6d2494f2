import { ProtocolError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';
import { typeName } from '../errors/type-name.js';
import { MIN_STREAM_WINDOW } from '../stream/recv-window.js';
import { uint64, type Uint64 } from '../wire/varint.js';

/** The rpc by which two peers of this library find each other; see docs/protocol.md, control stream. */
export const CONTROL_RPC = '/nestjs.drpc.v1.Control/Open';

/** The `lastStreamId` of a server that takes whatever a client sends before it hears the goaway. */
export const ALL_STREAMS = Number.MAX_SAFE_INTEGER;

/** Messages of the control stream are small. */
export const MAX_CONTROL_SIZE = 4096;

/** Size limits of a connection, as far as they were set, with room for the control stream's name and messages. */
export function withRoomForControl<T extends MessageLimits>(options: T): T {
  const atLeast = (least: number, size: number | undefined): number | undefined =>
    size === undefined ? undefined : Math.max(size, least);
  return {
    ...options,
    maxNameSize: atLeast(CONTROL_RPC.length, options.maxNameSize),
    maximumBufferSize: atLeast(MAX_CONTROL_SIZE, options.maximumBufferSize),
    maxSendSize: atLeast(MAX_CONTROL_SIZE, options.maxSendSize),
    maxReceiveSize: atLeast(MAX_CONTROL_SIZE, options.maxReceiveSize),
  };
}

interface MessageLimits {
  maxNameSize?: number;
  maximumBufferSize?: number;
  maxSendSize?: number;
  maxReceiveSize?: number;
}

/** What a peer announces when a connection begins. Sizes in bytes, times in milliseconds. */
export interface Settings {
  /** Credit it gives each stream that sends to it. */
  streamWindow: number;
  /** The largest message it takes. */
  maxMessageSize: number;
  /** Streams it runs at once (server). */
  maxStreams?: number;
  /** How often it pings an idle connection (server). */
  pingInterval?: number;
  library?: string;
  version?: string;
}

/** What travels on the control stream: one JSON object a message, told apart by `type`. */
export type ControlMessage =
  | ({ type: 'settings' } & Settings)
  | { type: 'ping'; id: number }
  | { type: 'pong'; id: number }
  | { type: 'goaway'; lastStreamId: Uint64; reason: string };

/** A message as it travels; stream ids beyond 2^53 as decimal text, a limit that is none as the greatest number. */
export function marshalControl(message: ControlMessage): string {
  return JSON.stringify(message, (_key, value: unknown) => {
    if (typeof value === 'bigint') return value.toString();
    return value === Infinity ? Number.MAX_SAFE_INTEGER : value;
  });
}

/**
 * Reads a message; `undefined` for a type that this version does not know, which is to be ignored.
 * @throws ProtocolError for everything malformed; ends the connection.
 */
export function unmarshalControl(bytes: Buffer, start: number, end: number): ControlMessage | undefined {
  if (end - start > MAX_CONTROL_SIZE) {
    throw malformed(`${end - start} bytes: at most ${MAX_CONTROL_SIZE} are allowed`);
  }
  const text = bytes.toString('utf8', start, end);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw malformed(`not JSON: "${escapeName(text, 64)}"`, error);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw malformed('not a JSON object');
  const fields = new Map(Object.entries(value));
  switch (fields.get('type')) {
    case 'settings':
      return { type: 'settings', ...readSettings(fields) };
    case 'ping':
    case 'pong':
      return { type: fields.get('type') as 'ping' | 'pong', id: readCount(fields, 'id', 0) };
    case 'goaway':
      return { type: 'goaway', lastStreamId: readId(fields), reason: readText(fields, 'reason') };
    default:
      if (typeof fields.get('type') !== 'string') throw malformed('no type: a message says what it is');
      return undefined;
  }
}

function readSettings(fields: ReadonlyMap<string, unknown>): Settings {
  const optional = (name: string, least: number): number | undefined =>
    fields.has(name) ? readCount(fields, name, least) : undefined;
  return {
    streamWindow: readCount(fields, 'streamWindow', MIN_STREAM_WINDOW),
    maxMessageSize: readCount(fields, 'maxMessageSize', 1),
    maxStreams: optional('maxStreams', 1),
    pingInterval: optional('pingInterval', 0),
    library: readText(fields, 'library'),
    version: readText(fields, 'version'),
  };
}

function readCount(fields: ReadonlyMap<string, unknown>, name: string, least: number): number {
  const value = fields.get(name);
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least) return value;
  const shown = typeof value === 'number' ? String(value) : typeName(value);
  throw malformed(`${name} is ${shown}: it must be a whole number of at least ${least}`);
}

/** What is only shown to people; anything but text is as good as nothing. */
function readText(fields: ReadonlyMap<string, unknown>, name: string): string {
  const value = fields.get(name);
  return typeof value === 'string' ? value : '';
}

function readId(fields: ReadonlyMap<string, unknown>): Uint64 {
  const value = fields.get('lastStreamId');
  if (typeof value === 'string' && /^\d{1,20}$/.test(value)) return uint64(BigInt(value));
  return readCount(fields, 'lastStreamId', 0);
}

function malformed(what: string, cause?: unknown): ProtocolError {
  return new ProtocolError(`malformed message on the control stream: ${what}`, { cause });
}
