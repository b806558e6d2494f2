import { describe, expect, it } from 'vitest';
import { ClosedError, DrpcError } from '../../lib/errors/drpc-error.js';
import { cancel, close, closeSend, invoke, message, storjError } from '../helpers/frames.js';
import { RawPeer, type Call } from '../helpers/raw-peer.js';

/** What code inside a callback may do to the stream that called it. */
const DEEDS: [string, (peer: RawPeer, call: Call) => unknown][] = [
  ['cancels', (_peer, { stream }) => stream.sendCancel()],
  ['closes', (_peer, { stream }) => stream.close()],
  ['half-closes', (_peer, { stream }) => stream.closeSend()],
  ['sends an error', (_peer, { stream }) => stream.sendError(new DrpcError(5, 'no'))],
  ['fails', (_peer, { stream }) => stream.fail(new DrpcError(5, 'no'))],
  ['sends', (_peer, { stream }) => stream.canSend && stream.trySend('x'.repeat(3000))],
  ['asks for more', (_peer, { stream }) => stream.request(1)],
  ['asks for all', (_peer, { stream }) => stream.request(Infinity)],
  ['discards', (_peer, { stream }) => stream.discard()],
  ['ends its handler', (_peer, { stream }) => stream.handlerEnded()],
  ['sets a deadline', (_peer, { stream }) => stream.setDeadline(1000)],
  ['ends the connection', (peer) => peer.manager.terminate(new ClosedError('enough'))],
];

const MOMENTS = ['message', 'end', 'terminated'] as const;

/** Ways in which the rest of a call goes. */
const COURSES: [string, Buffer[]][] = [
  [
    'three messages and the end',
    [message(1, 2, 'a'), message(1, 3, 'b'), message(1, 4, 'c'), closeSend(1, 5)],
  ],
  ['a message and a Cancel', [message(1, 2, 'a'), cancel(1, 3)]],
  ['a message and an Error', [message(1, 2, 'a'), storjError(1, 3, 5, 'no')]],
  ['two messages and a Close', [message(1, 2, 'a'), message(1, 3, 'b'), close(1, 4)]],
];

const CASES = COURSES.flatMap(([course, frames]) =>
  MOMENTS.flatMap((moment) => DEEDS.map(([deed, run]) => ({ course, frames, moment, deed, run }))),
);

/** The rules that hold for what any sink is told. */
function checkOrder(events: string[]): void {
  const ends = events.filter((event) => event.startsWith('end'));
  const terminations = events.filter((event) => event === 'terminated');
  expect(ends.length).toBeLessThanOrEqual(1);
  expect(terminations.length).toBeLessThanOrEqual(1);
  const end = events.findIndex((event) => event.startsWith('end'));
  const late = end < 0 ? [] : events.slice(end).filter((event) => event.startsWith('message'));
  expect(late).toEqual([]);
}

describe.each([
  ['all at once', Infinity],
  ['one by one', 1],
  ['late', 0],
] as const)('Stream: a sink that asked for messages %s', (_how, demand) => {
  it.each(CASES)('may do anything in $moment: $deed during $course', ({ frames, moment, run }) => {
    const peer = RawPeer.ofServer({ demand, recvQueueMessages: 2, writerBufferSize: 2000 });
    const call = peer.invoke(invoke(1));
    call.sink.during[moment] = () => void run(peer, call);
    for (const frame of frames) peer.send(frame);
    call.stream.request(Infinity);
    call.stream.handlerEnded();
    peer.sent();
    call.stream.sendCancel();
    peer.sent();
    checkOrder(call.sink.events);
    expect([peer.manager.openStreams, peer.manager.slots, peer.manager.queuedBytes]).toEqual([0, 0, 0]);
    call.stream.discard();
    expect([peer.manager.heldBytes, peer.manager.pool.usage.lent]).toEqual([0, 0]);
  });

  it.each(CASES)(
    'may do anything in $moment: $deed during $course, all in one chunk',
    ({ frames, moment, run }) => {
      const peer = RawPeer.ofServer({ demand, recvQueueMessages: 2 });
      const call = peer.invoke(invoke(1));
      call.sink.during[moment] = () => void run(peer, call);
      peer.send(...frames);
      call.stream.request(Infinity);
      call.stream.handlerEnded();
      call.stream.sendCancel();
      checkOrder(call.sink.events);
      expect([peer.manager.openStreams, peer.manager.slots]).toEqual([0, 0]);
    },
  );
});

describe('Stream: a sink that throws', () => {
  it.each(MOMENTS)('in %s is told to the hook, and only its stream ends', (moment) => {
    const peer = RawPeer.ofServer();
    const call = peer.invoke(invoke(1));
    const other = peer.invoke(invoke(2));
    call.sink.during[moment] = () => {
      throw new Error('secret of the sink');
    };
    peer.send(message(1, 2, 'a'), cancel(1, 3), message(2, 2, 'other'));
    expect(peer.events).toEqual(['failed s1 Error: secret of the sink']);
    expect(call.stream.isTerminated).toBe(true);
    expect(other.sink.take()).toEqual(['message other']);
    expect(peer.cause).toBeUndefined();
    // Nothing of its words leaves the process.
    expect(peer.sent().join()).not.toContain('secret');
  });

  it('in message tells a client nothing but that the call is over', () => {
    const peer = RawPeer.ofClient();
    const call = peer.open();
    call.sink.during.message = () => {
      throw new Error('secret of the sink');
    };
    peer.sent();
    peer.send(message(1, 1, 'a'));
    expect(peer.sent()).toEqual(['Cancel! s1 m2']);
    expect(call.sink.take()).toEqual(['message a', 'terminated', 'end code 2: secret of the sink']);
  });

  it('returns its message to the pool', () => {
    const peer = RawPeer.ofServer({ demand: 0 });
    const call = peer.invoke(invoke(1));
    peer.send(message(1, 2, 'a'), message(1, 3, 'b'));
    call.sink.during.message = () => {
      throw new Error('no');
    };
    call.stream.request(Infinity);
    expect([peer.manager.heldBytes, peer.manager.pool.usage.lent]).toEqual([0, 0]);
    expect(peer.events).toHaveLength(2);
  });
});

describe('Stream: a callback of one stream may touch others', () => {
  it('opens calls, cancels and sends while the connection goes down, and is told the cause', () => {
    const peer = RawPeer.ofClient();
    const calls = [peer.open(), peer.open(), peer.open()];
    const seen: unknown[] = [];
    calls[0]!.sink.during.terminated = () => {
      for (const { stream } of calls) {
        stream.sendCancel();
        stream.closeSend();
      }
      try {
        peer.manager.open('/late', calls[0]!.sink);
      } catch (error) {
        seen.push(error);
      }
    };
    const cause = new ClosedError('connection lost');
    peer.manager.terminate(cause);
    expect(seen).toEqual([cause]);
    for (const { sink } of calls) {
      expect(sink.events.filter((event) => event === 'terminated')).toHaveLength(1);
      expect(sink.events.filter((event) => event.startsWith('end'))).toHaveLength(1);
    }
  });

  it('cancels a stream whose frame comes next in the chunk', () => {
    const peer = RawPeer.ofServer();
    const [first, second] = [peer.invoke(invoke(1)), peer.invoke(invoke(2))];
    first.sink.during.message = () => second.stream.sendCancel();
    peer.send(message(1, 2, 'a'), message(2, 2, 'b'), message(1, 3, 'c'));
    expect(first.sink.take()).toEqual(['message a', 'message c']);
    expect(second.sink.take()).toEqual(['terminated', 'end CanceledError: canceled']);
  });

  it('ends the connection from a message: nothing behind it is read', () => {
    const peer = RawPeer.ofServer();
    const call = peer.invoke(invoke(1));
    call.sink.during.message = () => peer.manager.terminate(new ClosedError('enough'));
    peer.send(message(1, 2, 'a'), message(1, 3, 'b'), invoke(2));
    expect(call.sink.take()).toEqual(['message a', 'terminated', 'end ClosedError: enough']);
    expect(peer.accepted).toHaveLength(1);
  });

  it('frees its slot for an Invoke that follows at once', () => {
    const peer = RawPeer.ofServer({ maxStreams: 1, recvQueueMessages: 1, demand: 0 });
    const call = peer.invoke(invoke(1));
    call.stream.handlerEnded();
    // The Cancel makes room in the queue, which lets the Invoke behind it through.
    peer.send(message(1, 2, 'full'));
    peer.send(invoke(2));
    call.stream.sendCancel();
    expect(peer.accepted.map(({ stream }) => stream.id)).toEqual([1, 2]);
  });
});
