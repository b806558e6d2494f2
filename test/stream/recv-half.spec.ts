import { describe, expect, it } from 'vitest';
import { Kind } from '../../lib/wire/kind.js';
import { cancel, closeSend, invoke, message, part, storjError } from '../helpers/frames.js';
import { NOTHING, remains } from '../helpers/leaks.js';
import { RawPeer, type RawPeerOptions } from '../helpers/raw-peer.js';

/** A server with one call that asks for nothing. */
function withCall(options: RawPeerOptions = {}) {
  const peer = RawPeer.ofServer({ demand: 0, ...options });
  return { peer, ...peer.invoke(invoke(1)) };
}

/** Messages 2 to `last` of stream 1. */
function messages(last: number, size = 1): Buffer[] {
  return Array.from({ length: last - 1 }, (_, i) => message(1, i + 2, Buffer.alloc(size)));
}

describe('RecvHalf: the queue of a peer without windows', () => {
  it('pauses the socket at 256 messages, and reads on when one was taken', () => {
    const { peer, stream } = withCall();
    peer.send(...messages(256));
    expect(peer.manager.isPaused).toBe(false);
    peer.send(message(1, 257, 'x'));
    expect([peer.manager.isPaused, peer.socket.isPaused()]).toEqual([true, true]);
    stream.request(1);
    expect([peer.manager.isPaused, peer.socket.isPaused()]).toEqual([false, false]);
  });

  it('pauses the socket at 2 MiB', () => {
    const { peer, stream } = withCall();
    peer.send(...messages(32, 64 * 1024));
    expect(peer.manager.isPaused).toBe(false);
    peer.send(message(1, 33, Buffer.alloc(64 * 1024)));
    expect(peer.manager.isPaused).toBe(true);
    stream.request(1);
    expect(peer.manager.isPaused).toBe(false);
  });

  it('stands still until there is room in bytes, however few messages are left', () => {
    const { peer, stream } = withCall({ recvQueueSize: 1000 });
    peer.send(message(1, 2, 'small'), message(1, 3, Buffer.alloc(1000)));
    stream.request(1);
    expect([peer.manager.isPaused, peer.socket.isPaused()]).toEqual([true, true]);
    stream.request(1);
    expect([peer.manager.isPaused, peer.socket.isPaused()]).toEqual([false, false]);
  });

  it('does not stop the socket for a stream that ends while its message is counted', () => {
    const peer = RawPeer.ofServer({ demand: 0, maxReceivedBytes: 10_000, recvQueueMessages: 2 });
    const [full, great] = [peer.invoke(invoke(1)), peer.invoke(invoke(2))];
    peer.send(message(2, 2, Buffer.alloc(9000)), message(1, 2));
    // The great one is given up for the message that fills the other, and takes that with it.
    great.sink.during.terminated = () => full.stream.sendCancel();
    peer.send(message(1, 3, Buffer.alloc(1000)));
    expect([great.stream.isTerminated, full.stream.isTerminated]).toEqual([true, true]);
    expect([peer.manager.isPaused, peer.socket.isPaused(), peer.clock.pendingTimers]).toEqual([
      false,
      false,
      0,
    ]);
  });

  it('loses nothing of what arrived behind the message that filled it', () => {
    const { peer, stream, sink } = withCall({ recvQueueMessages: 2 });
    const texts = Array.from({ length: 20 }, (_, i) => `m${i}`);
    peer.send(...texts.map((text, i) => message(1, i + 2, text)), closeSend(1, 30));
    // What came behind is kept as bytes of the socket, not as messages.
    expect(stream.heldBytes).toBeLessThan(500);
    for (let i = 0; i < 20; i++) stream.request(1);
    expect(sink.take()).toEqual([
      ...texts.slice(0, -1).map((text) => `message ${text}`),
      expect.stringMatching(/^message m19/),
      'end',
    ]);
    expect(peer.manager.isPaused).toBe(false);
  });

  it('takes frames that arrive while it stands still, as sockets may still tell some', () => {
    const { peer, stream, sink } = withCall({ recvQueueMessages: 1 });
    peer.send(message(1, 2, 'a'));
    expect(peer.manager.isPaused).toBe(true);
    peer.send(message(1, 3, 'b'));
    peer.send(message(1, 4, 'c'), closeSend(1, 5));
    stream.request(Infinity);
    expect(sink.take()).toEqual(['message a', 'message b', 'message c (last)', 'end']);
  });

  it.each([
    ['it ends by a cancel here', (call: ReturnType<typeof withCall>) => call.stream.sendCancel()],
    ['nobody wants it any more', (call: ReturnType<typeof withCall>) => call.stream.discard()],
    ['it is asked for', (call: ReturnType<typeof withCall>) => call.stream.request(Infinity)],
    [
      'its deadline passes',
      ({ stream, peer }: ReturnType<typeof withCall>) => {
        stream.setDeadline(10);
        peer.clock.advance(10);
      },
    ],
  ])('lets the socket go on when %s', (_what, run) => {
    const call = withCall({ recvQueueMessages: 1 });
    call.peer.send(message(1, 2, 'a'));
    run(call);
    expect([call.peer.manager.isPaused, call.peer.socket.isPaused()]).toEqual([false, false]);
    const other = call.peer.invoke(invoke(2));
    expect(other.stream.id).toBe(2);
  });

  it('counts the pauses of several streams', () => {
    const peer = RawPeer.ofServer({ demand: 0, recvQueueMessages: 1 });
    const [first, second] = [peer.invoke(invoke(1)), peer.invoke(invoke(2))];
    peer.send(message(1, 2, 'a'));
    peer.send(message(2, 2, 'b'));
    first.stream.request(1);
    // The second message was behind the pause; it is read now, and pauses again.
    expect(peer.manager.isPaused).toBe(true);
    second.stream.request(1);
    expect(peer.manager.isPaused).toBe(false);
  });

  it('ends with code 8 when it has stood full for stallTimeout, and reading goes on', () => {
    const { peer, stream, sink } = withCall({ recvQueueMessages: 1, stallTimeout: 1000 });
    peer.send(message(1, 2, 'a'), invoke(2), message(2, 2, 'behind'));
    peer.clock.advance(999);
    expect([stream.isTerminated, peer.accepted.length]).toEqual([false, 1]);
    peer.clock.advance(1);
    expect(stream.cause!.message).toBe(
      'the receive queue of stream 1 was full for 1000 ms: its receiver does not read',
    );
    expect(peer.overloads).toEqual([stream.cause!.message]);
    expect(peer.sent()).toEqual([expect.stringContaining('Error! s1 m1 (8)')]);
    expect(peer.accepted).toHaveLength(2);
    // What was queued can still be read.
    stream.request(Infinity);
    expect(sink.take()).toEqual(['terminated', 'message a', expect.stringContaining('end code 8')]);
  });

  it('stalls for 30 s by default, counted anew each time it fills', () => {
    const { peer, stream } = withCall({ recvQueueMessages: 1 });
    peer.send(message(1, 2, 'a'));
    peer.clock.advance(29_999);
    stream.request(1);
    peer.send(message(1, 3, 'b'));
    peer.clock.advance(29_999);
    expect(stream.isTerminated).toBe(false);
    peer.clock.advance(1);
    expect(stream.isTerminated).toBe(true);
  });

  it('can not hold up the end of its own stream: a stalled connection still hears of its socket', () => {
    const { peer, stream, sink } = withCall({ recvQueueMessages: 1 });
    peer.send(message(1, 2, 'a'));
    peer.manager.receiveEnd();
    expect(peer.cause).toBe('ClosedError: connection closed by the peer');
    stream.request(1);
    expect(sink.take()).toEqual([
      'terminated',
      'message a',
      'end ClosedError: connection closed by the peer',
    ]);
  });
});

describe('RecvHalf: what it holds', () => {
  it('is counted while it waits, and in pieces while it is unfinished', () => {
    const { peer, stream } = withCall();
    peer.send(part(Kind.Message, 1, 2, Buffer.alloc(100)));
    expect([stream.heldBytes, peer.manager.heldBytes]).toEqual([100, 100]);
    peer.send(message(1, 2, Buffer.alloc(50)));
    // Messages that wait cost a little beside their bytes.
    expect(peer.manager.heldBytes).toBe(150 + 192);
    peer.send(message(1, 3));
    expect(peer.manager.heldBytes).toBe(150 + 192 + 192);
    stream.request(2);
    expect(remains(peer.manager)).toMatchObject({ heldBytes: 0, lentBuffers: 0 });
  });

  it.each<[string, (peer: RawPeer) => unknown]>([
    ['is overtaken', (peer) => peer.send(message(1, 3, 'next'))],
    ['is overtaken by an unfinished one', (peer) => peer.send(part(2, 1, 3, ''), message(1, 3, 'next'))],
    ['is canceled', (peer) => peer.send(cancel(1, 3))],
    ['ends in an Error', (peer) => peer.send(storjError(1, 3, 5, 'no'))],
    ['is canceled here', (peer) => peer.last.stream.sendCancel()],
    ['is too large', (peer) => peer.send(message(1, 2, Buffer.alloc(1000)))],
    ['goes on as another kind', (peer) => peer.send(closeSend(1, 2))],
    ['loses its connection', (peer) => peer.manager.receiveEnd()],
  ])('is freed when an unfinished message %s', (_what, run) => {
    const peer = RawPeer.ofServer({ maxReceiveSize: 500 });
    peer.send(invoke(1));
    peer.send(part(Kind.Message, 1, 2, Buffer.alloc(300)));
    run(peer);
    expect(remains(peer.manager)).toMatchObject({ heldBytes: 0, lentBuffers: 0 });
  });

  it('is freed when it is asked for after the end', () => {
    const { peer, stream } = withCall();
    peer.send(...messages(10, 1000), cancel(1, 20));
    stream.handlerEnded();
    expect(remains(peer.manager)).toMatchObject({ openStreams: 0, slots: 0, lentBuffers: 9 });
    stream.request(Infinity);
    expect(remains(peer.manager)).toEqual(NOTHING);
  });

  it('is given up by the stream that holds most when the connection holds too much', () => {
    const peer = RawPeer.ofServer({ demand: 0, maxReceivedBytes: 10_000 });
    const [small, great] = [peer.invoke(invoke(1)), peer.invoke(invoke(2))];
    peer.send(message(1, 2, Buffer.alloc(3000)), message(2, 2, Buffer.alloc(5000)));
    peer.send(message(1, 3, Buffer.alloc(1700)));
    expect([small.stream.isTerminated, great.stream.isTerminated]).toEqual([false, true]);
    expect(great.sink.take()).toEqual([
      'terminated',
      expect.stringMatching(/^end code 8: too much memory is held for messages that nobody reads/),
    ]);
    expect(peer.sent()).toEqual([expect.stringContaining('Error! s2 m1 (8)')]);
    expect(peer.overloads).toEqual([great.stream.cause!.message]);
    expect(peer.manager.heldBytes).toBe(3000 + 1700 + 2 * 192);
    small.stream.request(Infinity);
    expect(peer.cause).toBeUndefined();
  });

  it('is given up as well by a stream that has ended, whose receiver is told', () => {
    const peer = RawPeer.ofServer({ demand: 0, maxReceivedBytes: 10_000 });
    const [ended, living] = [peer.invoke(invoke(1)), peer.invoke(invoke(2))];
    peer.send(message(1, 2, Buffer.alloc(6000)), closeSend(1, 3));
    ended.stream.closeSend();
    expect(ended.stream.isTerminated).toBe(true);
    peer.sent();
    peer.send(message(2, 2, Buffer.alloc(5000)));
    expect(ended.sink.take()).toEqual(['terminated', expect.stringMatching(/^end code 8/)]);
    expect([living.stream.isTerminated, ended.stream.heldBytes]).toEqual([false, 0]);
    expect(peer.sent()).toEqual([]);
  });

  it('is given up by a stream whose peer had finished, whose receiver is told that messages are missing', () => {
    const peer = RawPeer.ofServer({ demand: 0, maxReceivedBytes: 10_000 });
    const [finished] = [peer.invoke(invoke(1)), peer.invoke(invoke(2))];
    peer.send(message(1, 2, Buffer.alloc(6000)), closeSend(1, 3));
    expect(finished!.sink.take()).toEqual([]);
    peer.send(message(2, 2, Buffer.alloc(5000)));
    expect(finished!.sink.take()).toEqual(['terminated', expect.stringMatching(/^end code 8/)]);
    expect(peer.sent()).toEqual([expect.stringMatching(/^Error! s1 m1 \(8\)/)]);
  });

  it('counts an unfinished message for the bound of the connection', () => {
    const peer = RawPeer.ofServer({ maxReceivedBytes: 10_000 });
    const call = peer.invoke(invoke(1));
    for (let i = 0; i < 10; i++) peer.send(part(Kind.Message, 1, 2, Buffer.alloc(1001)));
    expect(call.stream.isTerminated).toBe(true);
    expect(remains(peer.manager)).toMatchObject({ heldBytes: 0, lentBuffers: 0 });
  });

  it('passes a whole message inside one chunk on without holding anything', () => {
    const peer = RawPeer.ofServer();
    peer.invoke(invoke(1));
    for (let i = 2; i < 50; i++) peer.send(message(1, i, Buffer.alloc(5000)));
    expect(peer.manager.pool.usage).toMatchObject({ made: 0, lent: 0 });
  });
});
