import { describe, expect, it } from 'vitest';
import { RingBuffer } from '../../lib/stream/ring-buffer.js';
import { BufferPool } from '../../lib/wire/buffer-pool.js';
import { Prng } from '../helpers/prng.js';

function enqueue(ring: RingBuffer, text: string): void {
  const bytes = Buffer.from(`..${text}..`);
  ring.enqueue(bytes, 2, bytes.length - 2);
}

/** The oldest message as text, whose buffer goes back to the pool. */
function dequeue(ring: RingBuffer, pool: BufferPool): string | undefined {
  const buffer = ring.dequeue();
  const text = buffer?.toString('latin1', 0, ring.length);
  if (buffer) pool.put(buffer);
  return text;
}

describe('RingBuffer', () => {
  it('gives the memory of a burst back as it is taken, also where some always waits', () => {
    const pool = new BufferPool();
    const ring = new RingBuffer(pool);
    for (let i = 0; i < 100_000; i++) enqueue(ring, `${i}`);
    expect(ring.slots).toBe(131_072);
    for (let i = 0; i < 99_990; i++) {
      if (dequeue(ring, pool) !== `${i}`) throw new Error(`not in order at ${i}`);
    }
    expect(ring.slots).toBe(256);
    expect(Array.from({ length: 10 }, () => dequeue(ring, pool))).toEqual(
      Array.from({ length: 10 }, (_, i) => `${99_990 + i}`),
    );
    expect([ring.size, ring.bytes, ring.slots]).toEqual([0, 0, 256]);
  });

  it('is first in, first out, over many rounds and sizes', () => {
    const pool = new BufferPool();
    const ring = new RingBuffer(pool);
    const random = new Prng(9);
    const expected: string[] = [];
    const wrong: string[] = [];
    for (let i = 0; i < 5000; i++) {
      if (random.int(100) < 45 && expected.length > 0) {
        const text = dequeue(ring, pool);
        if (text !== expected.shift()) wrong.push(`${i}: ${text}`);
      } else {
        expected.push(`${i}`.repeat(random.int(20)));
        enqueue(ring, expected.at(-1)!);
      }
    }
    expect(wrong).toEqual([]);
    expect(ring.size).toBe(expected.length);
    expect(ring.bytes).toBe(expected.join('').length);
    expect(pool.usage.lent).toBe(expected.length);
  });

  it('grows beyond its first slots without losing the order, also when it wraps around', () => {
    const pool = new BufferPool();
    const ring = new RingBuffer(pool);
    for (const text of ['a', 'b', 'c', 'd', 'e']) enqueue(ring, text);
    expect([dequeue(ring, pool), dequeue(ring, pool), dequeue(ring, pool)]).toEqual(['a', 'b', 'c']);
    const more = Array.from({ length: 40 }, (_, i) => `m${i}`);
    for (const text of more) enqueue(ring, text);
    const all = Array.from({ length: 42 }, () => dequeue(ring, pool));
    expect(all).toEqual(['d', 'e', ...more]);
  });

  it('copies what it is lent', () => {
    const pool = new BufferPool();
    const ring = new RingBuffer(pool);
    const bytes = Buffer.from('hello');
    ring.enqueue(bytes, 0, 5);
    bytes.fill('x');
    expect(dequeue(ring, pool)).toBe('hello');
  });

  it('holds no more memory than its messages need, whatever of others was handed out in between', () => {
    const pool = new BufferPool();
    const ring = new RingBuffer(pool);
    const other = new RingBuffer(pool);
    for (let i = 0; i < 100; i++) {
      enqueue(ring, '1');
      for (let k = 0; k < 10; k++) enqueue(other, 'x'.repeat(3000));
    }
    other.clear();
    const blocks = new Set<ArrayBufferLike>();
    for (let buffer = ring.dequeue(); buffer; buffer = ring.dequeue()) {
      blocks.add(buffer.buffer);
      pool.put(buffer);
    }
    const held = [...blocks].reduce((sum, { byteLength }) => sum + byteLength, 0);
    expect(held).toBeLessThanOrEqual(100 * 64);
  });

  it('takes a buffer over without a copy, and hands it over', () => {
    const pool = new BufferPool();
    const ring = new RingBuffer(pool);
    const buffer = pool.get(5);
    ring.enqueueOwned(buffer, 5);
    expect(pool.usage.lent).toBe(1);
    expect(ring.dequeue()).toBe(buffer);
    expect(ring.length).toBe(5);
    // It is the taker's now: the pool knows nothing of it until it is put back.
    expect(pool.usage).toMatchObject({ lent: 1, kept: 0 });
  });

  it('has the slot free at once, in one step', () => {
    const pool = new BufferPool();
    const ring = new RingBuffer(pool);
    enqueue(ring, 'a');
    ring.dequeue();
    expect([ring.size, ring.bytes]).toEqual([0, 0]);
    expect(ring.dequeue()).toBeUndefined();
  });

  it('holds empty messages', () => {
    const pool = new BufferPool();
    const ring = new RingBuffer(pool);
    enqueue(ring, '');
    expect([ring.size, ring.bytes]).toEqual([1, 0]);
    expect(dequeue(ring, pool)).toBe('');
  });

  describe('close', () => {
    it('lets what is queued be taken, and takes nothing in', () => {
      const pool = new BufferPool();
      const ring = new RingBuffer(pool);
      enqueue(ring, 'before');
      ring.close();
      ring.close();
      enqueue(ring, 'after');
      expect([dequeue(ring, pool), dequeue(ring, pool)]).toEqual(['before', undefined]);
    });

    it('returns a buffer that is handed over later to the pool', () => {
      const pool = new BufferPool();
      const ring = new RingBuffer(pool);
      ring.close();
      ring.enqueueOwned(pool.get(10), 10);
      expect([ring.size, pool.usage.lent]).toEqual([0, 0]);
    });
  });

  it('returns everything on clear', () => {
    const pool = new BufferPool();
    const ring = new RingBuffer(pool);
    for (const text of ['a', 'b', 'c']) enqueue(ring, text);
    ring.clear();
    expect([ring.size, ring.bytes, pool.usage.lent]).toEqual([0, 0, 0]);
  });
});
