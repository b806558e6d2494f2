import type { ClientEnd } from '../contestant.js';
import { MeasuredTime, type Duration } from './measured-time.js';

export interface UnaryParams extends Duration {
  size: number;
  atOnce: number;
  maxCalls: number;
}

export interface UnaryResult {
  calls: number;
  failed: number;
  perSecond: number;
}

/** How many calls fail before a run is given up. */
const MAX_FAILED = 1000;

/** Keeps `atOnce` calls under way for the time, then lets the last ones finish outside of it. */
export function driveUnary(
  end: ClientEnd,
  { size, atOnce, maxCalls, ...duration }: UnaryParams,
): Promise<UnaryResult> {
  return new Promise((resolve) => {
    const payload = end.payload(size);
    const clockEvery = Math.min(atOnce, 64);
    let underWay = 0;
    let calls = 0;
    let failed = 0;

    const done = (error: Error | undefined, answered: number) => {
      underWay--;
      if (error || answered !== size) failed++;
      else calls++;
      if (calls >= maxCalls || failed >= MAX_FAILED) time.end(calls);
      else if (calls % clockEvery === 0) time.look(calls);
      if (!time.isOver) return issue();
      if (underWay === 0) resolve({ calls: time.counted, failed, perSecond: time.perSecond });
    };
    const issue = () => {
      underWay++;
      end.unary(payload, done);
    };

    const time = new MeasuredTime(duration);
    for (let i = 0; i < atOnce; i++) issue();
  });
}
