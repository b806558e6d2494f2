import { describe, expect, it } from 'vitest';
import { BufferPool, DEFAULT_POOL_SIZE } from '../../lib/wire/buffer-pool.js';
import { Prng } from '../helpers/prng.js';

const MIB = 1024 * 1024;

describe('BufferPool', () => {
  it.each([[0], [1], [64], [65], [4096], [4097], [65_536], [4 * MIB], [4 * MIB + 1], [9 * MIB]])(
    'hands out a buffer with room for %i bytes',
    (size) => {
      expect(new BufferPool().get(size).length).toBeGreaterThanOrEqual(size);
    },
  );

  it.each([[1], [64], [65], [193], [1000], [4096], [4097], [100_000]])(
    'hands out memory that holds nothing else, for %i bytes',
    (size) => {
      const pool = new BufferPool();
      const buffers = Array.from({ length: 20 }, () => pool.get(size));
      expect(new Set(buffers.map(({ buffer }) => buffer)).size).toBe(20);
      expect(buffers.map(({ buffer }) => buffer.byteLength)).toEqual(buffers.map(({ length }) => length));
    },
  );

  it('never hands a buffer out twice, whatever is returned in between', () => {
    const pool = new BufferPool({ maxKept: 64 * 1024 });
    const random = new Prng(6);
    const lent: { buffer: Buffer; mark: number }[] = [];
    let mark = 0;
    let damaged = 0;
    for (let i = 0; i < 5000; i++) {
      if (lent.length > 0 && random.once(2)) {
        const [{ buffer, mark: expected }] = lent.splice(random.int(lent.length), 1) as [(typeof lent)[0]];
        // Whoever else had got the memory would have left another mark.
        if (!buffer.every((byte) => byte === expected)) damaged++;
        pool.put(buffer);
      } else {
        mark = (mark + 1) % 251;
        const buffer = pool.get(random.int(random.once(20) ? 8192 : 300));
        buffer.fill(mark);
        lent.push({ buffer, mark });
      }
    }
    expect(damaged).toBe(0);
    expect(lent.every(({ buffer, mark: expected }) => buffer.every((byte) => byte === expected))).toBe(true);
    expect(pool.usage.lent).toBe(lent.length);
  });

  it('uses what was returned again', () => {
    const pool = new BufferPool();
    const first = pool.get(1000);
    pool.put(first);
    expect(pool.get(1024)).toBe(first);
    expect(pool.usage).toEqual({ made: 1, lent: 1, given: 0, kept: 0 });
  });

  it('does not use what is too small, or twice as large as needed', () => {
    const pool = new BufferPool();
    pool.put(pool.get(1000));
    expect(pool.get(1025).length).toBeGreaterThanOrEqual(1025);
    expect(pool.get(400).length).toBe(512);
    expect(pool.usage.made).toBe(3);
  });

  it('keeps a bounded number of bytes, 1 MiB by default, and leaves the rest to the garbage collector', () => {
    expect(DEFAULT_POOL_SIZE).toBe(MIB);
    const pool = new BufferPool();
    const burst = Array.from({ length: 5000 }, () => pool.get(1000));
    for (const buffer of burst) pool.put(buffer);
    expect(pool.usage).toMatchObject({ made: 5000, lent: 0, kept: MIB });
  });

  it('keeps nothing when told so', () => {
    const pool = new BufferPool({ maxKept: 0 });
    const first = pool.get(100);
    pool.put(first);
    expect(pool.usage).toEqual({ made: 1, lent: 0, given: 0, kept: 0 });
    expect(pool.get(100)).not.toBe(first);
  });

  it('keeps no buffer above 4 MiB', () => {
    const pool = new BufferPool({ maxKept: 100 * MIB });
    pool.put(pool.get(4 * MIB));
    expect(pool.usage.kept).toBe(4 * MIB);
    pool.put(pool.get(4 * MIB + 1));
    expect(pool.usage.kept).toBe(4 * MIB);
  });

  it('counts what is given away for good', () => {
    const pool = new BufferPool();
    pool.get(10);
    pool.get(10);
    pool.give();
    expect(pool.usage).toMatchObject({ lent: 1, given: 1 });
  });
});
