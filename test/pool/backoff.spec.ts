import { describe, expect, it } from 'vitest';
import { backoffDelay } from '../../lib/pool/backoff.js';

describe('backoffDelay', () => {
  const longest = { initial: 100, max: 10_000, random: () => 1 };

  it.each([
    [0, 100],
    [1, 100],
    [2, 200],
    [3, 400],
    [7, 6400],
    [8, 10_000],
    [2000, 10_000],
  ])('after %d failures in a row is at most %d ms', (failures, delay) => {
    expect(backoffDelay(failures, longest)).toBe(delay);
  });

  it('is never less than half of that, so that attempts spread', () => {
    expect(backoffDelay(3, { ...longest, random: () => 0 })).toBe(200);
    expect(backoffDelay(3, { ...longest, random: () => 0.5 })).toBe(300);
  });

  it('differs from one time to the next without a source of randomness', () => {
    const delays = new Set(Array.from({ length: 20 }, () => backoffDelay(5, { initial: 100, max: 10_000 })));
    expect(delays.size).toBeGreaterThan(1);
  });
});
