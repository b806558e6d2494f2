const FIRST_SLAB = 8 * 1024;
/** After so many batches that used little of the slab, it is exchanged for a small one. */
const SHRINK_AFTER = 64;

const NOTHING = Buffer.alloc(0);

/** What goes to the socket in one write: `slab[0, length)`. */
export interface Batch {
  slab: Buffer;
  length: number;
}

/**
 * Memory that frames are appended to and that is used again once they were written.
 *
 *     [ slab being filled, up to `at` ] -> [ full slabs ] -> taken, a batch at a time -> given back
 */
export class Slabs {
  /** The slab being filled; whoever appends to it moves {@link at}. */
  slab: Buffer = Buffer.allocUnsafeSlow(FIRST_SLAB);
  at = 0;

  readonly #largest: number;
  #full: Batch[] = [];
  #fullBytes = 0;
  #spare: Buffer | undefined;
  /** Slabs up to this size are used again. */
  #keptSize = FIRST_SLAB;
  #littleUsed = 0;

  /** @param largest size of a slab, in bytes; a frame that is larger gets one of its own */
  constructor(largest: number) {
    this.#largest = largest;
  }

  /** Bytes appended and not taken. */
  get pending(): number {
    return this.#fullBytes + this.at;
  }

  /** Makes `size` bytes free in the slab being filled; true if another slab became full by that. */
  reserve(size: number): boolean {
    if (this.slab.length - this.at >= size) return false;
    const isFull = this.at > 0;
    if (isFull) {
      this.#full.push({ slab: this.slab, length: this.at });
      this.#fullBytes += this.at;
      this.at = 0;
    } else this.giveBack(this.slab);
    // They double from one to the next, so a connection that writes little holds little.
    this.slab = this.#get(Math.max(size, Math.min(this.slab.length * 2, this.#largest)));
    this.#keptSize = Math.max(this.#keptSize, Math.min(this.slab.length, this.#largest));
    return isFull;
  }

  /** Takes what was appended first; there must be something. Its slab is the caller's until it is given back. */
  take(): Batch {
    const full = this.#full.shift();
    if (full) {
      this.#fullBytes -= full.length;
      return full;
    }
    const batch = { slab: this.slab, length: this.at };
    let size = this.slab.length;
    if (this.at * 4 >= size) this.#littleUsed = 0;
    else if (size > FIRST_SLAB && ++this.#littleUsed >= SHRINK_AFTER) {
      // A burst is long over: give its memory back.
      this.#littleUsed = 0;
      this.#spare = undefined;
      size = FIRST_SLAB;
      this.#keptSize = size;
    }
    this.at = 0;
    this.slab = this.#get(size);
    return batch;
  }

  /** Returns a slab whose batch was written; nobody may read it any more. */
  giveBack(slab: Buffer): void {
    if (slab.length > this.#keptSize) return;
    if (!this.#spare || this.#spare.length < slab.length) this.#spare = slab;
  }

  /** Forgets everything; nothing can be appended any more. */
  clear(): void {
    this.#full = [];
    this.#fullBytes = 0;
    this.#spare = undefined;
    this.at = 0;
    this.slab = NOTHING;
  }

  #get(size: number): Buffer {
    const spare = this.#spare;
    if (spare && spare.length >= size) {
      this.#spare = undefined;
      return spare;
    }
    return Buffer.allocUnsafeSlow(size);
  }
}
