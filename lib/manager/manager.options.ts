import { systemClock, type Clock } from '../clock/clock.js';
import { DEFAULT_STREAM_WINDOW } from '../stream/recv-window.js';
import type { ErrorForm } from '../wire/error-payload.js';
import { DEFAULT_MAXIMUM_BUFFER_SIZE } from '../wire/frame-reader.js';
import {
  DEFAULT_BULK_SIZE,
  DEFAULT_CONTROL_BUFFER_SIZE,
  DEFAULT_MAX_UNFINISHED_MESSAGES,
  DEFAULT_WRITE_SIZE,
  DEFAULT_WRITER_BUFFER_SIZE,
} from '../wire/mux-writer.js';
import { DEFAULT_SPLIT_SIZE } from '../wire/split.js';
import type { PreambleMode } from './greeting.js';
import type { MemoryBudget } from './memory-budget.js';

const KIB = 1024;
const MIB = 1024 * 1024;

/** Bounds and profile of one connection. Sizes in bytes, times in milliseconds. */
export interface ManagerOptions {
  /** Which end this is: clients open streams, servers accept them. */
  role: 'client' | 'server';
  /** Default: the process's own. */
  clock?: Clock;
  /** How errors are written; both forms are understood. Default: `'storj'`. */
  errorForm?: ErrorForm;
  /** Credit that the peer gives our streams; 0: none is kept. Default: 0. */
  sendWindow?: number;
  /** Credit that we give the peer's streams; 0: no windows. Default: 0. */
  recvWindow?: number;
  /** Largest frame sent; longer messages are split. Negative: none is. Default, also for 0: 64 KiB. */
  splitSize?: number;
  /** Largest frame received; a larger one ends the connection. Default: 4 MiB. */
  maximumBufferSize?: number;
  /** Largest message sent. Default: 4 MiB. */
  maxSendSize?: number;
  /** Largest message received; a larger one ends its stream. Default: 4 MiB. */
  maxReceiveSize?: number;
  /** Largest metadata of a call, encoded, and 100 bytes for each entry; larger ones end it with code 8. Default: 64 KiB. */
  maxMetadataSize?: number;
  /** Longest rpc name. Default: 4 KiB. */
  maxNameSize?: number;
  /** Streams that may be open or running at once (server). Default: 1,000. */
  maxStreams?: number;
  /** Messages that may wait on a stream of a peer without windows. Default: 256. */
  recvQueueMessages?: number;
  /** Bytes that may wait on a stream of a peer without windows. Default: 2 MiB. */
  recvQueueSize?: number;
  /** Bytes of received messages and metadata that the whole connection may hold. Default: 64 MiB. */
  maxReceivedBytes?: number;
  /** The same over all connections of a server. Default: none. */
  receiveBudget?: MemoryBudget;
  /** Bytes that may wait on a stream for a source that can not wait. Default: 16 MiB. */
  sendQueueSize?: number;
  /** The same for all streams of the connection. Default: 64 MiB. */
  maxQueuedBytes?: number;
  /** The same over all connections of a server. Default: none. */
  sendBudget?: MemoryBudget;
  /** Bytes appended and not yet at the socket before senders wait. Default: 1 MiB. */
  writerBufferSize?: number;
  /** Beyond this, streams that send much wait their turn. Default: 128 KiB. */
  bulkSize?: number;
  /** Bytes handed to the socket at once; a larger frame goes out by itself. Default: 128 KiB. */
  writeSize?: number;
  /** Bytes that control frames may wait beyond `writerBufferSize`; more end the connection. Default: 1 MiB. */
  controlBufferSize?: number;
  /** Messages of several frames that may be unfinished on the wire at once. Default: 8. */
  maxUnfinishedMessages?: number;
  /** How long half a frame may take. Default: 30 s. */
  frameTimeout?: number;
  /** How long a full queue of a peer without windows may stop all reading. Default: 30 s. */
  stallTimeout?: number;
  /** Client: `true` sends it. Server: what to do with it. Default: `false`, `'accept'`. */
  preamble?: boolean | PreambleMode;
  /** Whether somebody else calls {@link Manager.receive} (a socket's `onread`). Default: `false`. */
  isFedByHand?: boolean;
}

export type ResolvedManagerOptions = Required<
  Omit<ManagerOptions, 'receiveBudget' | 'sendBudget' | 'role' | 'preamble'>
>;

/**
 * Fills the defaults in; an explicit `undefined` means the default as well.
 * @throws RangeError for a number that makes no sense.
 */
export function resolveManagerOptions({
  clock = systemClock,
  errorForm = 'storj',
  sendWindow = 0,
  recvWindow = 0,
  splitSize = DEFAULT_SPLIT_SIZE,
  maximumBufferSize = DEFAULT_MAXIMUM_BUFFER_SIZE,
  maxSendSize = 4 * MIB,
  maxReceiveSize = 4 * MIB,
  maxMetadataSize = 64 * KIB,
  maxNameSize = 4 * KIB,
  maxStreams = 1000,
  recvQueueMessages = 256,
  recvQueueSize = DEFAULT_STREAM_WINDOW,
  maxReceivedBytes = 64 * MIB,
  sendQueueSize = 16 * MIB,
  maxQueuedBytes = 64 * MIB,
  writerBufferSize = DEFAULT_WRITER_BUFFER_SIZE,
  bulkSize = DEFAULT_BULK_SIZE,
  writeSize = DEFAULT_WRITE_SIZE,
  controlBufferSize = DEFAULT_CONTROL_BUFFER_SIZE,
  maxUnfinishedMessages = DEFAULT_MAX_UNFINISHED_MESSAGES,
  frameTimeout = 30_000,
  stallTimeout = 30_000,
  isFedByHand = false,
}: ManagerOptions): ResolvedManagerOptions {
  assertWindow('sendWindow', sendWindow);
  assertWindow('recvWindow', recvWindow);
  if (!Number.isInteger(splitSize))
    throw new RangeError(`splitSize is ${splitSize}: it must be a whole number`);
  assertLeast(0, {
    maximumBufferSize,
    maxSendSize,
    maxReceiveSize,
    maxMetadataSize,
    maxNameSize,
    maxStreams,
  });
  assertLeast(0, { maxReceivedBytes, sendQueueSize, maxQueuedBytes, controlBufferSize });
  assertLeast(0, { frameTimeout, stallTimeout });
  // With nothing of these, nothing would ever move.
  assertLeast(1, { recvQueueMessages, recvQueueSize, writerBufferSize, bulkSize, writeSize });
  assertLeast(1, { maxUnfinishedMessages });
  return {
    clock,
    errorForm,
    sendWindow,
    recvWindow,
    // As in the reference: 0 is the default, a negative number never splits.
    splitSize: splitSize === 0 ? DEFAULT_SPLIT_SIZE : splitSize < 0 ? Infinity : splitSize,
    maximumBufferSize,
    maxSendSize,
    maxReceiveSize,
    maxMetadataSize,
    maxNameSize,
    maxStreams,
    recvQueueMessages,
    recvQueueSize,
    maxReceivedBytes,
    sendQueueSize,
    maxQueuedBytes,
    writerBufferSize,
    bulkSize,
    writeSize,
    controlBufferSize,
    maxUnfinishedMessages,
    frameTimeout,
    stallTimeout,
    isFedByHand,
  };
}

function assertLeast(least: number, options: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(options)) {
    if (!(value >= least))
      throw new RangeError(`${name} is ${value}: it must be a number of at least ${least}`);
  }
}

/** The smallest window there may be; peers that announce one must announce more. */
const LEAST_WINDOW = 1024;

/** There may be no window, but one of a few bytes would make frames of nothing. */
function assertWindow(name: string, value: number): void {
  if (value === 0 || (Number.isInteger(value) && value >= LEAST_WINDOW)) return;
  throw new RangeError(`${name} is ${value}: it must be 0 or a whole number of at least ${LEAST_WINDOW}`);
}
