import { ProtocolError } from '../errors/drpc-error.js';
import type { BufferPool } from './buffer-pool.js';
import type { FrameHeader } from './frame.js';
import type { Uint64 } from './varint.js';

const NOTHING = Buffer.alloc(0);

/**
 * Puts the frames of one stream (one direction) together to packets, and checks the rules of their ids:
 * message ids never fall, a packet keeps its kind, a finished one is not continued, and a higher id drops
 * what was unfinished.
 *
 * A packet that comes in one frame is not copied: {@link bytes} is then the caller's own memory, borrowed
 * until the call that completed it returns. Otherwise it is a pooled buffer ({@link isPooled}) and the
 * caller of {@link add} takes it over with {@link take} or leaves it to be reused for the next packet.
 * @see cockroachdb/drpc drpcwire/packet_assembler.go; spec of the ids: docs/protocol.md
 */
export class PacketAssembler {
  /** The data of the completed packet: `bytes[start, end)`. */
  bytes: Buffer = NOTHING;
  start = 0;
  end = 0;

  readonly #pool: BufferPool;
  /** No frame below this message id may come. */
  #floor: Uint64;
  #messageId: Uint64 = 0;
  #kind = 0;
  /** Whether a packet has begun and not ended. */
  #unfinished = false;
  #buffer: Buffer | undefined;
  #length = 0;

  /** @param after the message id that was seen last */
  constructor(pool: BufferPool, after: Uint64 = 0) {
    this.#pool = pool;
    this.#floor = next(after);
  }

  /** Bytes of the unfinished packet so far. */
  get length(): number {
    return this.#length;
  }

  /** Whether {@link bytes} is a pooled buffer. */
  get isPooled(): boolean {
    return this.bytes === this.#buffer;
  }

  /**
   * Checks a frame's ids against what came before, and drops an unfinished packet that it overtakes.
   * @throws ProtocolError, which ends the connection.
   */
  check(header: FrameHeader): void {
    const { messageId, kind } = header;
    if (messageId === this.#messageId && this.#unfinished) {
      if (kind === this.#kind) return;
      throw new ProtocolError(
        `frame kind ${kind} after kind ${this.#kind} in message ${messageId} on stream ${header.streamId}: a packet keeps its kind`,
      );
    }
    if (messageId < this.#floor) {
      throw new ProtocolError(
        `message id ${messageId} on stream ${header.streamId} where ${this.#floor} is the least allowed: ids must grow from 1`,
      );
    }
    // What was overtaken must not stay in memory that nobody counts any more.
    if (this.#length > 0) this.release();
    this.#unfinished = true;
    this.#messageId = messageId;
    this.#kind = kind;
    this.#floor = messageId;
  }

  /**
   * Adds the checked frame's data. Answers true when its packet is complete: {@link bytes}, {@link start}
   * and {@link end} then say where it lies.
   */
  add(header: FrameHeader, bytes: Buffer, start: number, end: number): boolean {
    if (header.done) {
      this.#unfinished = false;
      this.#floor = next(header.messageId);
      if (this.#length === 0) {
        this.bytes = bytes;
        this.start = start;
        this.end = end;
        return true;
      }
    }
    this.#append(bytes, start, end);
    if (!header.done) return false;
    this.bytes = this.#buffer!;
    this.start = 0;
    this.end = this.#length;
    this.#length = 0;
    return true;
  }

  /** Takes the pooled buffer of the completed packet over; it belongs to the caller now. */
  take(): Buffer {
    const buffer = this.bytes;
    this.#buffer = undefined;
    this.bytes = NOTHING;
    return buffer;
  }

  /** Lets go of the packet, whole or not: gives a buffer back that nobody took. */
  release(): void {
    if (this.#buffer) this.#pool.put(this.#buffer);
    this.#buffer = undefined;
    this.bytes = NOTHING;
    this.#length = 0;
    this.#unfinished = false;
  }

  #append(bytes: Buffer, start: number, end: number): void {
    if (start === end) return;
    const needed = this.#length + (end - start);
    const have = this.#buffer;
    if (!have || have.length < needed) {
      // The frame's announced size is not trusted for memory: only what has arrived is held, doubled.
      const buffer = this.#pool.get(Math.max(needed, this.#length * 2));
      if (have) {
        have.copy(buffer, 0, 0, this.#length);
        this.#pool.put(have);
      }
      this.#buffer = buffer;
    }
    bytes.copy(this.#buffer!, this.#length, start, end);
    this.#length = needed;
  }
}

/** Numbers and bigints each need their own one. */
function next(id: Uint64): Uint64 {
  return typeof id === 'number' && id < Number.MAX_SAFE_INTEGER ? id + 1 : BigInt(id) + 1n;
}
