import { describe, expect, it, vi } from 'vitest';
import { USED_IDS, UsedIds } from '../../lib/manager/used-ids.js';
import type { Uint64 } from '../../lib/wire/varint.js';
import { uint64 } from '../../lib/wire/varint.js';
import { Prng } from '../helpers/prng.js';

describe('UsedIds', () => {
  it('takes ids in any order, each once', () => {
    const ids = new UsedIds();
    expect([5, 3, 4, 5, 3, 1, 2, 1].map((id) => ids.use(id))).toEqual([
      true,
      true,
      true,
      false,
      false,
      true,
      true,
      false,
    ]);
    expect(ids.highest).toBe(5);
  });

  it('knows nothing at the beginning', () => {
    expect(new UsedIds().highest).toBe(0);
  });

  it('remembers 4,096 ids and calls older ones used', () => {
    expect(USED_IDS).toBe(4096);
    const ids = new UsedIds();
    ids.use(10_000);
    expect(ids.use(10_000 - 4096)).toBe(false);
    expect(ids.use(10_000 - 4095)).toBe(true);
    expect(ids.use(10_000 - 4095)).toBe(false);
  });

  it('forgets what falls out of the range when ids jump', () => {
    const ids = new UsedIds();
    ids.use(1);
    ids.use(5000);
    // 4097 stands where 1 stood.
    expect(ids.use(4097)).toBe(true);
    ids.use(1_000_000);
    expect([ids.use(5000), ids.use(999_999), ids.use(999_999)]).toEqual([false, true, false]);
  });

  it('knows ids beyond 2^53 exactly', () => {
    const ids = new UsedIds();
    const base = 2n ** 53n;
    const order: Uint64[] = [
      Number.MAX_SAFE_INTEGER,
      base,
      base + 1n,
      base,
      Number.MAX_SAFE_INTEGER,
      base + 3n,
    ];
    expect(order.map((id) => ids.use(id))).toEqual([true, true, true, false, false, true]);
    expect(ids.use(base + 2n)).toBe(true);
    expect(ids.use(2n ** 64n - 1n)).toBe(true);
    expect(ids.highest).toBe(2n ** 64n - 1n);
    expect([ids.use(base + 9n), ids.use(1)]).toEqual([false, false]);
  });

  it('answers as a set of all ids would, within its range', () => {
    const ids = new UsedIds();
    const random = new Prng(10);
    const used = new Set<bigint>();
    let highest = 0n;
    const wrong: string[] = [];
    let next = 1n;
    for (let i = 0; i < 20_000; i++) {
      if (random.once(1000)) next += BigInt(random.int(10_000));
      else if (random.once(3)) next += BigInt(random.int(5));
      const id = next - BigInt(random.once(4) ? random.int(6000) : 0);
      if (id < 1n) continue;
      const expected = id > highest - BigInt(USED_IDS) && !used.has(id);
      if (ids.use(uint64(id)) !== expected) wrong.push(`${i}: ${id}`);
      used.add(id);
      if (id > highest) highest = id;
    }
    expect(wrong).toEqual([]);
    expect(used.size).toBeGreaterThan(1000);
  });

  it.each<[string, bigint]>([
    ['small ids', 1n],
    ['ids around 2^53', 2n ** 53n - 50_000n],
    ['ids beyond 2^53', 2n ** 60n + 77n],
  ])('answers as a set of all ids would when %s jump by any distance', (_what, first) => {
    const ids = new UsedIds();
    const random = new Prng(11);
    const used = new Set<bigint>();
    let highest = first;
    used.add(first);
    ids.use(uint64(first));
    const wrong: string[] = [];
    for (let i = 0; i < 300; i++) {
      const next = highest + BigInt(random.int(USED_IDS + 100));
      // All of its range is asked, not only what the jump left.
      const asked = [next, ...Array.from({ length: 60 }, () => next - BigInt(random.int(USED_IDS + 50)))];
      for (const id of asked) {
        if (id < 1n) continue;
        if (id > highest) highest = id;
        const expected = id > highest - BigInt(USED_IDS) && !used.has(id);
        if (ids.use(uint64(id)) !== expected) wrong.push(`${i}: ${id}`);
        used.add(id);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('clears what a jump leaves behind word by word, asking for the slot of an id once', () => {
    const ids = new UsedIds();
    const remainders = vi.spyOn(globalThis, 'Number');
    for (let i = 0; i < 100; i++) ids.use(2n ** 60n + BigInt(i * (USED_IDS - 1)));
    const made = remainders.mock.calls.length;
    remainders.mockRestore();
    // The distance, the slot of the id before and that of this one.
    expect(made).toBeGreaterThan(100);
    expect(made).toBeLessThanOrEqual(300);
  });
});
