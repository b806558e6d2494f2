import { setImmediate as turn } from 'node:timers/promises';

/** Bytes that are in use once the garbage is gone: heap and the buffers beside it. Needs --expose-gc. */
export async function usedMemory(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    globalThis.gc!();
    await turn();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const EVERY_MS = 25;

/** Remembers the largest resident size of this process since the last question. */
export class MemoryPeak {
  #peak = 0;
  readonly #timer = setInterval(() => this.#look(), EVERY_MS);

  take(): number {
    this.#look();
    const peak = this.#peak;
    this.#peak = process.memoryUsage.rss();
    return peak;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    this.#peak = Math.max(this.#peak, process.memoryUsage.rss());
  }
}
