import { Session, type HeapProfiler } from 'node:inspector/promises';
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

/** What a process allocated: bytes of heap in all, and the functions that allocated most of it. */
export interface Allocations {
  bytes: number;
  sites: { name: string; bytes: number }[];
}

/** One sample in so many bytes. */
const SAMPLE_BYTES = 8192;
const SITES = 12;

/** Samples allocations on the heap, of what has become garbage as well. */
export class AllocationRecorder {
  readonly #session = new Session();

  async start(): Promise<void> {
    this.#session.connect();
    await this.#session.post('HeapProfiler.startSampling', {
      samplingInterval: SAMPLE_BYTES,
      includeObjectsCollectedByMajorGC: true,
      includeObjectsCollectedByMinorGC: true,
    });
  }

  /** What was allocated since {@link start}. */
  async take(): Promise<Allocations> {
    const { profile } = await this.#session.post('HeapProfiler.stopSampling');
    this.#session.disconnect();
    const sites = new Map<string, number>();
    let bytes = 0;
    const add = ({ callFrame, selfSize, children }: HeapProfiler.SamplingHeapProfileNode): void => {
      const file = callFrame.url.split('/').slice(-2).join('/');
      const name = `${callFrame.functionName || 'anonymous'} ${file}`.trim();
      bytes += selfSize;
      if (selfSize > 0) sites.set(name, (sites.get(name) ?? 0) + selfSize);
      for (const child of children) add(child);
    };
    add(profile.head);
    const most = [...sites].toSorted(([, a], [, b]) => b - a).slice(0, SITES);
    return { bytes, sites: most.map(([name, size]) => ({ name, bytes: size })) };
  }
}
