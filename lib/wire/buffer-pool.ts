/** The smallest and largest buffers that are kept for reuse, in bytes; both powers of two. */
const SMALLEST_CLASS = 6;
const LARGEST_CLASS = 22;
/** Up to this class it costs less to copy a message for who keeps it than to make a new buffer in its place. */
const COPIED_CLASS = 12;

/** What is kept for reuse by default, in bytes. */
export const DEFAULT_POOL_SIZE = 1024 * 1024;

/** Figures of a {@link BufferPool}, for tests and telemetry. */
export interface BufferPoolUsage {
  /** Buffers that were newly made. */
  made: number;
  /** Buffers that were handed out and neither returned nor given away. */
  lent: number;
  /** Buffers that left the pool for good: their receiver keeps them. */
  given: number;
  /** Bytes that lie ready for reuse. */
  kept: number;
}

/**
 * Buffers for messages on their way from the socket to the application; one per Manager, shared by its
 * streams. Sizes are powers of two. Each has memory of its own: a peer chooses which messages wait long, and of
 * small buffers cut from one block a single one would keep all of it. What {@link get} hands out is owned by its
 * taker until it is put back or given away; at most `maxKept` bytes wait for reuse, the rest is left to the
 * garbage collector, so a burst leaves nothing behind.
 */
export class BufferPool {
  readonly #maxKept: number;
  readonly #free: Buffer[][] = [];
  #kept = 0;
  #made = 0;
  #lent = 0;
  #given = 0;

  constructor({ maxKept = DEFAULT_POOL_SIZE }: { maxKept?: number } = {}) {
    this.#maxKept = maxKept;
  }

  get usage(): BufferPoolUsage {
    return { made: this.#made, lent: this.#lent, given: this.#given, kept: this.#kept };
  }

  /** Hands out a buffer of at least `size` bytes with undefined content. The taker owns it. */
  get(size: number): Buffer {
    this.#lent++;
    const sizeClass = classOf(size);
    const buffer = this.#free[sizeClass]?.pop();
    if (buffer) {
      this.#kept -= buffer.length;
      return buffer;
    }
    this.#made++;
    return Buffer.allocUnsafeSlow(sizeClass > LARGEST_CLASS ? size : 1 << sizeClass);
  }

  /** Takes back a buffer that {@link get} handed out. The caller must not touch it again. */
  put(buffer: Buffer): void {
    this.#lent--;
    const size = buffer.length;
    const sizeClass = classOf(size);
    if (sizeClass > LARGEST_CLASS || this.#kept + size > this.#maxKept) return;
    const free = (this.#free[sizeClass] ??= []);
    free.push(buffer);
    this.#kept += size;
  }

  /**
   * Whether somebody may keep a message of `size` bytes in this buffer for good: it must not be small, nor hold on to
   * much memory that is not used.
   */
  mayGive(buffer: Buffer, size: number): boolean {
    return buffer.length > 1 << COPIED_CLASS && size * 4 >= buffer.length * 3;
  }

  /** Says that a buffer will not come back: its taker gave it to the user for good. */
  give(): void {
    this.#lent--;
    this.#given++;
  }
}

function classOf(size: number): number {
  return size <= 1 << SMALLEST_CLASS ? SMALLEST_CLASS : 32 - Math.clz32(size - 1);
}
