import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { isReservedKey } from '../../lib/metadata/metadata.js';
import { decodeTimeout, encodeTimeout, TIMEOUT_KEY } from '../../lib/metadata/timeout.js';

describe('encodeTimeout', () => {
  it.each([
    [250, '250m'],
    [0, '0m'],
    [-5, '0m'],
    [0.2, '1m'],
    [1000.1, '1001m'],
    [99_999_999, '99999999m'],
    [100_000_000, '100000S'],
    [100_000_001, '100001S'],
    [99_999_999_000, '99999999S'],
    [99_999_999_001, '1666667M'],
    [99_999_999 * 60_000 + 1, '1666667H'],
    [Number.MAX_VALUE, '99999999H'],
    [Number.POSITIVE_INFINITY, '99999999H'],
    [Number.NEGATIVE_INFINITY, '0m'],
  ])('writes %d ms as %s', (ms, text) => {
    expect(encodeTimeout(ms)).toBe(text);
  });

  it('refuses what is not a number', () => {
    expect(() => encodeTimeout(Number.NaN)).toThrow(RangeError);
  });
});

describe('decodeTimeout', () => {
  it.each([
    ['250m', 250],
    ['0m', 0],
    ['1H', 3_600_000],
    ['2M', 120_000],
    ['3S', 3000],
    ['00000001S', 1000],
    ['500u', 0.5],
    ['1000000n', 1],
    ['99999999H', 359_999_996_400_000],
  ])('reads %s as %d ms', (text, ms) => {
    expect(decodeTimeout(text)).toBeCloseTo(ms, 9);
  });

  it.each(['', 'm', '5', '-1m', '1.5S', '123456789m', '1s', '1h', ' 1m', '1m ', '1m\n', '1mS', '٣m', '1e3m'])(
    'does not read %j',
    (text) => {
      expect(decodeTimeout(text)).toBeUndefined();
    },
  );

  it('never reads less than was written, and at most a hundredth more', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 48 }), (ms) => {
        const seen = decodeTimeout(encodeTimeout(ms))!;
        expect(seen).toBeGreaterThanOrEqual(ms);
        expect(seen).toBeLessThanOrEqual(ms * 1.01);
      }),
    );
  });
});

describe('TIMEOUT_KEY', () => {
  it('is reserved', () => {
    expect(isReservedKey(TIMEOUT_KEY)).toBe(true);
  });
});
