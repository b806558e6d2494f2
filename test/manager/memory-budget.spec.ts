import { describe, expect, it } from 'vitest';
import { MemoryBudget, type BudgetMember } from '../../lib/manager/memory-budget.js';
import { closeSend, invoke, message, part } from '../helpers/frames.js';
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
});
