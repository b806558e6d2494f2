import type { ClientEnd, StreamCall } from '../contestant.js';
import { MeasuredTime, type Duration } from './measured-time.js';

export interface Held {
  openMs: number;
  calls: StreamCall[];
}

/** Opens `streams` streams at once; the time is over when the first message of the last one is here. */
export function driveHold(end: ClientEnd, streams: number): Promise<Held> {
  return new Promise((resolve, reject) => {
    const calls: StreamCall[] = [];
    let answered = 0;
    const begin = performance.now();
    const message = () => {
      if (++answered === streams) resolve({ openMs: performance.now() - begin, calls });
    };
    const ended = () =>
      reject(new Error(`a stream ended by itself after ${answered} of ${streams} were open`));
    const observer = { message, end: ended, error: reject };
    for (let i = 0; i < streams; i++) calls.push(end.hold(observer));
  });
}

export interface CancelParams extends Duration {
  atOnce: number;
  maxCycles: number;
}

export interface CancelResult {
  perSecond: number;
  /** Streams opened, with those that failed. */
  opened: number;
  failed: number;
}

const MAX_FAILED = 1000;

/** Opens a stream, waits for its first message, cancels it and opens the next; `atOnce` such cycles side by side. */
export function driveCancel(
  end: ClientEnd,
  { atOnce, maxCycles, ...duration }: CancelParams,
): Promise<CancelResult> {
  return new Promise((resolve) => {
    let opened = 0;
    let cycles = 0;
    let failed = 0;
    let underWay = 0;

    const time = new MeasuredTime(duration);
    const next = () => {
      if (failed >= MAX_FAILED) time.end(cycles);
      else if ((cycles + failed) % 64 === 0) time.look(cycles);
      if (!time.isOver && opened < maxCycles) {
        open();
      } else if (underWay === 0) {
        time.end(cycles);
        resolve({ perSecond: time.perSecond, opened, failed });
      }
    };
    const fail = () => {
      failed++;
      underWay--;
      next();
    };
    const open = () => {
      opened++;
      underWay++;
      const call = end.hold({
        message: () => {
          call.cancel();
          cycles++;
          underWay--;
          next();
        },
        end: fail,
        error: fail,
      });
    };
    for (let i = 0; i < atOnce; i++) open();
  });
}
