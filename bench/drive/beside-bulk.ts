import type { ClientEnd } from '../contestant.js';
import { quantile } from '../statistics.js';

export interface BesideBulkParams {
  bulkSize: number;
  /** Bulk streams at once; default: one. */
  streams?: number;
  callSize: number;
  /** The bulk stream runs alone for this long first. */
  leadMs: number;
  ms: number;
  /** Pause between an answer and the next call. */
  pauseMs: number;
}

export interface BesideBulkResult {
  p50Ms: number;
  p99Ms: number;
  calls: number;
  bulkBytesPerSecond: number;
}

/** The server's own limit must not be met while calls are slow. */
const SLACK_MS = 5000;

/** Makes one small call after the other while streams of large messages fill the same connection. */
export async function driveBesideBulk(end: ClientEnd, params: BesideBulkParams): Promise<BesideBulkResult> {
  let bytes = 0;
  let lost: Error | undefined;
  const limitMs = params.leadMs + params.ms + SLACK_MS;
  const bulks = Array.from({ length: params.streams ?? 1 }, () =>
    end.download(
      { count: 1_000_000, size: params.bulkSize, fresh: false, limitMs },
      {
        message: (size) => void (bytes += size),
        end: () => (lost ??= new Error('the bulk stream ended too early')),
        error: (error) => (lost ??= error),
      },
    ),
  );
  await pause(params.leadMs);

  const payload = end.payload(params.callSize);
  const times: number[] = [];
  const bytesBefore = bytes;
  const begin = performance.now();
  while (performance.now() - begin < params.ms) {
    const called = performance.now();
    await callOnce(end, payload, params.callSize);
    times.push(performance.now() - called);
    await pause(params.pauseMs);
    if (lost) throw lost;
  }
  const elapsedMs = performance.now() - begin;
  const received = bytes - bytesBefore;
  for (const bulk of bulks) bulk.cancel();
  times.sort((a, b) => a - b);
  return {
    p50Ms: quantile(times, 0.5),
    p99Ms: quantile(times, 0.99),
    calls: times.length,
    bulkBytesPerSecond: (received * 1000) / elapsedMs,
  };
}

function callOnce(end: ClientEnd, payload: unknown, size: number): Promise<void> {
  return new Promise((resolve, reject) => {
    end.unary(payload, (error, answered) => {
      if (error) reject(error);
      else if (answered !== size) reject(new Error(`${answered} came back for ${size}`));
      else resolve();
    });
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
