import type { BufferPool } from '../wire/buffer-pool.js';

const FIRST_SLOTS = 8;
/** So many slots stay, however few are taken. */
const KEPT_SLOTS = 256;

/**
 * The receive queue of a stream: messages that arrived before anybody wanted them, first in, first out.
 *
 *          head                 head + size
 *           v                    v
 *     [ . . | m1 | m2 | m3 | m4 | . . ]     slots double when all are taken, and halve when few are
 *
 * `enqueue` copies into a pooled buffer, or takes one over; `dequeue` hands the buffer to its caller, who
 * owns it from then on, and the slot is free at once. After `close` what is queued can still be taken.
 * Whether there is room is for the stream to decide: bounds depend on its peer.
 */
export class RingBuffer {
  readonly #pool: BufferPool;
  #buffers: (Buffer | undefined)[] = new Array<undefined>(FIRST_SLOTS);
  #lengths: number[] = new Array<number>(FIRST_SLOTS).fill(0);
  #head = 0;
  #size = 0;
  #bytes = 0;
  #isClosed = false;
  #length = 0;

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  /** Messages that wait. */
  get size(): number {
    return this.#size;
  }

  /** Bytes of the messages that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The size in bytes of the message that was dequeued last; its buffer may be larger. */
  get length(): number {
    return this.#length;
  }

  /** Copies `bytes[start, end)`, which is borrowed. Dropped when the queue is closed. */
  enqueue(bytes: Buffer, start: number, end: number): void {
    if (this.#isClosed) return;
    const buffer = this.#pool.get(end - start);
    bytes.copy(buffer, 0, start, end);
    this.#add(buffer, end - start);
  }

  /** Takes over a pooled buffer that holds `length` bytes. Returned to the pool when the queue is closed. */
  enqueueOwned(buffer: Buffer, length: number): void {
    if (this.#isClosed) return this.#pool.put(buffer);
    this.#add(buffer, length);
  }

  /** The oldest message, whose size is then {@link length}; `undefined` when none waits. The caller owns it. */
  dequeue(): Buffer | undefined {
    if (this.#size === 0) return undefined;
    const buffer = this.#buffers[this.#head]!;
    this.#length = this.#lengths[this.#head]!;
    this.#buffers[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#buffers.length - 1);
    this.#size--;
    this.#bytes -= this.#length;
    // A burst of empty messages, which count for little, would keep its slots as long as the stream lives.
    const { slots } = this;
    if (slots > KEPT_SLOTS && this.#size * 8 <= slots) this.#resize(slots / 2);
    return buffer;
  }

  /** Messages for which there is memory; for tests. */
  get slots(): number {
    return this.#buffers.length;
  }

  /** Takes nothing more in; what is queued can still be dequeued. */
  close(): void {
    this.#isClosed = true;
  }

  /** Returns everything that waits to the pool. */
  clear(): void {
    for (let buffer = this.dequeue(); buffer; buffer = this.dequeue()) this.#pool.put(buffer);
  }

  #add(buffer: Buffer, length: number): void {
    if (this.#size === this.slots) this.#resize(this.slots * 2);
    const at = (this.#head + this.#size) & (this.#buffers.length - 1);
    this.#buffers[at] = buffer;
    this.#lengths[at] = length;
    this.#size++;
    this.#bytes += length;
  }

  #resize(slots: number): void {
    const last = this.slots - 1;
    const buffers = new Array<Buffer | undefined>(slots);
    const lengths = new Array<number>(slots).fill(0);
    for (let i = 0; i < this.#size; i++) {
      const from = (this.#head + i) & last;
      buffers[i] = this.#buffers[from];
      lengths[i] = this.#lengths[from]!;
    }
    this.#buffers = buffers;
    this.#lengths = lengths;
    this.#head = 0;
  }
}
