import { describe, expect, it } from 'vitest';
import { ClosedError } from '../../lib/errors/drpc-error.js';
import { ActiveStreams } from '../../lib/manager/active-streams.js';
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
