import { DrpcCode } from '../errors/codes.js';
import { DrpcError, MessageSizeError } from '../errors/drpc-error.js';
import { headerByte, type FrameHeader } from '../wire/frame.js';
import { Kind } from '../wire/kind.js';
import type { ControlSender } from '../wire/mux-writer.js';
import { PacketAssembler } from '../wire/packet-assembler.js';
import { appendVarint, MAX_VARINT_SIZE, type Uint64 } from '../wire/varint.js';
import { RecvWindow } from './recv-window.js';
import { RingBuffer } from './ring-buffer.js';
import type { StreamHost } from './stream-host.js';
import { NO_SINK, type StreamSink } from './stream-sink.js';
import type { Stream } from './stream.js';

/**
 * A message held for later costs this much beside its bytes: a Buffer, a slot, unused room. Measured are 220 to 340;
 * more than this would end a stream of numbers whose reader is slow before its window does.
 */
const MESSAGE_OVERHEAD = 192;

const WINDOW_UPDATE = headerByte(Kind.WindowUpdate, true, true);

/**
 * The receiving half of a stream: puts frames together, hands messages to the sink as far as it asked for
 * them, keeps the others, and tells the end once nothing is left before it.
 */
export class RecvHalf implements ControlSender {
  sink: StreamSink = NO_SINK;
  /** The packet that the last frame completed. */
  readonly packet: PacketAssembler;

  readonly #stream: Stream;
  readonly #host: StreamHost;
  readonly #window: RecvWindow | undefined;
  #queue: RingBuffer | undefined;
  #demand = 0;
  #isDelivering = false;
  #isOver = false;
  #isEndTold = false;
  #isPausing = false;
  #heldBytes: number;
  /** What of it is metadata, until the stream has ended. */
  #metadataSize: number;
  /** The pooled buffer in which the message lies that the sink is told just now. */
  #lent: Buffer | undefined;
  /** Why receiving is over, where that is not the ordinary end. */
  #cause: Error | undefined;
  /** The cause is the stream's own, which is made only when asked for. */
  #isStreamsCause = false;

  /**
   * @param after the message id that was seen last
   * @param metadataSize bytes of metadata, which are counted already
   */
  constructor(stream: Stream, host: StreamHost, after: Uint64 | undefined, metadataSize = 0) {
    this.#stream = stream;
    this.#host = host;
    this.packet = new PacketAssembler(host.pool, after);
    this.#heldBytes = metadataSize;
    this.#metadataSize = metadataSize;
    this.#window = host.recvWindow > 0 ? new RecvWindow(host.recvWindow) : undefined;
  }

  /** Whether no message is taken in any more; those that wait are still delivered. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Bytes held for messages that were received and not taken, unfinished ones included, and for metadata. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Asks for `count` more messages; `Infinity` for all that come. */
  request(count: number): void {
    this.#demand += count;
    if (!this.#isDelivering) this.#deliverQueued();
  }

  /** Takes and drops whatever is queued or still comes. */
  discard(): void {
    this.sink = NO_SINK;
    this.request(Infinity);
  }

  /**
   * Adds a frame to its packet. Answers true when that is complete, and the stream alive; the caller handles
   * {@link packet} then, and releases it.
   * @throws ProtocolError, which ends the connection.
   */
  assemble(header: FrameHeader, bytes: Buffer, start: number, end: number): boolean {
    const { packet } = this;
    const { maxReceiveSize } = this.#host.limits;
    const before = packet.length;
    packet.check(header);
    const size = packet.length + header.length;
    if (size > maxReceiveSize) {
      if (before > 0) this.#hold(-before);
      packet.release();
      this.#stream.fail(
        new MessageSizeError(`message of ${size} bytes or more exceeds the limit of ${maxReceiveSize}`),
      );
      return false;
    }
    const isComplete = packet.add(header, bytes, start, end);
    if (packet.length !== before) this.#hold(packet.length - before);
    return isComplete;
  }

  /** Returns the packet's buffer, unless the queue took it over, and lets go of the chunk it lay in. */
  release(): void {
    this.packet.release();
  }

  /** See {@link Stream.keepMessage}. */
  keepMessage(bytes: Buffer, start: number, end: number): Buffer {
    const { pool } = this.#host;
    const size = end - start;
    if (bytes !== this.#lent || !pool.mayGive(bytes, size)) return copyOf(bytes, start, end);
    this.#lent = undefined;
    pool.give();
    return size === bytes.length ? bytes : bytes.subarray(start, end);
  }

  /** Handles the packet, which is a message: it goes to the sink, or waits. */
  handleMessage(): void {
    if (this.#isOver) return;
    const { bytes, start, end } = this.packet;
    const size = end - start;
    if (this.#demand > 0 && !this.#queue?.size && !this.#isDelivering) {
      this.#demand--;
      if (this.sink !== NO_SINK) {
        if (this.packet.isPooled) this.#lent = this.packet.take();
        this.#tellMessage(bytes, start, end, this.#host.isEndNext(this.#stream));
        this.#takeBack();
      }
      this.#consumed(size);
      return;
    }
    const queue = (this.#queue ??= new RingBuffer(this.#host.pool));
    const { limits, recvWindow } = this.#host;
    if (this.#window && queue.bytes + size > recvWindow + limits.maxReceiveSize) {
      return this.#stream.fail(
        new DrpcError(
          DrpcCode.ResourceExhausted,
          `${queue.bytes + size} bytes sent on stream ${this.#stream.id} without credit: the window is ${recvWindow}`,
        ),
      );
    }
    if (this.packet.isPooled) queue.enqueueOwned(this.packet.take(), size);
    else queue.enqueue(bytes, start, end);
    this.#hold(size + MESSAGE_OVERHEAD);
    if (this.#window || this.#isPausing || this.#stream.isTerminated) return;
    if (!this.#hasRoom(queue)) {
      this.#isPausing = true;
      this.#host.pauseFor(this.#stream);
    }
  }

  /** The peer sends no more messages. Answers false when that was known. */
  close(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    this.#queue?.close();
    return true;
  }

  /**
   * The stream has ended. What waits is still delivered, then the cause, unless the peer had finished before.
   * @param cause what receivers are told; `undefined`: the ordinary end
   * @param isStreamsCause they are told {@link Stream.cause} instead
   */
  end(cause: Error | undefined, isStreamsCause: boolean): void {
    if (this.close()) {
      this.#cause = cause;
      this.#isStreamsCause = isStreamsCause;
    }
    if (this.packet.length > 0) {
      this.#hold(-this.packet.length);
      this.packet.release();
    }
    if (this.#metadataSize > 0) {
      const metadataSize = this.#metadataSize;
      this.#metadataSize = 0;
      this.#hold(-metadataSize);
    }
    if (this.#window?.isGrantQueued) this.#host.writer.removeControl(this);
  }

  /** Lets the socket go on if this stream made it stand still; frames of others may be handled in here. */
  resume(): void {
    if (!this.#isPausing) return;
    this.#isPausing = false;
    this.#host.resumeFor(this.#stream);
  }

  /** Frees what is queued. Receivers are told `error`, also of a peer that had finished: messages are missing. */
  evict(error: Error): void {
    const queue = this.#queue;
    if (!queue?.size) return;
    const freed = queue.bytes + queue.size * MESSAGE_OVERHEAD;
    queue.clear();
    this.#cause = error;
    this.#isStreamsCause = false;
    this.#hold(-freed);
  }

  /** Tells the end if it has come, once, and not before the last message was delivered. */
  tellEnd(): void {
    if (!this.#isOver || this.#isEndTold || this.#isDelivering || this.#queue?.size) return;
    this.#isEndTold = true;
    try {
      this.sink.end(this.#causeNow());
    } catch (error) {
      this.#host.sinkFailed(this.#stream, error);
    }
  }

  /** Called by the writer before a write when a grant is due. */
  appendControl(): void {
    const window = this.#window;
    if (!window || this.#stream.isTerminated) return;
    window.isGrantQueued = false;
    const bytes = new Uint8Array(MAX_VARINT_SIZE);
    const size = appendVarint(bytes, 0, window.takeGrant());
    this.#host.writer.frame(WINDOW_UPDATE, this.#stream.id, 0, bytes, 0, size);
  }

  #deliverQueued(): void {
    const queue = this.#queue;
    if (queue) {
      this.#isDelivering = true;
      while (this.#demand > 0) {
        const buffer = queue.dequeue();
        if (!buffer) break;
        const size = queue.length;
        this.#demand--;
        this.#hold(-size - MESSAGE_OVERHEAD);
        const isLast = queue.size === 0 && this.#isOver && !this.#causeNow();
        this.#lent = buffer;
        if (this.sink !== NO_SINK) this.#tellMessage(buffer, 0, size, isLast);
        this.#takeBack();
        this.#consumed(size);
      }
      this.#isDelivering = false;
      if (this.#hasRoom(queue)) this.resume();
    }
    this.tellEnd();
  }

  #hasRoom(queue: RingBuffer): boolean {
    const { recvQueueMessages, recvQueueSize } = this.#host.limits;
    return queue.size < recvQueueMessages && queue.bytes < recvQueueSize;
  }

  #consumed(size: number): void {
    const window = this.#window;
    if (!window || this.#stream.isTerminated) return;
    if (window.consume(size) && !window.isGrantQueued && !this.#isOver) {
      window.isGrantQueued = true;
      this.#host.writer.enqueueControl(this);
    }
  }

  #hold(delta: number): void {
    this.#heldBytes += delta;
    this.#host.countReceived(this.#stream, delta);
  }

  /** Returns the buffer of the message that the sink was told, unless it keeps it. */
  #takeBack(): void {
    if (this.#lent) this.#host.pool.put(this.#lent);
    this.#lent = undefined;
  }

  #causeNow(): Error | undefined {
    return this.#isStreamsCause ? this.#stream.cause : this.#cause;
  }

  #tellMessage(bytes: Buffer, start: number, end: number, isLast: boolean): void {
    try {
      this.sink.message(bytes, start, end, isLast);
    } catch (error) {
      this.#host.sinkFailed(this.#stream, error);
      // A server's error goes to the peer, which must not read what was thrown by mistake here.
      this.#stream.fail(
        this.#host.isServer
          ? new DrpcError(DrpcCode.Unknown, 'Internal server error', { cause: error })
          : DrpcError.from(error),
      );
    }
  }
}

function copyOf(bytes: Buffer, start: number, end: number): Buffer {
  const copy = Buffer.allocUnsafe(end - start);
  bytes.copy(copy, 0, start, end);
  return copy;
}
