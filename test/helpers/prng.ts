/** Random numbers that a seed repeats (mulberry32). */
export class Prng {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 up to, not including, `below`. */
  int(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return Math.floor((((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32) * below);
  }

  /** True once in `of` times. */
  once(of: number): boolean {
    return this.int(of) === 0;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.int(choices.length)]!;
  }

  bytes(size: number): Buffer {
    const bytes = Buffer.alloc(size);
    for (let i = 0; i < size; i++) bytes[i] = this.int(256);
    return bytes;
  }
}

/** The seed of this run: a fresh one, or the one that `DRPC_TEST_SEED` repeats. */
export function runSeed(): number {
  const wanted = process.env.DRPC_TEST_SEED;
  return wanted === undefined ? Date.now() >>> 0 : Number(wanted);
}
