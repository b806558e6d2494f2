import type { Duplex } from 'node:stream';
import { inspect } from 'node:util';
import type { Clock } from '../clock/clock.js';
import { DrpcCode } from '../errors/codes.js';
import { ClosedError, DrpcError, MessageSizeError, ProtocolError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';
import type { StreamHost, StreamLimits } from '../stream/stream-host.js';
import { Stream, type StreamSink } from '../stream/stream.js';
import { BufferPool } from '../wire/buffer-pool.js';
import type { ErrorForm } from '../wire/error-payload.js';
import type { FrameHeader } from '../wire/frame.js';
import { isKnownKind, Kind } from '../wire/kind.js';
import { MuxWriter } from '../wire/mux-writer.js';
import { uint64, type Uint64 } from '../wire/varint.js';
import { ActiveStreams } from './active-streams.js';
import { Admission, type AdmissionHost } from './admission.js';
import { QueuedMemory, ReceivedMemory } from './connection-memory.js';
import { Greeting, PREAMBLE } from './greeting.js';
import {
  resolveManagerOptions,
  type ManagerOptions,
  type ResolvedManagerOptions,
} from './manager.options.js';
import { Reading, type ReadingOwner } from './reading.js';

/**
 * One turn of reading handles so much; then other connections have theirs. An Invoke starts user code, or is answered;
 * metadata are decoded.
 */
const TURN_WORK = 4096;
const FRAME_WORK = 1;
const INVOKE_WORK = 16;

/** What a connection tells its owner. */
export interface ManagerHooks {
  /** A server's connection: an rpc arrived. Sets the stream's sink in this turn and says `handlerEnded` later. */
  accept?(stream: Stream): void;
  /** The connection has ended; every stream has been told already. Called once. */
  terminated?(cause: Error): void;
  /** A limit ended a call with this error (code 8), or kept it from beginning. Must not throw. */
  overloaded?(error: DrpcError): void;
  /** Code behind a sink or hook threw; only its stream has ended. What this throws becomes a warning of the process. */
  failed?(stream: Stream, error: unknown): void;
}

/** Settings that two peers of this library agreed on. */
export interface PeerSettings {
  errorForm: ErrorForm;
  /** Credit for our streams. */
  sendWindow: number;
  /** Credit for the peer's streams. */
  recvWindow: number;
  /** The largest message the peer takes; default: as before. */
  maxMessageSize?: number;
}

/**
 * The owner of one connection: reads frames and hands them to their streams, writes through one
 * {@link MuxWriter}, and ends in one way, {@link terminate}.
 *
 *     socket -> Reading -> handleFrame -+-> Stream.handleFrame   by id
 *                                       +-> Admission -> accept  new ids (server)
 *     socket <- MuxWriter <- Stream, refusals
 *
 * The reader alone judges the transport's health; the writer's drain loop has its error hook; both end in
 * `terminate`. A fault caught here ends the connection, a fault of one rpc ends that stream only.
 * @see storj/drpc drpcmanager/manager.go; docs/protocol.md, connections
 */
export class Manager implements ReadingOwner, StreamHost, AdmissionHost {
  readonly clock: Clock;
  readonly writer: MuxWriter;
  readonly pool = new BufferPool();
  limits: StreamLimits;
  readonly isServer: boolean;
  /** Resolves with the cause when the connection has ended and its socket is closed; never rejects. */
  readonly closed: Promise<Error>;

  readonly #duplex: Duplex;
  readonly #options: ResolvedManagerOptions;
  readonly #hooks: ManagerHooks;
  readonly #reading: Reading;
  readonly #streams = new ActiveStreams();
  readonly #admission: Admission;
  readonly #received: ReceivedMemory;
  readonly #queued: QueuedMemory;
  #errorForm: ErrorForm;
  #sendWindow: number;
  #recvWindow: number;

  /** Streams whose Invoke waits for the writer; they have no id yet. */
  readonly #unnumbered = new Set<Stream>();
  #lastId: Uint64 = 0;
  #slots = 0;
  #exempt: Stream | undefined;

  #work = 0;

  #cause: Error | undefined;
  /** What {@link finish} ends the connection with, unless something else does before. */
  #finishCause: Error | undefined;
  #socketError: Error | undefined;
  #isSocketClosed = false;
  #resolveClosed!: (cause: Error) => void;

  constructor(duplex: Duplex, options: ManagerOptions, hooks: ManagerHooks = {}) {
    this.#duplex = duplex;
    this.#hooks = hooks;
    this.#options = resolveManagerOptions(options);
    this.isServer = options.role === 'server';
    this.limits = this.#options;
    this.clock = this.#options.clock;
    this.#errorForm = this.#options.errorForm;
    this.#sendWindow = this.#options.sendWindow;
    this.#recvWindow = this.#options.recvWindow;
    const mode = options.preamble;
    const greeting = this.isServer ? new Greeting(typeof mode === 'string' ? mode : 'accept') : undefined;
    this.#reading = new Reading(duplex, this, this.#options, greeting);
    this.#admission = new Admission(this, this.#options);
    const memoryHost = {
      streams: this.#streams,
      unnumbered: this.#unnumbered,
      admission: this.#admission,
      overloaded: (error: DrpcError) => this.overloaded(error),
      terminate: (cause: Error) => this.terminate(cause),
    };
    this.#received = new ReceivedMemory(memoryHost, this.#options.maxReceivedBytes, options.receiveBudget);
    this.#queued = new QueuedMemory(memoryHost, this.#options.maxQueuedBytes, options.sendBudget);
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.writer = new MuxWriter(duplex, {
      clock: this.clock,
      bufferSize: this.#options.writerBufferSize,
      bulkSize: this.#options.bulkSize,
      // One frame may pass the cap as well.
      controlBufferSize:
        this.#options.controlBufferSize + Math.min(this.#options.splitSize, this.#options.maxSendSize),
      writeSize: this.#options.writeSize,
      maxUnfinishedMessages: this.#options.maxUnfinishedMessages,
      onError: (error) => this.terminate(this.#closedBy(error)),
    });
    if (!this.isServer && mode === true) this.writer.prefix(PREAMBLE);
    this.#listen();
  }

  get errorForm(): ErrorForm {
    return this.#errorForm;
  }

  get sendWindow(): number {
    return this.#sendWindow;
  }

  get recvWindow(): number {
    return this.#recvWindow;
  }

  /** What ended the connection; `undefined` while it lives. */
  get cause(): Error | undefined {
    return this.#cause;
  }

  get isTerminated(): boolean {
    return this.#cause !== undefined;
  }

  /** Streams that are open: not ended in both directions. */
  get openStreams(): number {
    return this.#streams.size + this.#unnumbered.size;
  }

  /** Slots taken of `maxStreams`: running handlers, open streams, and Invokes that are not complete. */
  get slots(): number {
    return this.#slots + this.#admission.pending;
  }

  /** The highest stream id: opened here (client) or seen (server). */
  get lastStreamId(): Uint64 {
    return this.isServer ? this.#admission.highestId : this.#lastId;
  }

  /** Bytes of received messages that wait, unfinished ones included, and of the metadata of open streams. */
  get heldBytes(): number {
    return this.#received.heldBytes;
  }

  /** Bytes that sources left to be sent and that wait for credit or room. */
  get queuedBytes(): number {
    return this.#queued.heldBytes;
  }

  /** Chunks received so far: any of them is a sign of life. */
  get chunks(): number {
    return this.#reading.chunks;
  }

  /** Whether reading stands still because of us: silence says nothing about the peer then. */
  get isPaused(): boolean {
    return this.#reading.isPaused;
  }

  /** From now on, streams are made with what the peer announced. */
  adopt(settings: PeerSettings): void {
    this.#errorForm = settings.errorForm;
    this.#sendWindow = settings.sendWindow;
    this.#recvWindow = settings.recvWindow;
    const { maxMessageSize = Infinity } = settings;
    if (maxMessageSize < this.limits.maxSendSize)
      this.limits = { ...this.limits, maxSendSize: maxMessageSize };
  }

  /**
   * Opens a stream and starts its rpc (a client's connection).
   * @param metadata encoded; `undefined`: none is sent
   * @throws the cause that ended the connection; MessageSizeError for metadata over the limit.
   */
  open(rpc: string, sink: StreamSink, metadata?: Uint8Array): Stream {
    if (this.#cause) throw this.#cause;
    const { maxMetadataSize } = this.#options;
    // It travels in one frame: what no peer takes would end the connection, and the calls of others with it.
    if (metadata && metadata.length > maxMetadataSize) {
      throw new MessageSizeError(
        `metadata of ${metadata.length} bytes exceeds the limit of ${maxMetadataSize}`,
      );
    }
    const stream = new Stream(this, rpc);
    stream.sink = sink;
    stream.writeInvoke(metadata);
    // Most get their id at once.
    if (stream.id === 0 && !stream.isTerminated) this.#unnumbered.add(stream);
    return stream;
  }

  /** Handles a chunk of the connection's bytes, borrowed until the call returns. */
  receive(chunk: Buffer): void {
    this.writer.turnBegan();
    this.#reading.receive(chunk);
  }

  /** Handles the peer's end of the connection: what arrived before is still handled. */
  receiveEnd(): void {
    this.#reading.receiveEnd();
  }

  /** Takes a stream out of the count of slots and out of its window: the control stream. */
  exempt(stream: Stream): void {
    stream.leaveSendWindow();
    this.#slots--;
    this.#exempt = stream;
  }

  /** Accepts no more rpcs: new ones are answered with `error`, or dropped without an answer if there is none. */
  stopAccepting(error: DrpcError | undefined): void {
    this.#admission.stop(error);
  }

  /**
   * Ends the connection, whoever calls first: stops the writer, closes the socket, tells every stream the
   * cause at once. Later calls do nothing.
   */
  terminate(cause: Error): void {
    if (this.#cause) return;
    this.#cause = cause;
    this.writer.stop(cause);
    this.#reading.close();
    this.#duplex.destroy();
    this.#admission.clear();
    this.#streams.close(cause);
    for (const stream of [...this.#unnumbered]) stream.cancel(cause);
    this.#unnumbered.clear();
    this.#queued.end();
    this.#received.end();
    this.#resolveIfClosed();
    this.#hooks.terminated?.(cause);
  }

  /** Ends the connection and waits until its socket is closed. May be called again. */
  async close(): Promise<void> {
    this.terminate(new ClosedError('manager closed: Close called'));
    await this.closed;
  }

  /**
   * Ends the connection in peace: writes what waits, sends FIN, and goes on reading until the peer's FIN or
   * for `timeout` ms, since a socket closed with unread input is reset and loses what was sent last. The writing is
   * part of `timeout`: a peer that reads too slowly for that loses the rest, unless it is given time of its own.
   * @param timeToWrite so many ms more, for what waits alone
   */
  finish(cause: Error, timeout: number, timeToWrite = 0): void {
    if (this.#cause) return;
    this.#finishCause ??= cause;
    const endAfter = (ms: number): void => {
      const timer = this.clock.after(ms, () => this.terminate(cause));
      void this.closed.then(() => timer.cancel());
    };
    endAfter(timeToWrite + timeout);
    this.writer.whenDrained(() => {
      if (this.#cause) return;
      this.#duplex.end();
      // Whatever still wants to be written (a pong, say) would be a fault of the socket, and reset it.
      this.writer.stop(cause);
      if (timeToWrite > 0) endAfter(timeout);
    });
  }

  // ---------------------------------------------------------- ReadingOwner

  /** @throws ProtocolError, which ends the connection. */
  handleFrame(header: FrameHeader, bytes: Buffer, start: number, end: number): void {
    this.#work += FRAME_WORK;
    const stream = this.#streams.get(header.streamId);
    if (stream) stream.handleFrame(header, bytes, start, end);
    else this.#handleUnknown(header, bytes, start, end);
    if (this.#work < TURN_WORK) return;
    this.#work = 0;
    this.#reading.yield();
  }

  readingFailed(error: DrpcError): void {
    this.terminate(error);
  }

  overloaded(error: DrpcError): void {
    this.#hooks.overloaded?.(error);
  }

  readingEnded(): void {
    this.terminate(this.#finishCause ?? this.#closedBy(this.#socketError));
  }

  // --------------------------------------------------------- AdmissionHost

  pauseReading(): void {
    this.#reading.pause();
  }

  resumeReading(): void {
    this.#reading.unpause();
  }

  countPending(delta: number): void {
    this.#received.count(delta);
  }

  // ------------------------------------------------------------ StreamHost

  register(stream: Stream): void {
    const last = this.#lastId;
    this.#lastId =
      typeof last === 'number' && last < Number.MAX_SAFE_INTEGER ? last + 1 : uint64(BigInt(last) + 1n);
    stream.id = this.#lastId;
    if (this.#unnumbered.size > 0) this.#unnumbered.delete(stream);
    this.#streams.add(stream);
  }

  finished(stream: Stream): void {
    if (stream.id === 0) this.#unnumbered.delete(stream);
    else this.#streams.remove(stream);
    this.#received.finished(stream);
  }

  released(stream: Stream): void {
    if (this.isServer && stream !== this.#exempt) this.#slots--;
  }

  countReceived(stream: Stream, delta: number): void {
    this.#received.countFor(stream, delta);
  }

  countQueued(stream: Stream, delta: number): void {
    this.#queued.countFor(stream, delta);
  }

  pauseFor(stream: Stream): void {
    this.#reading.pauseFor(stream);
  }

  resumeFor(stream: Stream): void {
    this.#reading.resumeFor(stream);
  }

  isEndNext(stream: Stream): boolean {
    return this.#reading.isNext(Kind.CloseSend, stream.id);
  }

  /** Does not throw: whoever calls is in the middle of something, and has a peer to answer. */
  sinkFailed(stream: Stream, error: unknown): void {
    try {
      this.#hooks.failed?.(stream, error);
    } catch (fault) {
      // Who hears of faults has one itself: only the process is left to be told.
      process.emitWarning(`the failed hook threw for rpc "${escapeName(stream.rpc)}"`, {
        type: 'DrpcWarning',
        detail: inspect(fault, { customInspect: false }),
      });
    }
  }

  // -------------------------------------------------------------- the socket

  #listen(): void {
    const duplex = this.#duplex;
    if (!this.#options.isFedByHand) duplex.on('data', (chunk: Buffer) => this.receive(chunk));
    duplex.on('end', () => this.receiveEnd());
    duplex.on('error', (error) => {
      this.#socketError = error;
    });
    const handleClose = (): void => {
      this.#isSocketClosed = true;
      const cause = this.#socketError ? undefined : this.#finishCause;
      this.terminate(cause ?? this.#closedBy(this.#socketError));
      this.#resolveIfClosed();
    };
    duplex.on('close', handleClose);
    // A socket that was closed before it came here says nothing any more.
    if (duplex.closed) this.clock.soon(handleClose);
  }

  #closedBy(error: Error | undefined): ClosedError {
    return error
      ? new ClosedError('connection lost', { cause: error })
      : new ClosedError('connection closed by the peer');
  }

  #resolveIfClosed(): void {
    if (this.#isSocketClosed && this.#cause) this.#resolveClosed(this.#cause);
  }

  // ------------------------------------------------------------- new streams

  #handleUnknown(header: FrameHeader, bytes: Buffer, start: number, end: number): void {
    const { kind, streamId } = header;
    if (kind === Kind.Invoke || kind === Kind.InvokeMetadata) {
      if (!this.isServer)
        throw new ProtocolError(`invoke of stream ${streamId} by a server: only clients invoke`);
      this.#work += INVOKE_WORK;
      if (this.#admission.handle(header, bytes, start, end)) this.#accept(header);
      return;
    }
    if (!isKnownKind(kind) && !header.control) {
      throw new ProtocolError(`unknown frame kind ${kind} on stream ${streamId}: known are 1 to 8`);
    }
    if (kind === Kind.Cancel || kind === Kind.Close) this.#admission.drop(streamId);
    // Everything else belongs to a stream that has ended: it was on its way when we forgot it.
  }

  #accept(header: FrameHeader): void {
    const { rpc, metadata, metadataSize, timeout } = this.#admission;
    const { streamId: id, messageId } = header;
    const stream = new Stream(this, rpc, { id, messageId, metadata, metadataSize });
    this.#streams.add(stream);
    this.#slots++;
    if (timeout !== undefined) stream.setDeadline(timeout);
    try {
      this.#hooks.accept?.(stream);
    } catch (error) {
      this.sinkFailed(stream, error);
      stream.fail(new DrpcError(DrpcCode.Unknown, 'Internal server error'));
      stream.handlerEnded();
    }
  }
}
