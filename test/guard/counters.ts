import { createHook } from 'node:async_hooks';
import { Socket, type AddressInfo } from 'node:net';
import { vi } from 'vitest';

/** Writes to TCP sockets of this process, by the end that made them. */
export interface Writes {
  client: number;
  server: number;
}

/** Counts the writes of the connections with a server on `address` while `task` runs. */
export async function countWrites({ port }: AddressInfo, task: () => Promise<unknown>): Promise<Writes> {
  const writes: Writes = { client: 0, server: 0 };
  const write = vi.spyOn(Socket.prototype, 'write');
  await task();
  for (const { remotePort, localPort } of write.mock.contexts as Socket[]) {
    if (remotePort === port) writes.client++;
    else if (localPort === port) writes.server++;
  }
  write.mockRestore();
  return writes;
}

/**
 * Runs `task` while time stands still. A turn that lasts is written in parts, however much is in it; what it
 * holds is to be counted here, not how fast this machine is.
 */
export async function inNoTime<T>(task: () => Promise<T>): Promise<T> {
  const now = vi.spyOn(performance, 'now').mockReturnValue(performance.now());
  try {
    return await task();
  } finally {
    now.mockRestore();
  }
}

/**
 * The least of three counts. They see the whole process: what else goes on in it only adds to them, and what `count`
 * itself makes is made each time.
 */
export async function leastOf(count: () => Promise<number>): Promise<number> {
  let least = Infinity;
  for (let round = 0; round < 3; round++) least = Math.min(least, await count());
  return least;
}

/** Counts what `task`, which calls back when it is done, makes of a kind that async_hooks can see. */
export function countMade(kind: 'PROMISE' | 'Timeout', task: (done: () => void) => void): Promise<number> {
  let made = 0;
  const hook = createHook({
    init: (_id, type) => {
      if (type === kind) made++;
    },
  });
  return new Promise((resolve) => {
    // In a turn of its own: what the caller waits with is not the task's.
    setImmediate(() => {
      hook.enable();
      task(() => {
        hook.disable();
        resolve(made);
      });
    });
  });
}
