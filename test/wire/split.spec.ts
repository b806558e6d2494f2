import { describe, expect, it } from 'vitest';
import { DEFAULT_SPLIT_SIZE, splitData } from '../../lib/wire/split.js';

function sizes(length: number, size?: number): number[] {
  return splitData(Buffer.alloc(length), size).map((piece) => piece.length);
}

describe('splitData', () => {
  it.each([
    ['a rest', 12, 5, [5, 5, 2]],
    ['an exact multiple, without an empty last piece', 10, 5, [5, 5]],
    ['data that fits', 4, 5, [4]],
    ['data of exactly one piece', 5, 5, [5]],
    ['no data: one empty piece', 0, 5, [0]],
    ['a negative size: never', 12, -1, [12]],
    ['a negative size and no data', 0, -1, [0]],
  ])('splits %s', (_what, length, size, expected) => {
    expect(sizes(length, size)).toEqual(expected);
  });

  it.each([[undefined], [0]])('takes %s as the default of 64 KiB', (size) => {
    expect(DEFAULT_SPLIT_SIZE).toBe(65536);
    expect(sizes(65536, size)).toEqual([65536]);
    expect(sizes(65537, size)).toEqual([65536, 1]);
  });

  it('loses and copies nothing', () => {
    const data = Buffer.from('abcdefghijkl');
    const pieces = splitData(data, 5);
    expect(Buffer.concat(pieces)).toEqual(data);
    expect(pieces.every((piece) => piece.buffer === data.buffer)).toBe(true);
  });
});
