import type { Timer } from '../clock/clock.js';
import {
  CanceledError,
  ClosedError,
  DeadlineError,
  DrpcError,
  EofError,
  MessageSizeError,
  ProtocolError,
} from '../errors/drpc-error.js';
import { DrpcCode } from '../errors/codes.js';
import { marshalError, unmarshalError } from '../wire/error-payload.js';
import { headerByte, type FrameHeader } from '../wire/frame.js';
import { Kind } from '../wire/kind.js';
import { PacketAssembler } from '../wire/packet-assembler.js';
import { appendVarint, MAX_VARINT_SIZE, VarintReader, type Uint64 } from '../wire/varint.js';
import { RecvWindow } from './recv-window.js';
import { RingBuffer } from './ring-buffer.js';
import { SendQueue } from './send-queue.js';
import { SendWindow } from './send-window.js';
import type { StreamHost } from './stream-host.js';

/** A message to send: bytes, or text that travels as UTF-8. */
export type Payload = Uint8Array | string;

/** Takes what happens on a stream. Called in the turn in which it happens; must not throw. */
export interface StreamSink {
  /**
   * One message: `bytes[start, end)`, borrowed until the call returns. Only as many come as were asked for
   * with {@link Stream.request}. `isLast`: the end arrived with it, and {@link end} follows at once.
   */
  message(bytes: Buffer, start: number, end: number, isLast: boolean): void;
  /** Receiving is over and the queue is drained: `undefined` is the ordinary end, otherwise the cause. */
  end(cause: Error | undefined): void;
  /** The stream has ended in both directions, for {@link Stream.cause}; queued messages may still come. */
  terminated(): void;
}

/** What a server's stream begins with. */
export interface AcceptedInvoke {
  id: Uint64;
  /** The message id of the Invoke: those that follow are higher. */
  messageId: Uint64;
  metadata: Readonly<Record<string, string>> | undefined;
}

/** A message held for later costs this much beside its bytes: slots, buffer objects. */
const MESSAGE_OVERHEAD = 64;
/** A stream hands its turn on after so many bytes. */
const TURN_SIZE = 64 * 1024;

const INVOKE = headerByte(Kind.Invoke, true, false);
const INVOKE_METADATA = headerByte(Kind.InvokeMetadata, true, false);
const MESSAGE = headerByte(Kind.Message, true, false);
const MESSAGE_PART = headerByte(Kind.Message, false, false);
const ERROR = headerByte(Kind.Error, true, false);
const ABORTIVE_ERROR = headerByte(Kind.Error, true, true);
const CANCEL = headerByte(Kind.Cancel, true, true);
const CLOSE = headerByte(Kind.Close, true, false);
const CLOSE_SEND = headerByte(Kind.CloseSend, true, false);
const WINDOW_UPDATE = headerByte(Kind.WindowUpdate, true, true);

/** What a send on this stream meets: its error is made only when somebody asks. */
enum SendState {
  Open,
  /** CloseSend was sent, or waits behind messages. */
  Closed,
  /** The stream ended by an error or a cancel: senders only learn that it is over (gRPC's rule). */
  Over,
  /** Close was sent. */
  SentClose,
  /** The peer sent Close. */
  RemoteClosed,
}

/** What ended the stream, where the error is made only when asked for. */
enum EndedBy {
  Nothing,
  BothClosed,
  RemoteCancel,
  RemoteClose,
  LocalClose,
  LocalCancel,
  Error,
}

/**
 * One rpc on a connection: the state machine of both its ends.
 *
 *              closeSend            remote CloseSend
 *     Open ---------------> HCL ----------------------+
 *      |  \ remote CloseSend     closeSend            v
 *      |   +--------------> HCR ----------------> Terminated
 *      |                                              ^
 *      +-- close, sendError, sendCancel, cancel, -----+
 *          remote Close / Error / Cancel, connection's end      the first cause wins
 *
 * Sending: {@link msgSend} appends at once while writer and window have room, otherwise the message waits
 * in a queue; `closeSend`, `close` and `sendError` keep their order behind it, {@link sendCancel} does not.
 * Receiving: messages go to the {@link sink} as far as it asked for them with {@link request}; the others wait in
 * a bounded queue, and are still delivered after the end.
 * @see storj/drpc drpcstream/stream.go; docs/protocol.md, stream states
 */
export class Stream {
  /** 0 until the Invoke was appended. */
  id: Uint64 = 0;
  /** The name on the wire. */
  readonly rpc: string;
  /** What the peer sent with its Invoke (a server's stream). */
  readonly metadata: Readonly<Record<string, string>> | undefined;
  /** Takes what happens; set by the owner in the turn in which the stream is made. */
  sink: StreamSink = NO_SINK;

  readonly #host: StreamHost;
  readonly #assembler: PacketAssembler;
  readonly #sendWindow: SendWindow | undefined;
  readonly #recvWindow: RecvWindow | undefined;

  #messageId = 0;
  #sendState = SendState.Open;
  #queue: SendQueue | undefined;
  /** The first op has been debited from the window already. */
  #isDebited = false;
  /** Holds one of the writer's places for messages of several frames. */
  #hasPlace = false;
  #share = 0;
  #shareBatch = -1;
  #drained: { promise: Promise<void>; resolve: () => void; reject: (error: Error) => void } | undefined;
  /** Where the Invoke stands in the writer's order. */
  #invokeAt = -1;

  #recvQueue: RingBuffer | undefined;
  #demand = 0;
  #isDelivering = false;
  #isDiscarding = false;
  #isRecvOver = false;
  #isEndTold = false;
  #isPausing = false;
  #isGrantQueued = false;
  #heldBytes = 0;
  /** A handler runs for this stream. */
  #isHandled = false;
  #deadline: Timer | undefined;

  #endedBy = EndedBy.Nothing;
  #cause: Error | undefined;
  /** What an Error frame that waits in the queue says. */
  #errorToSend: Error | undefined;
  /** Why receiving is over, where that is not the ordinary end. */
  #recvCause: Error | undefined;
  #isRecvCauseCause = false;

  constructor(host: StreamHost, rpc: string, accepted?: AcceptedInvoke) {
    this.#host = host;
    this.#assembler = new PacketAssembler(host.pool, accepted?.messageId);
    this.rpc = rpc;
    if (accepted) {
      this.id = accepted.id;
      this.metadata = accepted.metadata;
      this.#isHandled = true;
    }
    this.#sendWindow = host.sendWindow > 0 ? new SendWindow(host.sendWindow) : undefined;
    this.#recvWindow = host.recvWindow > 0 ? new RecvWindow(host.recvWindow) : undefined;
  }

  /** Whether the stream has ended: nothing is sent any more, and only queued messages are still delivered. */
  get isTerminated(): boolean {
    return this.#endedBy !== EndedBy.Nothing;
  }

  /** Whether sending is still possible. */
  get canSend(): boolean {
    return this.#sendState === SendState.Open;
  }

  /** What ended the stream; `undefined` while it lives and after both sides closed it in the ordinary way. */
  get cause(): Error | undefined {
    if (this.#cause) return this.#cause;
    if (this.#endedBy === EndedBy.RemoteCancel || this.#endedBy === EndedBy.LocalCancel) {
      this.#cause = new CanceledError();
    } else if (this.#endedBy === EndedBy.RemoteClose) {
      this.#cause = new ClosedError('remote closed the stream');
    } else if (this.#endedBy === EndedBy.LocalClose) {
      this.#cause = new EofError('drpc: stream terminated by sending close');
    }
    return this.#cause;
  }

  /** Whether the stream ended because somebody wanted it to end: a Cancel, here or there. */
  get isCanceled(): boolean {
    return this.#endedBy === EndedBy.RemoteCancel || this.#endedBy === EndedBy.LocalCancel;
  }

  /** Bytes that wait to be sent. */
  get queuedBytes(): number {
    return this.#queue?.bytes ?? 0;
  }

  /** Bytes held for messages that were received and not taken, unfinished ones included. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Whether nothing of the rpc was handed to the socket, so that the peer provably never saw it. */
  get isUnsent(): boolean {
    return this.#invokeAt < 0 || this.#invokeAt >= this.#host.writer.handedOver;
  }

  // ------------------------------------------------------------------ sending

  /**
   * Starts the rpc: metadata and Invoke, as one unit that no Cancel can split. Waits in the queue when the
   * writer is full; the stream has no id until then.
   * @param metadata encoded; `undefined`: none is sent
   */
  writeInvoke(metadata?: Uint8Array): void {
    if (this.#sendState !== SendState.Open) return;
    if (this.#host.writer.admits(0)) this.#appendInvoke(metadata);
    else this.#enqueueOp(Kind.Invoke, metadata);
  }

  /**
   * Sends one message. True: it was appended and more may follow at once. A promise: it waits; the promise
   * is kept once nothing waits any more and fails with the send error when the stream ends before.
   * Bytes that wait are not copied: they must not change until then.
   * @throws EofError (or ClosedError after a remote Close) on a stream that takes no more,
   *   MessageSizeError for a message over the limit; neither changes the stream.
   */
  msgSend(data: Payload): true | Promise<void> {
    return this.trySend(data) || this.drained();
  }

  /** As {@link msgSend}, for sources that can not wait: false says that the message waits. */
  trySend(data: Payload): boolean {
    if (this.#sendState !== SendState.Open) throw this.#sendError();
    if (!this.#queue || this.#queue.isEmpty) {
      if (typeof data === 'string') {
        // A UTF-16 unit is at most three bytes of UTF-8.
        if (data.length * 3 <= this.#host.limits.splitSize && this.#admits(data.length * 3)) {
          this.#appendText(data);
          return true;
        }
      } else if (data.length <= this.#host.limits.splitSize && this.#admits(data.length)) {
        this.#sendWindow?.debit(data.length);
        this.#append(MESSAGE, data, 0, data.length);
        return true;
      }
    }
    return this.#waitToSend(Kind.Message, typeof data === 'string' ? Buffer.from(data) : data);
  }

  /** Resolves when nothing waits to be sent; at once if so. Fails with the send error when the stream ends before. */
  drained(): Promise<void> {
    if (!this.#queue || this.#queue.isEmpty) return Promise.resolve();
    if (!this.#drained) {
      let resolve!: () => void;
      let reject!: (error: Error) => void;
      const promise = new Promise<void>((res, rej) => {
        resolve = res;
        reject = rej;
      });
      // Nobody may be listening any more when the stream ends.
      promise.catch(() => undefined);
      this.#drained = { promise, resolve, reject };
    }
    return this.#drained.promise;
  }

  /** Says that no more messages will follow; behind those that wait. A second time does nothing. */
  closeSend(): void {
    if (this.#sendState !== SendState.Open) return;
    this.#sendState = SendState.Closed;
    if (this.#isQueueIdle() && this.#host.writer.admits(0)) this.#appendCloseSend();
    else this.#enqueueOp(Kind.CloseSend, undefined);
  }

  /** Ends the stream in both directions; behind the messages that wait. */
  close(): void {
    if (this.isTerminated) return;
    if (this.#isQueueIdle() && this.#host.writer.admits(0)) this.#appendClose();
    else {
      if (this.#sendState === SendState.Open) this.#sendState = SendState.SentClose;
      this.#enqueueOp(Kind.Close, undefined);
    }
  }

  /** Ends the stream with an error for the peer; behind the messages that wait. */
  sendError(error: DrpcError): void {
    if (this.isTerminated) return;
    const payload = marshalError(error, this.#host.errorForm);
    if (this.#isQueueIdle() && this.#host.writer.admits(0)) this.#appendError(payload, error);
    else {
      if (this.#sendState === SendState.Open) this.#sendState = SendState.Over;
      this.#errorToSend = error;
      this.#enqueueOp(Kind.Error, payload);
    }
  }

  /**
   * Gives the rpc up and tells the peer; abortive: what waits to be sent is dropped. A stream whose Invoke
   * never entered the writer sends nothing. Answers false when the stream had ended before.
   * @param cause what receivers here are told; default: a CanceledError
   */
  sendCancel(cause?: Error): boolean {
    if (this.isTerminated) return false;
    if (this.id !== 0) this.#append(CANCEL, undefined, 0, 0);
    this.#terminate(EndedBy.LocalCancel, cause, SendState.Over);
    return true;
  }

  /** Ends the stream here without a frame: the connection is gone, or must not be written to. */
  cancel(cause: Error): boolean {
    if (this.isTerminated) return false;
    this.#terminate(EndedBy.Error, cause, SendState.Over);
    return true;
  }

  /** Ends the stream for a fault found here, at once: an Error frame from a server, a Cancel from a client. */
  fail(error: DrpcError): void {
    if (this.isTerminated) return;
    if (this.id !== 0) {
      if (this.#host.isServer) {
        const payload = marshalError(error, this.#host.errorForm);
        this.#append(ABORTIVE_ERROR, payload, 0, payload.length);
      } else this.#append(CANCEL, undefined, 0, 0);
    }
    this.#terminate(EndedBy.Error, error, SendState.Over);
  }

  /** Ends the stream with a DeadlineError unless it ends by itself within `ms`. */
  setDeadline(ms: number): void {
    if (this.isTerminated) return;
    this.#deadline?.cancel();
    this.#deadline = this.#host.clock.after(ms, () => this.fail(new DeadlineError()));
  }

  /** Ends the stream as {@link fail} does and frees what is queued here: it holds too much memory. */
  evict(error: DrpcError): void {
    const queue = this.#recvQueue;
    if (queue) {
      const freed = queue.bytes + queue.size * MESSAGE_OVERHEAD;
      queue.clear();
      this.#hold(-freed);
    }
    if (!this.isTerminated) return this.fail(error);
    // It had ended and waited only for its receiver, who must learn that messages are missing.
    this.#recvCause = error;
    this.#isRecvCauseCause = false;
    this.#tellEnd();
  }

  /** Says that the handler of a server's stream has ended; the slot is free once the stream has ended too. */
  handlerEnded(): void {
    if (!this.#isHandled) return;
    this.#isHandled = false;
    if (this.isTerminated) this.#host.released(this);
  }

  /** Called by the writer when it is this stream's turn. */
  pump(): boolean {
    const queue = this.#queue;
    if (!queue || this.isTerminated) return false;
    const before = queue.bytes;
    let written = 0;
    let mayGoOn = true;
    while (mayGoOn && written < TURN_SIZE && !this.isTerminated) {
      const op = queue.first;
      if (!op) break;
      const size = op.data ? op.data.length - op.sent : 0;
      if (op.kind !== Kind.Message) {
        queue.shift();
        this.#appendOp(op.kind, op.data);
      } else mayGoOn = this.#pumpMessage(op.data!, op.sent, queue);
      written += Math.min(size, this.#splitSize);
    }
    if (!this.isTerminated && queue.bytes !== before) this.#host.countQueued(this, queue.bytes - before);
    if (queue.isEmpty) this.#tellDrained();
    return mayGoOn && !queue.isEmpty;
  }

  /** Called by the writer before a write when a grant is due. */
  appendControl(): void {
    this.#isGrantQueued = false;
    if (this.isTerminated || !this.#recvWindow) return;
    const bytes = new Uint8Array(MAX_VARINT_SIZE);
    const size = appendVarint(bytes, 0, this.#recvWindow.takeGrant());
    this.#host.writer.frame(WINDOW_UPDATE, this.id, 0, bytes, 0, size);
  }

  // ---------------------------------------------------------------- receiving

  /** Asks for `count` more messages; `Infinity` for all that come. */
  request(count: number): void {
    this.#demand += count;
    if (!this.#isDelivering) this.#deliverQueued();
  }

  /** Takes and drops whatever is queued or still comes: nobody is interested. */
  discard(): void {
    if (this.#isDiscarding) return;
    this.#isDiscarding = true;
    this.sink = NO_SINK;
    this.request(Infinity);
  }

  /**
   * Handles a frame of this stream. Frames after its end are ignored, whatever they say.
   * @throws ProtocolError, which ends the connection.
   */
  handleFrame(header: FrameHeader, bytes: Buffer, start: number, end: number): void {
    if (this.isTerminated) return;
    const kind = header.kind;
    if (kind === Kind.WindowUpdate) return this.#handleWindowUpdate(header, bytes, start, end);
    if (kind === Kind.Invoke || kind === Kind.InvokeMetadata) {
      throw new ProtocolError(`invoke on existing stream ${this.id}: a stream is invoked once`);
    }
    const assembler = this.#assembler;
    const before = assembler.length;
    assembler.check(header);
    if (assembler.length + header.length > this.#host.limits.maxReceiveSize) {
      const size = assembler.length + header.length;
      if (before > 0) this.#hold(-before);
      assembler.release();
      this.fail(
        new MessageSizeError(
          `message of ${size} bytes or more exceeds the limit of ${this.#host.limits.maxReceiveSize}`,
        ),
      );
      return;
    }
    const isComplete = assembler.add(header, bytes, start, end);
    if (assembler.length !== before) this.#hold(assembler.length - before);
    if (!isComplete) return;
    if (!this.isTerminated) {
      this.#handlePacket(kind, header.control, assembler.bytes, assembler.start, assembler.end);
    }
    // Not taken over by the queue: the buffer was only lent.
    if (assembler.isPooled) assembler.release();
  }

  #handlePacket(kind: number, control: boolean, bytes: Buffer, start: number, end: number): void {
    switch (kind) {
      case Kind.Message:
        return this.#handleMessage(bytes, start, end);
      case Kind.CloseSend:
        return this.#handleCloseSend();
      case Kind.Close:
        return this.#terminate(EndedBy.RemoteClose, undefined, SendState.RemoteClosed);
      case Kind.Error:
        return this.#terminate(EndedBy.Error, unmarshalError(bytes, start, end), SendState.Over);
      case Kind.Cancel:
        return this.#terminate(EndedBy.RemoteCancel, undefined, SendState.Over);
      default:
        // A sender may mark what old receivers may ignore; everything else must be understood.
        if (control) return;
        throw new ProtocolError(`unknown frame kind ${kind} on stream ${this.id}: known are 1 to 8`);
    }
  }

  #handleMessage(bytes: Buffer, start: number, end: number): void {
    if (this.#isRecvOver) return;
    const size = end - start;
    if (this.#demand > 0 && !this.#recvQueue?.size && !this.#isDelivering) {
      this.#demand--;
      if (this.sink !== NO_SINK) this.#tellMessage(bytes, start, end, this.#host.isEndNext(this));
      this.#consumed(size);
      return;
    }
    const queue = (this.#recvQueue ??= new RingBuffer(this.#host.pool));
    const { limits } = this.#host;
    if (this.#recvWindow && queue.bytes + size > this.#host.recvWindow + limits.maxReceiveSize) {
      return this.fail(
        new DrpcError(
          DrpcCode.ResourceExhausted,
          `${queue.bytes + size} bytes sent on stream ${this.id} without credit: the window is ${this.#host.recvWindow}`,
        ),
      );
    }
    if (this.#assembler.isPooled) queue.enqueueOwned(this.#assembler.take(), size);
    else queue.enqueue(bytes, start, end);
    this.#hold(size + MESSAGE_OVERHEAD);
    if (this.#recvWindow || this.#isPausing || this.isTerminated) return;
    if (queue.size >= limits.recvQueueMessages || queue.bytes >= limits.recvQueueSize) {
      this.#isPausing = true;
      this.#host.pauseFor(this);
    }
  }

  #handleCloseSend(): void {
    if (this.#isRecvOver) return;
    this.#isRecvOver = true;
    this.#recvQueue?.close();
    if (this.#sendState === SendState.Closed && this.#isQueueIdle()) {
      return this.#terminate(EndedBy.BothClosed, undefined, SendState.Closed);
    }
    this.#tellEnd();
  }

  /** Malformed updates are ignored, as in the reference. */
  #handleWindowUpdate(header: FrameHeader, bytes: Buffer, start: number, end: number): void {
    if (!this.#sendWindow || !header.control || !header.done || header.messageId !== 0) return;
    const varint = new VarintReader();
    if (end - start > MAX_VARINT_SIZE || varint.read(bytes, start, end) !== end) return;
    if (!this.#sendWindow.grant(Number(varint.value))) return;
    if (!this.#isQueueIdle()) this.#host.writer.enqueue(this);
  }

  #deliverQueued(): void {
    const queue = this.#recvQueue;
    this.#isDelivering = true;
    while (queue && this.#demand > 0) {
      const buffer = queue.dequeue();
      if (!buffer) break;
      const size = queue.length;
      this.#demand--;
      this.#hold(-size - MESSAGE_OVERHEAD);
      const isLast = queue.size === 0 && this.#isRecvOver && !this.#recvCauseNow();
      if (this.sink !== NO_SINK) this.#tellMessage(buffer, 0, size, isLast);
      this.#host.pool.put(buffer);
      this.#consumed(size);
    }
    this.#isDelivering = false;
    if (queue && this.#isPausing && this.#hasRoom(queue)) {
      this.#isPausing = false;
      this.#host.resumeFor(this);
    }
    if (this.#isRecvOver) this.#tellEnd();
  }

  #hasRoom(queue: RingBuffer): boolean {
    const { recvQueueMessages, recvQueueSize } = this.#host.limits;
    return queue.size < recvQueueMessages && queue.bytes < recvQueueSize;
  }

  #consumed(size: number): void {
    if (!this.#recvWindow || this.isTerminated) return;
    if (this.#recvWindow.consume(size) && !this.#isGrantQueued && !this.#isRecvOver) {
      this.#isGrantQueued = true;
      this.#host.writer.enqueueControl(this);
    }
  }

  #hold(delta: number): void {
    this.#heldBytes += delta;
    this.#host.countReceived(this, delta);
  }

  // ------------------------------------------------------- appending and ends

  /** Whether a message of at most `size` bytes may be appended now. */
  #admits(size: number): boolean {
    const writer = this.#host.writer;
    if (this.#sendWindow && this.#sendWindow.balance < size) return false;
    if (size > this.#host.limits.maxSendSize) return false;
    if (this.#shareBatch !== writer.batch) {
      this.#shareBatch = writer.batch;
      this.#share = 0;
    }
    return writer.admits(this.#share);
  }

  get #splitSize(): number {
    const { splitSize } = this.#host.limits;
    // A frame may take half of the window at most, or withheld credit could strand it.
    return this.#sendWindow ? Math.min(splitSize, this.#host.sendWindow >> 1) : splitSize;
  }

  #isQueueIdle(): boolean {
    return !this.#queue || this.#queue.isEmpty;
  }

  #append(first: number, data: Uint8Array | undefined, start: number, end: number): void {
    this.#host.writer.frame(first, this.id, ++this.#messageId, data, start, end);
    this.#share += end - start;
  }

  #appendText(text: string): void {
    const size = this.#host.writer.text(MESSAGE, this.id, ++this.#messageId, text);
    this.#sendWindow?.debit(size);
    this.#share += size;
  }

  #appendInvoke(metadata: Uint8Array | undefined): void {
    const writer = this.#host.writer;
    this.#host.register(this);
    this.#invokeAt = writer.appended;
    if (metadata) writer.frame(INVOKE_METADATA, this.id, ++this.#messageId, metadata, 0, metadata.length);
    writer.text(INVOKE, this.id, ++this.#messageId, this.rpc);
  }

  #appendCloseSend(): void {
    this.#append(CLOSE_SEND, undefined, 0, 0);
    if (this.#isRecvOver) this.#terminate(EndedBy.BothClosed, undefined, SendState.Closed);
  }

  #appendClose(): void {
    this.#append(CLOSE, undefined, 0, 0);
    this.#terminate(EndedBy.LocalClose, undefined, SendState.SentClose);
  }

  #appendError(payload: Uint8Array, cause: Error): void {
    this.#append(ERROR, payload, 0, payload.length);
    this.#terminate(
      EndedBy.Error,
      cause,
      SendState.Over,
      new EofError('drpc: stream terminated by sending error'),
    );
  }

  #appendOp(kind: Kind, data: Uint8Array | undefined): void {
    if (kind === Kind.Invoke) this.#appendInvoke(data);
    else if (kind === Kind.CloseSend) this.#appendCloseSend();
    else if (kind === Kind.Close) this.#appendClose();
    else this.#appendError(data!, this.#errorToSend!);
  }

  #enqueueOp(kind: Kind, data: Uint8Array | undefined): void {
    const queue = (this.#queue ??= new SendQueue());
    const wasIdle = queue.isEmpty;
    queue.push(kind, data);
    if (data) this.#host.countQueued(this, data.length);
    if (wasIdle) this.#host.writer.enqueue(this);
  }

  /** Puts a message into the queue; answers true when it went out at once after all. */
  #waitToSend(kind: Kind, data: Uint8Array): boolean {
    const { maxSendSize, sendQueueSize } = this.#host.limits;
    if (data.length > maxSendSize) {
      throw new MessageSizeError(`message of ${data.length} bytes exceeds the limit of ${maxSendSize}`);
    }
    if (this.queuedBytes + data.length > Math.max(sendQueueSize, maxSendSize)) {
      this.fail(
        new DrpcError(
          DrpcCode.ResourceExhausted,
          `${this.queuedBytes + data.length} bytes wait to be sent: at most ${sendQueueSize} may; the consumer is too slow for a source that can not wait`,
        ),
      );
      return false;
    }
    const queue = (this.#queue ??= new SendQueue());
    const wasIdle = queue.isEmpty;
    queue.push(kind, data);
    this.#host.countQueued(this, data.length);
    if (this.isTerminated || !wasIdle) return false;
    if (this.#host.writer.admits(this.#share)) {
      if (this.pump()) this.#host.writer.enqueue(this);
      return queue.isEmpty && !this.isTerminated;
    }
    this.#host.writer.enqueue(this);
    return false;
  }

  /** Appends the next frame of a message; false when it has to wait for credit or a place. */
  #pumpMessage(data: Uint8Array, sent: number, queue: SendQueue): boolean {
    const split = this.#splitSize;
    const size = Math.min(split, data.length - sent);
    const isSplit = data.length > split;
    if (sent === 0) {
      if (!this.#isDebited) {
        this.#isDebited = true;
        this.#sendWindow?.acquire(size);
      }
      if (this.#sendWindow && this.#sendWindow.balance < 0 && size > 0) return false;
      if (isSplit && !this.#hasPlace) {
        if (!this.#host.writer.beginMessage(this)) return false;
        this.#hasPlace = true;
      }
    } else this.#sendWindow?.debit(size);
    const isDone = sent + size === data.length;
    const { writer } = this.#host;
    if (sent === 0) this.#messageId++;
    writer.frame(isDone ? MESSAGE : MESSAGE_PART, this.id, this.#messageId, data, sent, sent + size);
    this.#share += size;
    if (!isDone) {
      queue.first!.sent = sent + size;
      return true;
    }
    this.#isDebited = false;
    this.#leavePlace();
    queue.shift();
    return true;
  }

  #leavePlace(): void {
    if (!this.#hasPlace) return;
    this.#hasPlace = false;
    this.#host.writer.endMessage();
  }

  #sendError(): DrpcError {
    switch (this.#sendState) {
      case SendState.Closed:
        return new EofError('drpc: send closed');
      case SendState.SentClose:
        return new EofError('drpc: stream terminated by sending close');
      case SendState.RemoteClosed:
        return new ClosedError('remote closed the stream');
      default:
        return new EofError('drpc: the stream has ended');
    }
  }

  /** The one way to end. */
  #terminate(endedBy: EndedBy, cause: Error | undefined, sendState: SendState, recvCause?: Error): void {
    this.#endedBy = endedBy;
    if (cause) this.#cause = cause;
    if (this.#sendState === SendState.Open) this.#sendState = sendState;
    if (!this.#isRecvOver) {
      this.#isRecvOver = true;
      this.#recvQueue?.close();
      this.#recvCause = recvCause;
      // Close is an ordinary end for the receiver; every other cause is what receiving answers.
      this.#isRecvCauseCause =
        !recvCause && endedBy !== EndedBy.BothClosed && endedBy !== EndedBy.RemoteClose;
    }
    if (this.#queue) {
      const queued = this.#queue.bytes;
      this.#queue.clear();
      if (queued > 0) this.#host.countQueued(this, -queued);
    }
    this.#host.writer.remove(this);
    this.#leavePlace();
    if (this.#assembler.length > 0) {
      this.#hold(-this.#assembler.length);
      this.#assembler.release();
    }
    if (this.#isPausing) {
      this.#isPausing = false;
      this.#host.resumeFor(this);
    }
    this.#deadline?.cancel();
    this.#host.finished(this);
    if (!this.#isHandled) this.#host.released(this);
    if (this.#drained) {
      this.#drained.reject(this.#sendError());
      this.#drained = undefined;
    }
    try {
      this.sink.terminated();
    } catch (error) {
      this.#host.sinkFailed(this, error);
    }
    this.#tellEnd();
  }

  #recvCauseNow(): Error | undefined {
    return this.#isRecvCauseCause ? this.cause : this.#recvCause;
  }

  #tellDrained(): void {
    const drained = this.#drained;
    if (!drained) return;
    this.#drained = undefined;
    drained.resolve();
  }

  #tellMessage(bytes: Buffer, start: number, end: number, isLast: boolean): void {
    try {
      this.sink.message(bytes, start, end, isLast);
    } catch (error) {
      this.#host.sinkFailed(this, error);
      this.fail(DrpcError.from(error));
    }
  }

  #tellEnd(): void {
    if (this.#isEndTold || this.#isDelivering || this.#recvQueue?.size) return;
    this.#isEndTold = true;
    try {
      this.sink.end(this.#recvCauseNow());
    } catch (error) {
      this.#host.sinkFailed(this, error);
    }
  }
}

const NO_SINK: StreamSink = {
  message: () => undefined,
  end: () => undefined,
  terminated: () => undefined,
};
