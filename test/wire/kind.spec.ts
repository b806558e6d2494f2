import { describe, expect, it } from 'vitest';
import { isKnownKind, Kind } from '../../lib/wire/kind.js';

describe('Kind', () => {
  it('numbers the kinds as the references do', () => {
    expect(Object.entries(Kind).filter(([, value]) => typeof value === 'number')).toEqual([
      ['Invoke', 1],
      ['Message', 2],
      ['Error', 3],
      ['Cancel', 4],
      ['Close', 5],
      ['CloseSend', 6],
      ['InvokeMetadata', 7],
      ['WindowUpdate', 8],
    ]);
  });
});

describe('isKnownKind', () => {
  it('knows 1 to 8 of the 64 that a header byte can say', () => {
    const known = Array.from({ length: 64 }, (_, kind) => kind).filter(isKnownKind);
    expect(known).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });
});
