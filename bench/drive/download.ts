import type { ClientEnd } from '../contestant.js';

export interface DownloadParams {
  streams: number;
  /** Messages of each stream. */
  count: number;
  size: number;
  /** Repeats all streams until this time is over. */
  ms: number;
  maxRepeats: number;
}

export interface DownloadResult {
  messages: number;
  perSecond: number;
}

/** Reads `streams` whole streams at once, again and again. */
export async function driveDownloads(end: ClientEnd, params: DownloadParams): Promise<DownloadResult> {
  const begin = performance.now();
  let messages = 0;
  let elapsedMs = 0;
  for (let repeat = 0; repeat < params.maxRepeats && elapsedMs < params.ms; repeat++) {
    await Promise.all(Array.from({ length: params.streams }, () => downloadOne(end, params)));
    messages += params.streams * params.count;
    elapsedMs = performance.now() - begin;
  }
  return { messages, perSecond: (messages * 1000) / elapsedMs };
}

function downloadOne(end: ClientEnd, { count, size }: DownloadParams): Promise<void> {
  return new Promise((resolve, reject) => {
    let messages = 0;
    let wrong = 0;
    end.download(
      { count, size, fresh: false, limitMs: 0 },
      {
        message: (got) => {
          messages++;
          if (got !== size) wrong++;
        },
        end: () => {
          if (messages === count && wrong === 0) resolve();
          else reject(new Error(`${messages} of ${count} messages, ${wrong} of a wrong size or content`));
        },
        error: reject,
      },
    );
  });
}
