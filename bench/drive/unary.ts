import type { ClientEnd } from '../contestant.js';

export interface UnaryParams {
  size: number;
  atOnce: number;
  ms: number;
  maxCalls: number;
}

export interface UnaryResult {
  calls: number;
  failed: number;
  perSecond: number;
}

/** How many calls fail before a run is given up. */
const MAX_FAILED = 1000;

/** Keeps `atOnce` calls under way for `ms`, then lets the last ones finish outside the measured time. */
export function driveUnary(
  end: ClientEnd,
  { size, atOnce, ms, maxCalls }: UnaryParams,
): Promise<UnaryResult> {
  return new Promise((resolve) => {
    const payload = end.payload(size);
    const clockEvery = Math.min(atOnce, 64);
    let underWay = 0;
    let calls = 0;
    let failed = 0;
    let elapsedMs = 0;
    let counted = 0;

    const done = (error: Error | undefined, answered: number) => {
      underWay--;
      if (error || answered !== size) failed++;
      else calls++;
      if (elapsedMs === 0) {
        if (calls % clockEvery === 0 || failed > 0) look();
        if (elapsedMs === 0) return issue();
      }
      if (underWay === 0) resolve({ calls: counted, failed, perSecond: (counted * 1000) / elapsedMs });
    };
    const look = () => {
      const now = performance.now() - begin;
      if (now < ms && calls < maxCalls && failed < MAX_FAILED) return;
      elapsedMs = now;
      counted = calls;
    };
    const issue = () => {
      underWay++;
      end.unary(payload, done);
    };

    const begin = performance.now();
    for (let i = 0; i < atOnce; i++) issue();
  });
}
