import type { Timer } from '../clock/clock.js';
import { DrpcCode } from '../errors/codes.js';
import {
  CanceledError,
  ClosedError,
  DeadlineError,
  DrpcError,
  EofError,
  messageTooLarge,
  ProtocolError,
} from '../errors/drpc-error.js';
import { withoutStack } from '../errors/without-stack.js';
import { marshalError, unmarshalError } from '../wire/error-payload.js';
import { headerByte, type FrameHeader } from '../wire/frame.js';
import { Kind } from '../wire/kind.js';
import { MAX_VARINT_SIZE, VarintReader, type Uint64 } from '../wire/varint.js';
import { RecvHalf } from './recv-half.js';
import { SendQueue, type SendOp } from './send-queue.js';
import { SendWindow } from './send-window.js';
import type { StreamHost } from './stream-host.js';
import type { StreamSink } from './stream-sink.js';

export type { StreamSink } from './stream-sink.js';

/** A message to send: bytes, or text that travels as UTF-8. */
export type Payload = Uint8Array | string;

/** So many messages may be sent in a row before others get the event loop. */
const MESSAGES_PER_TURN = 256;

/** What a server's stream begins with. */
export interface AcceptedInvoke {
  id: Uint64;
  /** The message id of the Invoke: those that follow are higher. */
  messageId: Uint64;
  metadata: Readonly<Record<string, string>> | undefined;
  /** What the metadata count as, in bytes; the connection has counted them. */
  metadataSize: number;
}

const INVOKE = headerByte(Kind.Invoke, true, false);
const INVOKE_METADATA = headerByte(Kind.InvokeMetadata, true, false);
const MESSAGE = headerByte(Kind.Message, true, false);
const MESSAGE_PART = headerByte(Kind.Message, false, false);
const ERROR = headerByte(Kind.Error, true, false);
const ABORTIVE_ERROR = headerByte(Kind.Error, true, true);
const CANCEL = headerByte(Kind.Cancel, true, true);
const CLOSE = headerByte(Kind.Close, true, false);
const CLOSE_SEND = headerByte(Kind.CloseSend, true, false);

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
  RemoteError,
  Connection,
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
 * Sending: {@link msgSend} appends at once while writer and window have room, otherwise the message waits in a
 * {@link SendQueue}; `closeSend`, `close` and `sendError` keep their order behind it, {@link sendCancel} does not.
 * Receiving is the {@link RecvHalf}'s: messages go to the {@link sink} as far as it asked for them with
 * {@link request}; the others wait in a bounded queue, and are still delivered after the end.
 * @see storj/drpc drpcstream/stream.go; docs/protocol.md, stream states
 */
export class Stream {
  /** 0 until the Invoke was appended. */
  id: Uint64 = 0;
  /** The name on the wire. */
  readonly rpc: string;
  /** What the peer sent with its Invoke (a server's stream). */
  readonly metadata: Readonly<Record<string, string>> | undefined;

  readonly #host: StreamHost;
  readonly #recv: RecvHalf;
  #sendWindow: SendWindow | undefined;
  /** What waits to be sent; most streams never have one. */
  #sendQueue: SendQueue | undefined;
  #messageId = 0;
  #sentInTurn = 0;
  /** Bytes appended in the writer's present batch. */
  #share = 0;
  #shareBatch = -1;
  #sendState = SendState.Open;
  /** Where the Invoke stands in the writer's order. */
  #invokeAt = -1;
  /** A handler runs for this stream. */
  #isHandled = false;
  #wasHeard = false;
  #deadline: Timer | undefined;
  #endedBy = EndedBy.Nothing;
  #cause: Error | undefined;

  constructor(host: StreamHost, rpc: string, accepted?: AcceptedInvoke) {
    this.#host = host;
    this.rpc = rpc;
    if (accepted) {
      this.id = accepted.id;
      this.metadata = accepted.metadata;
      this.#isHandled = true;
    }
    this.#sendWindow = host.sendWindow > 0 ? new SendWindow(host.sendWindow) : undefined;
    this.#recv = new RecvHalf(this, host, accepted?.messageId, accepted?.metadataSize);
  }

  /** Takes what happens; set by the owner in the turn in which the stream is made. */
  get sink(): StreamSink {
    return this.#recv.sink;
  }

  set sink(sink: StreamSink) {
    this.#recv.sink = sink;
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
      this.#cause = withoutStack(() => new CanceledError());
    } else if (this.#endedBy === EndedBy.RemoteClose) {
      this.#cause = withoutStack(() => new ClosedError('remote closed the stream'));
    } else if (this.#endedBy === EndedBy.LocalClose) {
      this.#cause = withoutStack(() => new EofError('drpc: stream terminated by sending close'));
    }
    return this.#cause;
  }

  /** Whether the stream ended because somebody wanted it to end: a Cancel, here or there. */
  get isCanceled(): boolean {
    return this.#endedBy === EndedBy.RemoteCancel || this.#endedBy === EndedBy.LocalCancel;
  }

  /** Whether the peer ended it all, by an Error, Cancel or Close of its own. */
  get isEndedByPeer(): boolean {
    const endedBy = this.#endedBy;
    return (
      endedBy === EndedBy.RemoteError || endedBy === EndedBy.RemoteCancel || endedBy === EndedBy.RemoteClose
    );
  }

  /** Whether it ended in the ordinary way: both sides closed it, or this side did with Close. */
  get isEndedWell(): boolean {
    return this.#endedBy === EndedBy.BothClosed || this.#endedBy === EndedBy.LocalClose;
  }

  /** Whether the peer has sent anything for it, so that the rpc has begun there. */
  get wasHeard(): boolean {
    return this.#wasHeard;
  }

  /** What waits to be sent, in bytes; each message costs a little beside its own. */
  get queuedBytes(): number {
    return this.#sendQueue ? this.#sendQueue.bytes : 0;
  }

  /** Bytes held for messages that were received and not taken, unfinished ones included, and for metadata. */
  get heldBytes(): number {
    return this.#recv.heldBytes;
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
    else this.#enqueue(Kind.Invoke, metadata);
  }

  /**
   * Sends one message. True: it was appended and more may follow at once. A promise: it waits; the promise
   * is kept once nothing waits any more and fails with the send error when the stream ends before.
   * Bytes that wait are not copied: they must not change until then.
   * @throws EofError (or ClosedError after a remote Close) on a stream that takes no more,
   *   MessageSizeError for a message over the limit; neither changes the stream.
   */
  msgSend(data: Payload): true | Promise<void> {
    const isAppended = this.trySend(data);
    const drained = isAppended || (this.isTerminated ? rejected(this.#sendError()) : this.drained());
    if (++this.#sentInTurn < MESSAGES_PER_TURN) return drained;
    // A loop that never has to wait would never let the event loop go on.
    this.#sentInTurn = 0;
    return this.#nextTurn(drained);
  }

  /** As {@link msgSend}, for sources that can not wait: false says that the message waits. */
  trySend(data: Payload): boolean {
    if (this.#sendState !== SendState.Open) throw this.#sendError();
    if (this.#isSendIdle()) {
      const { splitSize } = this.#host.limits;
      if (typeof data === 'string') {
        // A UTF-16 unit is at most three bytes of UTF-8.
        if (data.length * 3 <= splitSize && this.#admits(data.length * 3)) {
          const size = this.#host.writer.text(MESSAGE, this.id, ++this.#messageId, data);
          this.#sendWindow?.debit(size);
          this.#share += size;
          return true;
        }
      } else if (data.length <= splitSize && this.#admits(data.length)) {
        this.#sendWindow?.debit(data.length);
        this.#append(MESSAGE, data);
        return true;
      }
    }
    return this.#waitToSend(data, typeof data === 'string' ? Buffer.byteLength(data) : data.length);
  }

  /** Resolves when nothing waits to be sent; at once if so. Fails with the send error when the stream ends before. */
  drained(): Promise<void> {
    return this.#isSendIdle() ? Promise.resolve() : this.#sendQueue!.drained();
  }

  /** Says that no more messages will follow; behind those that wait. A second time does nothing. */
  closeSend(): void {
    if (this.#sendState !== SendState.Open) return;
    this.#sendState = SendState.Closed;
    if (this.#mayAppend()) this.#appendCloseSend();
    else this.#enqueue(Kind.CloseSend, undefined);
  }

  /** Ends the stream in both directions; behind the messages that wait. */
  close(): void {
    if (this.isTerminated) return;
    if (this.#mayAppend()) this.#appendClose();
    else {
      if (this.#sendState === SendState.Open) this.#sendState = SendState.SentClose;
      this.#enqueue(Kind.Close, undefined);
    }
  }

  /** Ends the stream with an error for the peer; behind the messages that wait. */
  sendError(error: DrpcError): void {
    if (this.isTerminated) return;
    const payload = marshalError(error, this.#host.errorForm);
    if (this.#mayAppend()) this.#appendError(payload, error);
    else {
      if (this.#sendState === SendState.Open) this.#sendState = SendState.Over;
      this.#enqueue(Kind.Error, payload, error);
    }
  }

  /**
   * Gives the rpc up and tells the peer; abortive: what waits to be sent is dropped. A stream whose Invoke
   * never entered the writer sends nothing. Answers false when the stream had ended before.
   * @param cause what receivers here are told; default: a CanceledError
   */
  sendCancel(cause?: Error): boolean {
    if (this.isTerminated) return false;
    if (this.id !== 0) this.#append(CANCEL, undefined);
    this.#terminate(EndedBy.LocalCancel, cause, SendState.Over);
    return true;
  }

  /** Ends the stream here without a frame: the connection is gone, or must not be written to. */
  cancel(cause: Error): boolean {
    if (this.isTerminated) return false;
    this.#terminate(EndedBy.Connection, cause, SendState.Over);
    return true;
  }

  /** Ends the stream for a fault found here, at once: an Error frame from a server, a Cancel from a client. */
  fail(error: DrpcError): void {
    if (this.isTerminated) return;
    if (this.id !== 0) {
      if (this.#host.isServer) {
        const payload = marshalError(error, this.#host.errorForm);
        this.#append(ABORTIVE_ERROR, payload);
      } else this.#append(CANCEL, undefined);
    }
    this.#terminate(EndedBy.Error, error, SendState.Over);
  }

  /** Ends the stream with a DeadlineError unless it ends by itself within `ms`. */
  setDeadline(ms: number): void {
    if (this.isTerminated) return;
    this.#deadline?.cancel();
    this.#deadline = this.#host.clock.after(ms, () => this.fail(withoutStack(() => new DeadlineError())));
  }

  /** Ends the stream as {@link fail} does and frees what is queued here: it holds too much memory. */
  evict(error: DrpcError): void {
    this.#recv.evict(error);
    if (this.isTerminated) this.#recv.tellEnd();
    else this.fail(error);
  }

  /** Says that the handler of a server's stream has ended; the slot is free once the stream has ended too. */
  handlerEnded(): void {
    if (!this.#isHandled) return;
    this.#isHandled = false;
    if (this.isTerminated) this.#host.released(this);
  }

  /** @internal Sends without credit from now on: the control stream, for which no peer grants any. */
  leaveSendWindow(): void {
    this.#sendWindow = undefined;
  }

  /** @internal Appends what is not a message and had to wait; its turn has come. */
  appendWaiting({ kind, data, cause }: SendOp): void {
    if (kind === Kind.Invoke) this.#appendInvoke(data as Uint8Array | undefined);
    else if (kind === Kind.CloseSend) this.#appendCloseSend();
    else if (kind === Kind.Close) this.#appendClose();
    else this.#appendError(data as Uint8Array, cause!);
  }

  /** @internal Appends the next frame of a message that had to wait. */
  appendPart(data: Uint8Array, start: number, end: number, isDone: boolean): void {
    if (start === 0) this.#messageId++;
    this.#host.writer.frame(isDone ? MESSAGE : MESSAGE_PART, this.id, this.#messageId, data, start, end);
    this.#share += end - start;
  }

  /** @internal Appends a message that had to wait and fits into one frame. */
  appendText(text: string, size: number): void {
    this.#host.writer.text(MESSAGE, this.id, ++this.#messageId, text);
    this.#share += size;
  }

  #nextTurn(drained: true | Promise<void>): Promise<void> {
    const turn = new Promise<void>((resolve) => this.#host.clock.yield(resolve));
    if (drained === true) return turn;
    const both = turn.then(() => drained);
    both.catch(() => undefined);
    return both;
  }

  /** Whether nothing waits to be sent. */
  #isSendIdle(): boolean {
    return !this.#sendQueue || this.#sendQueue.isEmpty;
  }

  /** Whether a frame without a message may be appended now, behind everything that was sent before. */
  #mayAppend(): boolean {
    return this.#isSendIdle() && this.#host.writer.admits(0);
  }

  /** Whether a message of at most `size` bytes may be appended now. */
  #admits(size: number): boolean {
    const { writer, limits } = this.#host;
    if (this.#sendWindow && this.#sendWindow.balance < size) return false;
    if (size > limits.maxSendSize) return false;
    if (this.#shareBatch !== writer.batch) {
      this.#shareBatch = writer.batch;
      this.#share = 0;
    }
    return writer.admits(this.#share);
  }

  /** Appends a packet of one frame, whatever waits. */
  #append(first: number, data: Uint8Array | undefined): void {
    const size = data ? data.length : 0;
    this.#host.writer.frame(first, this.id, ++this.#messageId, data, 0, size);
    this.#share += size;
  }

  /** Puts something that is not a message behind what waits. */
  #enqueue(kind: Kind, data: Uint8Array | undefined, cause?: Error): void {
    const queue = (this.#sendQueue ??= new SendQueue(this, this.#host, this.#sendWindow));
    const wasIdle = queue.isEmpty;
    queue.push(kind, data, data ? data.length : 0, cause);
    if (wasIdle) this.#host.writer.enqueue(queue);
  }

  /** Puts a message into the queue; answers true when it went out at once after all. */
  #waitToSend(data: Payload, size: number): boolean {
    const { maxSendSize, sendQueueSize } = this.#host.limits;
    if (size > maxSendSize) throw messageTooLarge(size, maxSendSize);
    if (this.#sendQueue?.hasMessage && this.queuedBytes + size > sendQueueSize) {
      const error = new DrpcError(
        DrpcCode.ResourceExhausted,
        `${this.queuedBytes + size} bytes wait to be sent: at most ${sendQueueSize} may; the consumer is too slow for a source that can not wait`,
      );
      this.fail(error);
      this.#host.overloaded(error);
      return false;
    }
    const queue = (this.#sendQueue ??= new SendQueue(this, this.#host, this.#sendWindow));
    const wasIdle = queue.isEmpty;
    queue.push(Kind.Message, data, size);
    if (this.isTerminated || !wasIdle) return false;
    const { writer } = this.#host;
    if (!writer.admits(this.#share) || queue.pump()) writer.enqueue(queue);
    return queue.isEmpty;
  }

  /** Adds credit. Malformed updates are ignored, as in the reference. */
  #handleWindowUpdate(header: FrameHeader, bytes: Buffer, start: number, end: number): void {
    if (!this.#sendWindow || !header.control || !header.done || header.messageId !== 0) return;
    const varint = new VarintReader();
    if (end - start > MAX_VARINT_SIZE || varint.read(bytes, start, end) !== end) return;
    if (!this.#sendWindow.grant(Number(varint.value))) return;
    if (!this.#isSendIdle()) this.#host.writer.enqueue(this.#sendQueue!);
  }

  // ---------------------------------------------------------------- receiving

  /** Asks for `count` more messages; `Infinity` for all that come. */
  request(count: number): void {
    this.#recv.request(count);
  }

  /**
   * For the sink, while it is told a message: its bytes as a Buffer for good. A message that came in pieces lies in a
   * buffer of its own already, which changes hands; others are copied.
   */
  keepMessage(bytes: Buffer, start: number, end: number): Buffer {
    return this.#recv.keepMessage(bytes, start, end);
  }

  /** Takes and drops whatever is queued or still comes: nobody is interested. */
  discard(): void {
    this.#recv.discard();
  }

  /**
   * Handles a frame of this stream. Frames after its end are ignored, whatever they say.
   * @throws ProtocolError, which ends the connection.
   */
  handleFrame(header: FrameHeader, bytes: Buffer, start: number, end: number): void {
    if (this.isTerminated) return;
    this.#wasHeard = true;
    const kind = header.kind;
    if (kind === Kind.WindowUpdate) return this.#handleWindowUpdate(header, bytes, start, end);
    if (kind === Kind.Invoke || kind === Kind.InvokeMetadata) {
      throw new ProtocolError(`invoke on existing stream ${this.id}: a stream is invoked once`);
    }
    const recv = this.#recv;
    if (!recv.assemble(header, bytes, start, end)) return;
    if (kind === Kind.Message) recv.handleMessage();
    else this.#handleControl(kind, header.control);
    recv.release();
  }

  /** Handles a packet that is not a message. */
  #handleControl(kind: number, control: boolean): void {
    switch (kind) {
      case Kind.CloseSend:
        return this.#handleCloseSend();
      case Kind.Close:
        return this.#terminate(EndedBy.RemoteClose, undefined, SendState.RemoteClosed);
      case Kind.Error: {
        const { bytes, start, end } = this.#recv.packet;
        return this.#terminate(EndedBy.RemoteError, unmarshalError(bytes, start, end), SendState.Over);
      }
      case Kind.Cancel:
        return this.#terminate(EndedBy.RemoteCancel, undefined, SendState.Over);
      default:
        // A sender may mark what old receivers may ignore; everything else must be understood.
        if (control) return;
        this.#recv.release();
        throw new ProtocolError(`unknown frame kind ${kind} on stream ${this.id}: known are 1 to 8`);
    }
  }

  #handleCloseSend(): void {
    if (!this.#recv.close()) return;
    if (this.#sendState === SendState.Closed && this.#isSendIdle()) {
      return this.#terminate(EndedBy.BothClosed, undefined, SendState.Closed);
    }
    this.#recv.tellEnd();
  }

  // --------------------------------------------------------------------- ends

  #appendInvoke(metadata: Uint8Array | undefined): void {
    this.#host.register(this);
    this.#invokeAt = this.#host.writer.appended;
    if (metadata) this.#append(INVOKE_METADATA, metadata);
    this.#host.writer.text(INVOKE, this.id, ++this.#messageId, this.rpc);
  }

  #appendCloseSend(): void {
    this.#append(CLOSE_SEND, undefined);
    if (this.#recv.isOver) this.#terminate(EndedBy.BothClosed, undefined, SendState.Closed);
  }

  #appendClose(): void {
    this.#append(CLOSE, undefined);
    this.#terminate(EndedBy.LocalClose, undefined, SendState.SentClose);
  }

  #appendError(payload: Uint8Array, cause: Error): void {
    this.#append(ERROR, payload);
    this.#terminate(
      EndedBy.Error,
      cause,
      SendState.Over,
      withoutStack(() => new EofError('drpc: stream terminated by sending error')),
    );
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
    this.#sendQueue?.clear();
    // Close is an ordinary end for the receiver; every other cause is what receiving answers.
    const isOrdinary = endedBy === EndedBy.BothClosed || endedBy === EndedBy.RemoteClose;
    this.#recv.end(recvCause, !recvCause && !isOrdinary);
    this.#deadline?.cancel();
    this.#host.finished(this);
    if (!this.#isHandled) this.#host.released(this);
    // Who waits when the connection ends is told why; who sends afterwards, that sending is over.
    this.#sendQueue?.failDrained(() => (endedBy === EndedBy.Connection && cause) || this.#sendError());
    try {
      this.sink.terminated();
    } catch (error) {
      this.#host.sinkFailed(this, error);
    }
    this.#recv.tellEnd();
    // Last: this stream is out of all counts when the frames of others are handled.
    this.#recv.resume();
  }
}

/** A promise that fails, whether anybody listens or not. */
function rejected(error: Error): Promise<void> {
  const promise = Promise.reject(error);
  promise.catch(() => undefined);
  return promise;
}
