import type { Clock } from '../clock/clock.js';
import type { DrpcError } from '../errors/drpc-error.js';
import type { BufferPool } from '../wire/buffer-pool.js';
import type { ErrorForm } from '../wire/error-payload.js';
import type { MuxWriter } from '../wire/mux-writer.js';
import type { Stream } from './stream.js';

/** What one stream may take, in bytes where nothing else is said. Shared by all streams of a connection. */
export interface StreamLimits {
  /** Largest frame that is sent; longer messages are split. */
  splitSize: number;
  /** Largest message that is sent. */
  maxSendSize: number;
  /** Largest message that is received. */
  maxReceiveSize: number;
  /** Messages that may wait to be received from a peer without windows. */
  recvQueueMessages: number;
  /** Bytes that may wait to be received from a peer without windows. */
  recvQueueSize: number;
  /** Bytes that a source which can not wait may leave to be sent. */
  sendQueueSize: number;
}

/** What a stream needs of its connection, and tells it. Implemented by the Manager. */
export interface StreamHost {
  readonly clock: Clock;
  readonly writer: MuxWriter;
  readonly pool: BufferPool;
  readonly limits: StreamLimits;
  /** Whether streams are accepted here (true) or opened (false). */
  readonly isServer: boolean;
  /** How errors are written for this peer. */
  readonly errorForm: ErrorForm;
  /** The credit that the peer gives each stream of ours; 0: the peer knows no windows. */
  readonly sendWindow: number;
  /** The credit that we give each stream of the peer; 0: the peer knows no windows. */
  readonly recvWindow: number;
  /** Numbers a stream whose Invoke enters the writer now, and registers it. */
  register(stream: Stream): void;
  /** The stream has ended: no frame is sent or taken for it any more. */
  finished(stream: Stream): void;
  /** The stream has ended and its handler, if it has one, as well: its slot is free. */
  released(stream: Stream): void;
  /** `delta` bytes more (or less) are held for messages that were received. */
  countReceived(stream: Stream, delta: number): void;
  /** `delta` bytes more (or less) are held for what waits to be sent. */
  countQueued(stream: Stream, delta: number): void;
  /** The receive queue of a stream of a peer without windows is full: nothing more can be read. */
  pauseFor(stream: Stream): void;
  /** That queue has room again. */
  resumeFor(stream: Stream): void;
  /** Whether the frame behind the one being handled ends this stream's receiving. */
  isEndNext(stream: Stream): boolean;
  /** A limit ended a call with this error, or kept it from beginning: the peer is told, and the owner should be. */
  overloaded(error: DrpcError): void;
  /** Code that was called from here threw: it is told, and only its stream ends. */
  sinkFailed(stream: Stream, error: unknown): void;
}
