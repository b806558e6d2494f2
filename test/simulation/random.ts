/** A small, fast generator of pseudo-random numbers (sfc32): the same seed gives the same program everywhere. */
export class Random {
  readonly seed: number;
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  /** @param stream tells apart what several users of one seed draw */
  constructor(seed: number, stream = 0) {
    this.seed = seed >>> 0;
    this.#a = this.seed;
    this.#b = stream >>> 0;
    this.#c = 0x9e3779b9;
    for (let i = 0; i < 12; i++) this.uint32();
  }

  uint32(): number {
    const sum = (this.#a + this.#b + this.#counter++) >>> 0;
    this.#a = (this.#b ^ (this.#b >>> 9)) >>> 0;
    this.#b = (this.#c + (this.#c << 3)) >>> 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) >>> 0;
    return sum;
  }

  /** A whole number, `least <= n <= most`. */
  int(least: number, most: number): number {
    return least + Math.floor((this.uint32() / 2 ** 32) * (most - least + 1));
  }

  /** True in `share` of all cases. */
  chance(share: number): boolean {
    return this.uint32() < share * 2 ** 32;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.int(0, choices.length - 1)]!;
  }

  /** A size whose magnitude is even: as often below 10 as between 10 and 100, and so on up to `most`. */
  size(most: number): number {
    const bits = Math.log2(most + 1);
    return Math.min(most, Math.floor(2 ** ((this.uint32() / 2 ** 32) * bits)) - 1 + this.int(0, 1));
  }

  bytes(size: number): Buffer {
    const bytes = Buffer.allocUnsafe(size);
    for (let i = 0; i < size; i++) bytes[i] = this.uint32() & 0xff;
    return bytes;
  }

  /** Cuts `bytes` at random places, mostly few of them; the pieces are views, none of them empty. */
  cut(bytes: Buffer): Buffer[] {
    const most = this.pick([1, 6, 80, 2000, 10_000, 140_000]);
    const tiny = this.pick([0, 0, 0.5]);
    const pieces: Buffer[] = [];
    for (let at = 0; at < bytes.length;) {
      const size = this.int(1, this.chance(tiny) ? 4 : most);
      pieces.push(bytes.subarray(at, at + size));
      at += size;
    }
    return pieces;
  }
}
