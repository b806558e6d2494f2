import { describe, expect, it } from 'vitest';
import { parseFrames, cancel, describeFrames, invoke, windowUpdate } from '../helpers/frames.js';
import { RawPeer, type Call, type RawPeerOptions } from '../helpers/raw-peer.js';
import { outcome } from '../helpers/recorder.js';

const KIB = 1024;
const MIB = 1024 * KIB;

/** A server with calls 1 to `count`. */
function withCalls(count: number, options: RawPeerOptions = {}): { peer: RawPeer; calls: Call[] } {
  const peer = RawPeer.ofServer(options);
  for (let id = 1; id <= count; id++) peer.send(invoke(id));
  return { peer, calls: peer.accepted };
}

/** Streams with a message of which a part was written and the end was not, at most at once in `bytes`. */
function mostUnfinished(bytes: Buffer): number {
  const unfinished = new Set<unknown>();
  let most = 0;
  for (const { streamId, done } of parseFrames(bytes)) {
    if (done) unfinished.delete(streamId);
    else unfinished.add(streamId);
    most = Math.max(most, unfinished.size);
  }
  return most;
}

describe('SendQueue: turns', () => {
  it('lets bulk streams share the writer evenly', () => {
    const { peer, calls } = withCalls(4);
    for (const { stream } of calls) for (let i = 0; i < 20; i++) stream.trySend(Buffer.alloc(60 * KIB));
    const order = describeFrames(peer.sentBytes()).map((line) => Number(/ s(\d+)/.exec(line)![1]));
    // A stream that has its turn sends no more than two frames.
    for (let at = 8; at + 8 <= 72; at += 8) {
      const turns = [1, 2, 3, 4].map((id) => order.slice(at, at + 8).filter((of) => of === id).length);
      expect(Math.max(...turns)).toBeLessThanOrEqual(3);
      expect(Math.min(...turns)).toBeGreaterThanOrEqual(1);
    }
    expect(order).toHaveLength(80);
  });

  it('lets a small call pass a bulk stream', () => {
    const { peer, calls } = withCalls(2);
    const [bulk, small] = calls as [Call, Call];
    for (let i = 0; i < 100; i++) bulk.stream.trySend(Buffer.alloc(60 * KIB));
    peer.clock.turn();
    expect(small.stream.trySend('answer')).toBe(true);
    small.stream.closeSend();
    const lines = peer.sent();
    const at = lines.indexOf('Message s2 m1 answer');
    expect(at).toBeGreaterThanOrEqual(0);
    expect(
      lines.slice(0, at).reduce((sum, line) => sum + (line.includes('<') ? 60 * KIB : 0), 0),
    ).toBeLessThan(512 * KIB);
  });

  it('lets many small messages of one stream take turns with another', () => {
    const { peer, calls } = withCalls(3);
    calls[2]!.stream.trySend(Buffer.alloc(4));
    peer.clock.turn();
    for (let i = 0; i < 3; i++) calls[2]!.stream.trySend(Buffer.alloc(60 * KIB));
    for (const { stream } of calls.slice(0, 2)) {
      // The share that small senders have of a busy writer, and then some that wait.
      stream.trySend(Buffer.alloc(16 * KIB));
      for (let i = 0; i < 20_000; i++) stream.trySend('tiny');
    }
    const ids = parseFrames(peer.sentBytes())
      .map(({ streamId }) => streamId)
      .filter((id) => id !== 3);
    const firstHalf = ids.slice(0, 20_000).filter((id) => id === 2).length;
    expect(firstHalf).toBeGreaterThan(5000);
    expect(firstHalf).toBeLessThan(15_000);
  });

  it('keeps at most eight messages of several frames unfinished on the wire, and finishes all', () => {
    const { peer, calls } = withCalls(30, { maxSendSize: 2 * MIB });
    for (const { stream } of calls) stream.trySend(Buffer.alloc(400 * KIB));
    const bytes = peer.sentBytes();
    expect(mostUnfinished(bytes)).toBeGreaterThan(1);
    expect(mostUnfinished(bytes)).toBeLessThanOrEqual(8);
    expect(parseFrames(bytes).filter(({ done }) => done)).toHaveLength(30);
  });

  it('lets messages of one frame pass those that wait for a place', () => {
    const { peer, calls } = withCalls(21);
    for (const { stream } of calls.slice(0, 20)) stream.trySend(Buffer.alloc(400 * KIB));
    calls[20]!.stream.trySend('small');
    const lines = peer.sent();
    const dones = lines.filter((line) => line.startsWith('Message '));
    expect(dones.indexOf('Message s21 m1 small')).toBeLessThan(3);
  });

  it('keeps the places in order when their holders are canceled in the middle', () => {
    const { peer, calls } = withCalls(40);
    for (const { stream } of calls) stream.trySend(Buffer.alloc(400 * KIB));
    peer.clock.turn();
    // The first ones hold places, some wait for one, some are offered one right now.
    for (const at of [0, 1, 2, 8, 9, 10, 20]) calls[at]!.stream.sendCancel();
    peer.send(cancel(5, 9), cancel(6, 9), cancel(7, 9));
    const bytes = peer.sentBytes();
    expect(mostUnfinished(bytes)).toBeLessThanOrEqual(8 + 6);
    const finished = parseFrames(bytes).filter(({ kind, done }) => kind === 2 && done);
    expect(finished).toHaveLength(30);
    expect([peer.manager.writer.waiting, peer.manager.queuedBytes]).toEqual([0, 0]);
    // All places are free again.
    for (let id = 41; id <= 48; id++) peer.invoke(invoke(id)).stream.trySend(Buffer.alloc(400 * KIB));
    expect(parseFrames(peer.sentBytes()).filter(({ done }) => done)).toHaveLength(8);
  });

  it('gives the place of each stream back that ends between the frames of its message', () => {
    const { peer, calls } = withCalls(9);
    for (const { stream } of calls.slice(0, 8)) {
      stream.trySend(Buffer.alloc(400 * KIB));
      stream.sendCancel();
      expect(peer.sent()).toEqual([
        `Message+ s${stream.id} m1 <65536 bytes>`,
        expect.stringContaining('Cancel!'),
      ]);
    }
    calls[8]!.stream.trySend(Buffer.alloc(400 * KIB));
    expect(peer.sent().at(-1)).toMatch(/^Message s9 m1 /);
    expect([peer.manager.queuedBytes, peer.manager.writer.waiting]).toEqual([0, 0]);
  });

  it('keeps no place for a stream that waits for credit', () => {
    const { peer, calls } = withCalls(20, { sendWindow: 64 * KIB, recvWindow: 64 * KIB });
    // Eighteen streams have spent their credit and have a great message waiting; two have not.
    for (const { stream } of calls.slice(0, 18)) {
      stream.trySend(Buffer.alloc(64 * KIB + 1));
      stream.trySend(Buffer.alloc(200 * KIB));
    }
    for (const { stream } of calls.slice(18)) stream.trySend(Buffer.alloc(200 * KIB));
    const done = peer.sent().filter((line) => /^Message s(19|20) /.test(line));
    expect(done).toHaveLength(2);
    for (let id = 1; id <= 18; id++) peer.send(windowUpdate(id, 500 * KIB));
    peer.sent();
    expect([peer.manager.queuedBytes, peer.manager.writer.waiting]).toEqual([0, 0]);
  });
});

describe('SendQueue: texts', () => {
  /** One, two, three and four bytes of UTF-8 a character, over and over. */
  const text = (length: number): string =>
    'a\u00e9\u20ac\u{1f680}'.repeat(Math.ceil(length / 5)).slice(0, length);

  it.each([
    ['one frame', 20_000, 1],
    ['as many frames as its bytes need', 60_000, 2],
    ['many frames', 1_000_000, 31],
  ])('travel as UTF-8 in %s', (_what, length, frames) => {
    const { peer, calls } = withCalls(1);
    const sent = text(length);
    calls[0]!.stream.trySend(sent);
    const received = parseFrames(peer.sentBytes());
    expect(received).toHaveLength(frames);
    expect(Buffer.concat(received.map(({ data }) => data)).equals(Buffer.from(sent))).toBe(true);
    expect(peer.manager.pool.usage.lent).toBe(0);
  });

  it('count as the bytes that they become, and wait as they are', () => {
    const { peer, calls } = withCalls(2, { writerBufferSize: 1000 });
    calls[0]!.stream.trySend(Buffer.alloc(1000));
    expect(calls[1]!.stream.trySend('\u20ac'.repeat(1000))).toBe(false);
    expect(peer.manager.queuedBytes).toBe(3000 + 192);
    expect(peer.manager.pool.usage.lent).toBe(0);
    expect(describeFrames(peer.sentBytes()).at(-1)).toBe('Message s2 m1 <3000 bytes>');
    expect(peer.manager.queuedBytes).toBe(0);
  });

  it('are refused over the limit of a message, by their bytes', () => {
    const { calls } = withCalls(1, { maxSendSize: 3000 });
    expect(() => calls[0]!.stream.trySend('\u20ac'.repeat(1001))).toThrow(
      'message of 3003 bytes exceeds the limit of 3000',
    );
    expect(calls[0]!.stream.trySend('\u20ac'.repeat(1000))).toBe(true);
  });

  it('give their bytes back when the stream ends in the middle of them', () => {
    const { peer, calls } = withCalls(1);
    calls[0]!.stream.trySend(text(1_000_000));
    peer.clock.turn();
    expect(peer.manager.pool.usage.lent).toBe(1);
    peer.send(cancel(1, 2));
    expect(peer.manager.pool.usage.lent).toBe(0);
    expect(peer.manager.queuedBytes).toBe(0);
  });
});

describe('SendQueue: what the connection holds', () => {
  /** A client whose writer is stuck. */
  function stuck(options: RawPeerOptions): RawPeer {
    const peer = RawPeer.ofClient({ writerBufferSize: 1000, ...options });
    peer.open('/filler');
    peer.clock.turn();
    peer.open('/filler').stream.trySend(Buffer.alloc(2000));
    return peer;
  }

  it('is bounded: the stream that holds most ends with code 8', () => {
    const peer = stuck({ maxQueuedBytes: 10_000, sendQueueSize: 9000 });
    const [small, great] = [peer.open('/small'), peer.open('/great')];
    small.stream.trySend(Buffer.alloc(3000));
    great.stream.trySend(Buffer.alloc(4000));
    expect([small.stream.canSend, great.stream.canSend]).toEqual([true, true]);
    small.stream.trySend(Buffer.alloc(500));
    great.stream.trySend(Buffer.alloc(2000));
    small.stream.trySend(Buffer.alloc(1000));
    expect([small.stream.canSend, great.stream.canSend]).toEqual([true, false]);
    expect(great.stream.cause).toMatchObject({ code: 8 });
    expect(peer.manager.queuedBytes).toBe(small.stream.queuedBytes);
    peer.sent();
    expect(peer.manager.queuedBytes).toBe(0);
  });

  it('is bounded to 64 MiB by default, 16 MiB a stream', () => {
    const peer = stuck({});
    const calls = Array.from({ length: 6 }, () => peer.open('/bulk'));
    const message = Buffer.alloc(4 * MIB);
    for (let i = 0; i < 3; i++) {
      for (const { stream } of calls.slice(0, 5)) stream.trySend(message);
    }
    expect(calls.every(({ stream }) => stream.canSend)).toBe(true);
    calls[5]!.stream.trySend(message);
    expect(calls.filter(({ stream }) => !stream.canSend)).toHaveLength(1);
    const alone = stuck({}).open('/bulk').stream;
    for (let i = 0; i < 3; i++) alone.trySend(message);
    expect(alone.canSend).toBe(true);
    alone.trySend(message);
    expect(alone.cause).toMatchObject({ code: 8 });
  });

  it('tells the source whose message brought its stream to the end', async () => {
    const peer = stuck({ maxQueuedBytes: 3000 });
    const { stream } = peer.open('/great');
    const sending = stream.msgSend(Buffer.alloc(4000)) as Promise<void>;
    expect(await outcome(sending)).toBe('EofError: drpc: the stream has ended');
    expect(stream.cause).toMatchObject({ code: 8 });
  });

  it('lets no stream stand in line whose message brought it to its end', () => {
    const { peer, calls } = withCalls(2, { writerBufferSize: 1000, maxQueuedBytes: 3000 });
    calls[0]!.stream.trySend(Buffer.alloc(1000));
    expect(calls[1]!.stream.trySend(Buffer.alloc(4000))).toBe(false);
    expect(calls[1]!.stream.cause).toMatchObject({ code: 8 });
    expect([peer.manager.writer.waiting, peer.manager.queuedBytes]).toEqual([0, 0]);
  });

  it('is nothing for streams that do not wait', () => {
    const { peer, calls } = withCalls(1);
    calls[0]!.stream.trySend('at once');
    expect(peer.manager.queuedBytes).toBe(0);
  });
});
