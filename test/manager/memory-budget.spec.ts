import { describe, expect, it, vi } from 'vitest';
import { MemoryBudget, type BudgetMember } from '../../lib/manager/memory-budget.js';
import { cancel, closeSend, invoke, message, part } from '../helpers/frames.js';
import { RawPeer } from '../helpers/raw-peer.js';

function member(heldBytes: number, freed: string[], name: string): BudgetMember {
  return { heldBytes, freeMost: () => void freed.push(name) };
}

describe('MemoryBudget', () => {
  it('has the member that holds most free something when its limit is passed', () => {
    const freed: string[] = [];
    const budget = new MemoryBudget(100);
    budget.join(member(40, freed, 'small'));
    budget.join(member(60, freed, 'great'));
    budget.count(100);
    expect([budget.used, freed]).toEqual([100, []]);
    budget.count(1);
    expect(freed).toEqual(['great']);
  });

  it('asks nobody when less is held', () => {
    const freed: string[] = [];
    const budget = new MemoryBudget(100);
    budget.join(member(60, freed, 'one'));
    budget.count(150);
    budget.count(-10);
    expect([budget.used, freed]).toEqual([140, ['one']]);
  });

  it('does not ask who has left, and needs nobody', () => {
    const freed: string[] = [];
    const budget = new MemoryBudget(10);
    const one = member(60, freed, 'one');
    budget.join(one);
    budget.leave(one);
    budget.count(11);
    expect(freed).toEqual([]);
  });

  describe('of a server', () => {
    it('ends the stream that holds most of the connection that holds most', () => {
      const receiveBudget = new MemoryBudget(10_000);
      const [small, great] = [
        RawPeer.ofServer({ demand: 0, receiveBudget }),
        RawPeer.ofServer({ demand: 0, receiveBudget }),
      ];
      for (const peer of [small, great]) peer.send(invoke(1), invoke(2));
      small.send(message(1, 2, Buffer.alloc(4000)));
      great.send(message(1, 2, Buffer.alloc(2500)), message(2, 2, Buffer.alloc(3000)));
      small.send(message(2, 2, Buffer.alloc(400)));
      expect(great.accepted.map(({ stream }) => stream.isTerminated)).toEqual([false, true]);
      expect(small.accepted.map(({ stream }) => stream.isTerminated)).toEqual([false, false]);
      expect(receiveBudget.used).toBe(small.manager.heldBytes + great.manager.heldBytes);
    });

    it('counts nothing when everything was taken', () => {
      const receiveBudget = new MemoryBudget(10_000);
      const peer = RawPeer.ofServer({ demand: 0, receiveBudget });
      const { stream } = peer.invoke(invoke(1));
      peer.send(message(1, 2, Buffer.alloc(4000)), part(2, 1, 3, Buffer.alloc(100)));
      expect(receiveBudget.used).toBe(4000 + 192 + 100);
      stream.request(1);
      peer.send(message(1, 4), closeSend(1, 5));
      stream.request(1);
      expect(receiveBudget.used).toBe(0);
    });

    it('counts nothing of a connection that has ended, once its messages were taken', () => {
      const receiveBudget = new MemoryBudget(10_000);
      const peer = RawPeer.ofServer({ demand: 0, receiveBudget });
      const [first, second] = [peer.invoke(invoke(1)), peer.invoke(invoke(2))];
      peer.send(message(1, 2, Buffer.alloc(1000)), part(2, 2, 2, Buffer.alloc(100)));
      peer.manager.receiveEnd();
      // What handlers have not taken is still held.
      expect(receiveBudget.used).toBe(1192);
      first.stream.request(Infinity);
      second.stream.request(Infinity);
      expect(receiveBudget.used).toBe(0);
    });

    it('can end what a connection that is gone still holds', () => {
      const receiveBudget = new MemoryBudget(10_000);
      const gone = RawPeer.ofServer({ demand: 0, receiveBudget });
      const call = gone.invoke(invoke(1));
      gone.send(message(1, 2, Buffer.alloc(9000)));
      gone.manager.receiveEnd();
      const peer = RawPeer.ofServer({ demand: 0, receiveBudget });
      peer.invoke(invoke(1));
      peer.send(message(1, 2, Buffer.alloc(2000)));
      expect(gone.manager.heldBytes).toBe(0);
      expect(call.sink.take()).toEqual(['terminated', expect.stringMatching(/^end code 8/)]);
      expect(receiveBudget.used).toBe(peer.manager.heldBytes);
    });
  });

  describe('of what a server has to send', () => {
    /** A connection whose writer is full, and the stream that waits on it. */
    function waiting(sendBudget: MemoryBudget, size: number) {
      const peer = RawPeer.ofServer({ sendBudget, writerBufferSize: 1 });
      const [filling, { stream }] = [peer.invoke(invoke(1)), peer.invoke(invoke(2))];
      filling.stream.trySend('x');
      stream.trySend(Buffer.alloc(size));
      return { peer, stream };
    }

    it('ends the stream that holds most of the connection that holds most', () => {
      const budget = new MemoryBudget(10_000);
      const small = waiting(budget, 4000);
      const great = waiting(budget, 5000);
      expect(budget.used).toBe(4000 + 192 + 5000 + 192);
      small.stream.trySend(Buffer.alloc(500));
      expect([small.stream.canSend, great.stream.canSend]).toEqual([true, false]);
      expect(great.stream.cause).toMatchObject({
        code: 8,
        message:
          'too much waits to be sent: 10076 bytes on all connections, where at most 10000 may be; the stream that holds most ends (5192 bytes)',
      });
      expect([small.peer.overloads, great.peer.overloads]).toEqual([[], [great.stream.cause!.message]]);
      expect(budget.used).toBe(small.peer.manager.queuedBytes);
    });

    it('counts nothing of what was sent, canceled, or was to go to a connection that is gone', () => {
      const budget = new MemoryBudget(10_000);
      const [sent, canceled, gone] = [1000, 1000, 1000].map((size) => waiting(budget, size));
      expect(budget.used).toBe(3 * 1192);
      sent!.peer.sent();
      canceled!.peer.send(cancel(2, 2));
      gone!.peer.manager.receiveEnd();
      expect(budget.used).toBe(0);
    });

    it('forgets a connection that is gone', () => {
      const budget = new MemoryBudget(10_000);
      const [join, leave] = [vi.spyOn(budget, 'join'), vi.spyOn(budget, 'leave')];
      waiting(budget, 1000).peer.manager.receiveEnd();
      expect(join).toHaveBeenCalledTimes(1);
      expect(leave.mock.calls).toEqual(join.mock.calls);
    });
  });
});
