import { describe, expect, it } from 'vitest';
import { closeSend, invoke, message, part } from '../helpers/frames.js';
import { RawPeer } from '../helpers/raw-peer.js';

/** With code 14: to the calls of the connection it is lost like any other. */
const HALF_A_FRAME =
  'ClosedError: half a frame and no end for 30000 ms: a frame must arrive within that time';

describe('Reading: half a frame', () => {
  const bytes = message(1, 2, 'hello');
  const large = message(1, 2, Buffer.alloc(20_000));

  it.each<[string, Buffer]>([
    ['the first byte of one', bytes.subarray(0, 1)],
    ['a header', bytes.subarray(0, 4)],
    ['a header and some data', bytes.subarray(0, 6)],
    ['a piece of a large one', large.subarray(0, 9000)],
    ['the header of a large one', large.subarray(0, 5)],
  ])('may stand for 30 s: %s', (_what, half) => {
    const peer = RawPeer.ofServer();
    peer.send(invoke(1), half);
    peer.clock.advance(29_999);
    expect(peer.cause).toBeUndefined();
    peer.clock.advance(1);
    expect(peer.cause).toBe(HALF_A_FRAME);
  });

  it('does not gain time by every byte that arrives', () => {
    for (const slow of [bytes, large]) {
      const peer = RawPeer.ofServer();
      peer.send(invoke(1));
      for (let at = 0; at < slow.length && !peer.cause; at++) {
        peer.send(slow.subarray(at, at + 1));
        peer.clock.advance(5000);
      }
      expect(peer.cause).toBe(HALF_A_FRAME);
      expect(peer.clock.now()).toBeLessThanOrEqual(35_000);
    }
  });

  it('may be any number of frames one after the other, each within its time', () => {
    const peer = RawPeer.ofServer();
    peer.send(invoke(1));
    for (let id = 2; id < 10; id++) {
      peer.send(bytes.subarray(0, 2).fill(0x05, 0, 1), Buffer.alloc(0));
      peer.clock.advance(20_000);
      peer.send(Buffer.concat([Buffer.of(id, 5), Buffer.from('hello')]));
    }
    expect(peer.last.sink.take()).toHaveLength(8);
    peer.clock.advance(60_000);
    expect(peer.cause).toBeUndefined();
    expect(peer.clock.pendingTimers).toBe(0);
  });

  it('is watched by one timer at most, and by none between frames', () => {
    const peer = RawPeer.ofServer();
    peer.send(invoke(1));
    expect(peer.clock.pendingTimers).toBe(0);
    peer.send(bytes.subarray(0, 1));
    peer.send(bytes.subarray(1, 2));
    expect(peer.clock.pendingTimers).toBe(1);
  });

  it('is as long as it is told to be', () => {
    const peer = RawPeer.ofServer({ frameTimeout: 100 });
    peer.send(invoke(1).subarray(0, 3));
    peer.clock.advance(100);
    expect(peer.cause).toContain('for 100 ms');
  });

  it('does not age while the socket is paused because of us', () => {
    const peer = RawPeer.ofServer({ demand: 0, recvQueueMessages: 1, stallTimeout: 1e9 });
    const { stream } = peer.invoke(invoke(1));
    peer.send(message(1, 2, 'full'), bytes.subarray(0, 5));
    peer.clock.advance(100_000);
    stream.request(1);
    expect(peer.cause).toBeUndefined();
    peer.clock.advance(29_999);
    expect(peer.cause).toBeUndefined();
    peer.clock.advance(1);
    expect(peer.cause).toBe(HALF_A_FRAME);
  });

  it('does not age either when the pause begins in the middle of it', () => {
    const peer = RawPeer.ofServer();
    peer.send(invoke(1), bytes.subarray(0, 5));
    peer.clock.advance(20_000);
    peer.manager.pauseReading();
    peer.clock.advance(100_000);
    peer.manager.resumeReading();
    peer.clock.advance(9999);
    expect(peer.cause).toBeUndefined();
    peer.clock.advance(1);
    expect(peer.cause).toBe(HALF_A_FRAME);
  });

  it('may be half a preamble as well', () => {
    const peer = RawPeer.ofServer();
    peer.send(Buffer.from('DRPC'));
    peer.clock.advance(30_000);
    expect(peer.cause).toBe(HALF_A_FRAME);
    // A frame behind a preamble has its own time.
    const other = RawPeer.ofServer();
    other.send(Buffer.from('DRPC'));
    other.clock.advance(20_000);
    other.send(Buffer.from('!!!1'));
    other.clock.advance(20_000);
    expect(other.cause).toBeUndefined();
    other.send(invoke(1).subarray(0, 2));
    other.clock.advance(29_999);
    expect(other.cause).toBeUndefined();
    other.clock.advance(1);
    expect(other.cause).toBe(HALF_A_FRAME);
  });

  it('is nothing before the first byte: an idle connection may stay', () => {
    const peer = RawPeer.ofServer();
    peer.clock.advance(1e9);
    expect(peer.cause).toBeUndefined();
    expect(peer.clock.pendingTimers).toBe(0);
  });
});

describe('Reading: turns', () => {
  it('lets other connections have one after a bounded number of frames', () => {
    const peer = RawPeer.ofServer();
    const { sink } = peer.invoke(invoke(1));
    peer.send(...Array.from({ length: 10_000 }, (_, i) => message(1, i + 2)));
    const first = sink.take().length;
    expect(first).toBeLessThanOrEqual(4096);
    expect([peer.manager.isPaused, peer.socket.isPaused(), peer.clock.pendingYields]).toEqual([
      true,
      true,
      1,
    ]);
    peer.clock.yielded();
    expect(sink.take().length).toBe(4096);
    peer.clock.yielded();
    expect(sink.take().length).toBe(10_000 - first - 4096);
    expect([peer.manager.isPaused, peer.socket.isPaused(), peer.clock.pendingYields]).toEqual([
      false,
      false,
      0,
    ]);
  });

  it('counts an Invoke for more than a message: it starts user code', () => {
    const peer = RawPeer.ofServer({ maxStreams: Infinity });
    peer.send(...Array.from({ length: 1000 }, (_, i) => invoke(i + 1)));
    expect(peer.accepted.length).toBeLessThan(300);
    while (peer.clock.pendingYields > 0) peer.clock.yielded();
    expect(peer.accepted).toHaveLength(1000);
  });

  it('is not lost when the connection ends meanwhile', () => {
    const peer = RawPeer.ofServer();
    const { sink } = peer.invoke(invoke(1));
    peer.send(...Array.from({ length: 5000 }, (_, i) => message(1, i + 2)));
    peer.manager.close().catch(() => undefined);
    const told = sink.take().length;
    peer.clock.yielded();
    expect(sink.take()).toEqual([]);
    expect(told).toBeLessThan(5000);
  });

  it('handles everything before the end of the socket', () => {
    const peer = RawPeer.ofServer();
    const { sink, stream } = peer.invoke(invoke(1));
    peer.send(...Array.from({ length: 5000 }, (_, i) => message(1, i + 2)), closeSend(1, 6000));
    peer.manager.receiveEnd();
    expect(peer.cause).toBeUndefined();
    peer.clock.yielded();
    expect(sink.events.at(-1)).toBe('terminated');
    expect(sink.events).toContain('end');
    expect(sink.events.filter((event) => event.startsWith('message'))).toHaveLength(5000);
    expect(stream.cause).toBe(peer.manager.cause);
  });
});

describe('Reading: pauses', () => {
  it('add up: the socket goes on when the last reason is gone', () => {
    const peer = RawPeer.ofServer({ demand: 0, recvQueueMessages: 4000 });
    const { stream } = peer.invoke(invoke(1));
    peer.send(...Array.from({ length: 4000 }, (_, i) => message(1, i + 2)), message(1, 9000));
    expect(peer.manager.isPaused).toBe(true);
    // Now the turn is over as well.
    peer.send(...Array.from({ length: 500 }, (_, i) => message(1, i + 9001)));
    stream.request(4000);
    expect([peer.clock.pendingYields, peer.manager.isPaused]).toEqual([1, true]);
    stream.request(Infinity);
    expect(peer.socket.isPaused()).toBe(true);
    peer.clock.yielded();
    expect([peer.manager.isPaused, peer.socket.isPaused()]).toEqual([false, false]);
  });

  it('do not matter once the connection has ended', () => {
    const peer = RawPeer.ofServer({ demand: 0, recvQueueMessages: 1 });
    const { stream, sink } = peer.invoke(invoke(1));
    peer.send(message(1, 2, 'full'));
    peer.manager.receiveEnd();
    stream.request(1);
    expect(sink.events.at(-1)).toContain('end ClosedError');
    expect(peer.clock.pendingTimers).toBe(0);
  });

  it('stop in the middle of a large frame and lose nothing', () => {
    const peer = RawPeer.ofServer({ demand: 0, recvQueueMessages: 1 });
    const [first, second] = [peer.invoke(invoke(1)), peer.invoke(invoke(2))];
    second.stream.request(Infinity);
    const bytes = part(2, 2, 2, Buffer.alloc(30_000, 'x'));
    peer.send(bytes.subarray(0, 10_000));
    peer.send(bytes.subarray(10_000), message(1, 2, 'full'), message(2, 2, 'end'));
    expect(second.sink.take()).toEqual([]);
    first.stream.request(1);
    expect(second.sink.take()).toEqual(['message <30003 bytes>']);
  });

  it('leave a count of chunks as signs of life', () => {
    const peer = RawPeer.ofServer();
    expect(peer.manager.chunks).toBe(0);
    peer.send(invoke(1));
    peer.send(message(1, 2).subarray(0, 1));
    expect(peer.manager.chunks).toBe(2);
  });
});
