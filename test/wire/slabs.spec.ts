import { describe, expect, it } from 'vitest';
import { Slabs } from '../../lib/wire/slabs.js';

const KIB = 1024;

/** Appends `size` bytes as a frame would be; answers whether a slab became full by that. */
function append(slabs: Slabs, size: number): boolean {
  const isFull = slabs.reserve(size);
  slabs.at += size;
  return isFull;
}

/** Takes all that was appended and gives it back at once; answers the lengths. */
function takeAll(slabs: Slabs): number[] {
  const lengths: number[] = [];
  while (slabs.pending > 0) {
    const { slab, length } = slabs.take();
    lengths.push(length);
    slabs.giveBack(slab);
  }
  return lengths;
}

describe('Slabs', () => {
  it('gives what was appended, in its order, a slab at a time', () => {
    const slabs = new Slabs(64 * KIB);
    expect([6, 6, 1, 30].map((size) => append(slabs, size * KIB))).toEqual([false, true, false, true]);
    expect(slabs.pending).toBe(43 * KIB);
    expect(takeAll(slabs)).toEqual([6 * KIB, 7 * KIB, 30 * KIB]);
    expect(slabs.pending).toBe(0);
  });

  it('doubles the slabs up to the largest, and gives a larger frame one of its own', () => {
    const slabs = new Slabs(32 * KIB);
    const sizes: number[] = [];
    for (const size of [8, 8, 8, 8, 8, 8, 8, 32, 100]) {
      append(slabs, size * KIB);
      sizes.push(slabs.slab.length / KIB);
    }
    expect(sizes).toEqual([8, 16, 16, 32, 32, 32, 32, 32, 100]);
    expect(takeAll(slabs)).toEqual([8, 16, 32, 32, 100].map((size) => size * KIB));
  });

  it('makes no new memory for what was given back, but for a frame of unusual size', () => {
    const slabs = new Slabs(32 * KIB);
    const seen = new Set<Buffer>();
    for (let i = 0; i < 100; i++) {
      append(slabs, 20 * KIB);
      seen.add(slabs.slab);
      takeAll(slabs);
    }
    // One is filled while the other is at the socket; both come after the first small one.
    expect(seen.size).toBeLessThanOrEqual(3);
    append(slabs, 100 * KIB);
    const large = slabs.slab;
    takeAll(slabs);
    for (let i = 0; i < 10; i++) {
      append(slabs, 20 * KIB);
      expect(slabs.slab).not.toBe(large);
      takeAll(slabs);
    }
  });

  it('never gives a slab out again that is still being written', () => {
    const slabs = new Slabs(32 * KIB);
    append(slabs, 20 * KIB);
    const { slab } = slabs.take();
    append(slabs, 20 * KIB);
    expect(slabs.slab).not.toBe(slab);
  });

  it('is small again when little is appended for long', () => {
    const slabs = new Slabs(32 * KIB);
    append(slabs, 32 * KIB);
    takeAll(slabs);
    for (let i = 0; i < 63; i++) {
      append(slabs, 10);
      takeAll(slabs);
    }
    expect(slabs.slab.length).toBe(32 * KIB);
    for (let i = 0; i < 3; i++) {
      append(slabs, 10);
      takeAll(slabs);
    }
    expect(slabs.slab.length).toBe(8 * KIB);
  });

  it('holds nothing once it was cleared', () => {
    const slabs = new Slabs(32 * KIB);
    append(slabs, 8 * KIB);
    append(slabs, 8 * KIB);
    slabs.clear();
    expect([slabs.pending, slabs.slab.length]).toEqual([0, 0]);
  });
});
