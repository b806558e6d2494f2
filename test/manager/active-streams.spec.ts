import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClosedError } from '../../lib/errors/drpc-error.js';
import { ActiveStreams } from '../../lib/manager/active-streams.js';
import type { Stream } from '../../lib/stream/stream.js';
import type { Uint64 } from '../../lib/wire/varint.js';
import { invoke } from '../helpers/frames.js';
import { RawPeer } from '../helpers/raw-peer.js';
import { thrownBy } from '../helpers/recorder.js';

/** Streams 1 to 3 and a registry of their own. */
function setUp() {
  const peer = RawPeer.ofServer();
  peer.send(invoke(1), invoke(2), invoke(3));
  const [one, two, three] = peer.accepted.map(({ stream }) => stream);
  return { peer, streams: new ActiveStreams(), one: one!, two: two!, three: three! };
}

/** A stream that is only asked for its id. */
function withId(stream: Stream, id: Uint64): Stream {
  return Object.assign(Object.create(stream) as Stream, { id });
}

describe('ActiveStreams', () => {
  it('finds what was added by its id, until it is removed', () => {
    const { streams, one, two } = setUp();
    expect(streams.get(1)).toBeUndefined();
    streams.add(one);
    streams.add(two);
    expect([streams.get(1), streams.get(2), streams.get(1), streams.get(3)]).toEqual([
      one,
      two,
      one,
      undefined,
    ]);
    expect(streams.size).toBe(2);
    streams.remove(one);
    expect([streams.get(1), streams.get(2), streams.size]).toEqual([undefined, two, 1]);
    streams.remove(one);
    expect(streams.size).toBe(1);
  });

  it('tells ids apart whose lowest bits are the same, whichever goes first', () => {
    const { streams, one } = setUp();
    const ids: Uint64[] = [1, 17, 33, 1025, 2 ** 32 + 1, 2 ** 53 - 1, 2n ** 53n + 1n];
    const made = ids.map((id) => withId(one, id));
    for (const stream of made) streams.add(stream);
    expect(ids.map((id) => streams.get(id))).toEqual(made);
    expect(streams.get(49)).toBeUndefined();
    for (const stream of made.slice(0, 3)) streams.remove(stream);
    expect(ids.map((id) => streams.get(id)?.id)).toEqual([undefined, undefined, undefined, ...ids.slice(3)]);
    expect(new Set([...streams].map(({ id }) => id))).toEqual(new Set(ids.slice(3)));
    // Another stream of the same id is not this one.
    streams.remove(withId(one, 1));
    expect(streams.size).toBe(4);
  });

  it('knows what a Map would, in any order of ids that come and go', () => {
    const { one } = setUp();
    // Beyond what the ring keeps, and down to nothing again.
    const steps = fc.array(
      fc.tuple(
        fc.boolean(),
        fc.oneof(
          fc.nat(40),
          fc.nat(5000).map((n) => n * 64),
        ),
      ),
      {
        maxLength: 3000,
        size: 'max',
      },
    );
    fc.assert(
      fc.property(steps, (list) => {
        const streams = new ActiveStreams();
        const model = new Map<Uint64, Stream>();
        for (const [isNew, id] of list) {
          const known = model.get(id);
          expect(streams.get(id)).toBe(known);
          if (known && !isNew) {
            model.delete(id);
            streams.remove(known);
          } else if (!known) {
            const stream = withId(one, id);
            model.set(id, stream);
            streams.add(stream);
          }
          expect(streams.size).toBe(model.size);
        }
        expect(new Set(streams)).toEqual(new Set(model.values()));
        for (const stream of model.values()) streams.remove(stream);
        expect([streams.size, ...streams]).toEqual([0]);
      }),
      { numRuns: 30 },
    );
  });

  it('refuses an id that is there', () => {
    const { streams, one } = setUp();
    streams.add(one);
    expect(() => streams.add(one)).toThrow('stream 1 exists already');
    expect(streams.size).toBe(1);
  });

  it('knows the stream that weighs most, if it weighs anything', () => {
    const { streams, one, two, three } = setUp();
    expect(streams.greatest(() => 1)).toBeUndefined();
    for (const stream of [one, two, three]) streams.add(stream);
    expect(streams.greatest(({ id }) => (id === 2 ? 5 : 1))).toBe(two);
    expect(streams.greatest(() => 0)).toBeUndefined();
    expect([...streams]).toEqual([one, two, three]);
  });

  describe('close', () => {
    it('ends them in the order of their ids, wherever they stand', () => {
      const { streams, one } = setUp();
      const ended: Uint64[] = [];
      const ids: Uint64[] = [18, 2n ** 60n, 2, 34, 31, 16];
      for (const id of ids) {
        const stream = withId(one, id);
        stream.cancel = () => ended.push(id) > 0;
        streams.add(stream);
      }
      streams.close(new ClosedError('over'));
      expect(ended).toEqual([2, 16, 18, 31, 34, 2n ** 60n]);
    });

    it('ends all streams with the cause, at once', () => {
      const { streams, one, two, peer } = setUp();
      streams.add(one);
      streams.add(two);
      const cause = new ClosedError('over');
      streams.close(cause);
      expect([one.cause, two.cause, streams.size]).toEqual([cause, cause, 0]);
      expect(peer.accepted[0]!.sink.take()).toEqual(['terminated', 'end ClosedError: over']);
    });

    it('tells the first cause to whoever comes later', () => {
      const { streams, one } = setUp();
      const cause = new ClosedError('over');
      streams.close(cause);
      streams.close(new ClosedError('again'));
      expect(thrownBy(() => streams.add(one))).toBe(cause);
      expect(streams.size).toBe(0);
    });

    it('lets streams be removed afterwards', () => {
      const { streams, one } = setUp();
      streams.add(one);
      streams.close(new ClosedError('over'));
      streams.remove(one);
      expect(streams.get(1)).toBeUndefined();
    });
  });
});
