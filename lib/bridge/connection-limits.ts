import { numberOption, type NumberRule } from './options.js';

const KIB = 1024;
const MIB = 1024 * KIB;
/** The longest that a timer can hold, in ms. */
export const MAX_TIME = 2 ** 31 - 1;
/** Beyond this a size is no limit for one process. */
export const MAX_SIZE = 2 ** 31 - 1;

/** The library's own messages need so much. */
const LEAST_MESSAGE = 4 * KIB;

/** Bounds of one connection, of either end. Sizes in bytes, times in milliseconds. */
export interface ConnectionLimits {
  /** Largest message that is sent. Default: 4 MiB. */
  maxSendSize?: number | undefined;
  /** Largest message that is received; a larger one ends its call with code 8. Default: 4 MiB. */
  maxReceiveSize?: number | undefined;
  /** Largest frame that is sent; longer messages are split. Default: 64 KiB. */
  splitSize?: number | undefined;
  /** Largest frame that is received; a larger one ends the connection. Default: 4 MiB. */
  maximumBufferSize?: number | undefined;
  /** Largest metadata of a call, encoded, and 100 bytes for each entry; larger ones end it with code 8. Default: 64 KiB. */
  maxMetadataSize?: number | undefined;
  /** Credit that each stream of a peer with windows gets. Default: 2 MiB. */
  streamWindow?: number | undefined;
  /** Messages that may wait on a stream of a peer without windows. Default: 256. */
  recvQueueMessages?: number | undefined;
  /** Bytes that may wait on a stream of a peer without windows. Default: 2 MiB. */
  recvQueueSize?: number | undefined;
  /** Bytes of received messages and metadata that a connection may hold. Default: 64 MiB. */
  maxReceivedBytes?: number | undefined;
  /** Bytes that may wait on a stream for a source that cannot wait. Default: 16 MiB. */
  sendQueueSize?: number | undefined;
  /** The same for all streams of a connection. Default: 64 MiB. */
  maxQueuedBytes?: number | undefined;
  /** Bytes appended and not yet at the socket before senders wait. Default: 1 MiB. */
  writerBufferSize?: number | undefined;
  /** Beyond this, streams that send much take turns. Default: 128 KiB. */
  bulkSize?: number | undefined;
  /** Bytes handed to the socket at once; a larger frame goes out by itself. Default: 128 KiB. */
  writeSize?: number | undefined;
  /** Bytes that control frames may wait beyond `writerBufferSize`; more end the connection. Default: 1 MiB. */
  controlBufferSize?: number | undefined;
  /** Messages of several frames that may be unfinished on the wire at once. Default: 8. */
  maxUnfinishedMessages?: number | undefined;
  /** How long half a frame may take. Default: 30 s. */
  frameTimeout?: number | undefined;
  /** How long a full queue of a peer without windows may stop all reading. Default: 30 s. */
  stallTimeout?: number | undefined;
  /** How often an idle connection is pinged; 0: never. Default: 30 s. */
  pingInterval?: number | undefined;
  /** How long a ping may stay unanswered. Default: 10 s. */
  pingTimeout?: number | undefined;
}

export const CONNECTION_LIMITS: Readonly<Record<keyof ConnectionLimits, NumberRule>> = {
  maxSendSize: { default: 4 * MIB, min: LEAST_MESSAGE, max: MAX_SIZE },
  maxReceiveSize: { default: 4 * MIB, min: LEAST_MESSAGE, max: MAX_SIZE },
  splitSize: { default: 64 * KIB, min: 1, max: MAX_SIZE },
  maximumBufferSize: { default: 4 * MIB, min: LEAST_MESSAGE, max: MAX_SIZE },
  maxMetadataSize: { default: 64 * KIB, min: 0, max: MAX_SIZE },
  streamWindow: { default: 2 * MIB, min: 64 * KIB, max: MAX_SIZE },
  recvQueueMessages: { default: 256, min: 1, max: MAX_SIZE },
  recvQueueSize: { default: 2 * MIB, min: 1, max: MAX_SIZE },
  maxReceivedBytes: { default: 64 * MIB, min: 1, max: Number.MAX_SAFE_INTEGER },
  sendQueueSize: { default: 16 * MIB, min: 1, max: Number.MAX_SAFE_INTEGER },
  maxQueuedBytes: { default: 64 * MIB, min: 1, max: Number.MAX_SAFE_INTEGER },
  writerBufferSize: { default: 1 * MIB, min: 1, max: MAX_SIZE },
  bulkSize: { default: 128 * KIB, min: 1, max: MAX_SIZE },
  writeSize: { default: 128 * KIB, min: 1, max: MAX_SIZE },
  controlBufferSize: { default: 1 * MIB, min: 0, max: MAX_SIZE },
  maxUnfinishedMessages: { default: 8, min: 1, max: MAX_SIZE },
  frameTimeout: { default: 30_000, min: 1, max: MAX_TIME },
  stallTimeout: { default: 30_000, min: 1, max: MAX_TIME },
  pingInterval: { default: 30_000, min: 0, max: MAX_TIME },
  pingTimeout: { default: 10_000, min: 1, max: MAX_TIME },
};

/** Checks the limits among `options` and fills the defaults in. @throws as {@link numberOption} does. */
export function resolveConnectionLimits(options: ConnectionLimits): Required<ConnectionLimits> {
  const names = Object.keys(CONNECTION_LIMITS) as (keyof ConnectionLimits)[];
  const entries = names.map((name) => [name, numberOption(name, options[name], CONNECTION_LIMITS[name])]);
  return Object.fromEntries(entries) as Required<ConnectionLimits>;
}
