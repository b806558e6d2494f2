import type { ClientEnd } from '../contestant.js';
import { MeasuredTime, type Duration } from './measured-time.js';

/** All streams are read again and again until the time is over. */
export interface DownloadParams extends Duration {
  streams: number;
  /** Messages of each stream. */
  count: number;
  size: number;
  maxRepeats: number;
}

export interface DownloadResult {
  messages: number;
  perSecond: number;
}

/** The part of a stream's messages that the streams of the lead have. */
const LEAD_SHARE = 0.05;

/** Reads `streams` whole streams at once, again and again. */
export async function driveDownloads(end: ClientEnd, params: DownloadParams): Promise<DownloadResult> {
  const { streams, count, size, leadMs = 0, ms, maxRepeats } = params;
  const readAll = (each: number) =>
    Promise.all(Array.from({ length: streams }, () => downloadOne(end, each, size)));

  // Shorter ones: some take seconds for a whole stream.
  const lead = new MeasuredTime({ ms: leadMs });
  while (leadMs > 0 && !lead.isOver) {
    await readAll(Math.ceil(count * LEAD_SHARE));
    lead.look(0);
  }
  const time = new MeasuredTime({ ms });
  let messages = 0;
  for (let repeat = 0; repeat < maxRepeats && !time.isOver; repeat++) {
    await readAll(count);
    messages += streams * count;
    time.look(messages);
  }
  time.end(messages);
  return { messages, perSecond: time.perSecond };
}

function downloadOne(end: ClientEnd, count: number, size: number): Promise<void> {
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
