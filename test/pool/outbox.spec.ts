import { describe, expect, it } from 'vitest';
import { Outbox } from '../../lib/pool/outbox.js';
import type { Payload } from '../../lib/stream/stream.js';

/** How many of `payload` are kept before one is too much. */
function keptOf(payload: Payload, limit: number): number {
  const outbox = new Outbox(limit);
  for (let kept = 0; kept < 1000; kept++) {
    try {
      outbox.keep(payload);
    } catch {
      return kept;
    }
  }
  return Infinity;
}

describe('Outbox', () => {
  it.each([
    ['large ones by their bytes', Buffer.alloc(1000), 10_000, 8],
    ['small ones by what keeps them', '1', 10_000, 51],
    ['empty ones as well', '', 10_000, 52],
    ['one always, as on a stream', Buffer.alloc(1000), 10, 1],
  ])('bounds the messages that it keeps: %s', (_what, payload, limit, kept) => {
    expect(keptOf(payload, limit)).toBe(kept);
  });

  it('says how much it keeps', () => {
    const outbox = new Outbox(400);
    outbox.keep('1');
    outbox.keep('2');
    expect(() => outbox.keep('3')).toThrow('579 bytes wait for a connection: at most 400 may');
  });

  it('hands on what it has kept in order, once, and has room again then', () => {
    const outbox = new Outbox(400);
    const sent: Payload[] = [];
    outbox.keep('1');
    outbox.keep('2');
    outbox.attach((payload) => sent.push(payload));
    outbox.attach((payload) => sent.push(payload));
    expect(sent).toEqual(['1', '2']);
    expect(() => outbox.keep('3')).not.toThrow();
  });
});
