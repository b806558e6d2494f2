import assert from 'node:assert/strict';
import { afterEach } from 'vitest';
import { ClosedError } from '../../lib/errors/drpc-error.js';
import type { Manager } from '../../lib/manager/manager.js';
import type { Stream } from '../../lib/stream/stream.js';
import type { VirtualClock } from './virtual-clock.js';

interface Tracked {
  readonly manager: Manager;
  readonly clock: VirtualClock | undefined;
  readonly streams: Stream[];
}

let tracked: Tracked[] = [];

/**
 * Has `manager` ended after the present test and checked: nothing of it may remain. Answers a function that
 * takes the streams of the test, whose unread messages are dropped then.
 */
export function track(manager: Manager, clock?: VirtualClock): (stream: Stream) => void {
  const streams: Stream[] = [];
  tracked.push({ manager, clock, streams });
  return (stream) => void streams.push(stream);
}

/** What `manager` still holds; all of it 0 when it has ended and nobody waits for messages. */
export function remains(manager: Manager): Record<string, number> {
  return {
    openStreams: manager.openStreams,
    slots: manager.slots,
    heldBytes: manager.heldBytes,
    queuedBytes: manager.queuedBytes,
    lentBuffers: manager.pool.usage.lent,
    waitingSenders: manager.writer.waiting,
    pendingBytes: manager.writer.pending,
  };
}

/** {@link remains} of a manager of which nothing remains. */
export const NOTHING = {
  openStreams: 0,
  slots: 0,
  heldBytes: 0,
  queuedBytes: 0,
  lentBuffers: 0,
  waitingSenders: 0,
  pendingBytes: 0,
};

afterEach(async () => {
  const left = tracked;
  tracked = [];
  for (const { manager, clock, streams } of left) {
    manager.terminate(new ClosedError('the test is over'));
    for (const stream of streams) {
      stream.discard();
      stream.handlerEnded();
    }
    await manager.closed;
    const found = { ...remains(manager), timers: clock?.pendingTimers ?? 0 };
    assert.deepEqual(found, { ...NOTHING, timers: 0 }, 'something of a connection is left over');
  }
});
