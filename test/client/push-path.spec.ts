import { createHook } from 'node:async_hooks';
import type { Duplex } from 'node:stream';
import { DrpcClient } from 'nestjs-drpc';
import { createInMemoryPair } from 'nestjs-drpc/testing';
import { Observable } from 'rxjs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { PeerServer } from '../../lib/control/peer-server.js';
import type { Stream } from '../../lib/stream/stream.js';

const CALLS = 200;

/** Answers each message with itself, without a promise of its own. */
function accept(stream: Stream): void {
  stream.sink = {
    message: (bytes, start, end) => {
      stream.trySend(bytes.toString('utf8', start, end));
      stream.closeSend();
    },
    end: () => undefined,
    terminated: () => stream.handlerEnded(),
  };
  stream.request(Infinity);
}

async function connect(): Promise<{ client: DrpcClient; near: Duplex }> {
  const [near, far] = createInMemoryPair();
  const server = new PeerServer(far, {}, { accept });
  onTestFinished(() => server.manager.close());
  const client = new DrpcClient({ dial: async () => near });
  onTestFinished(() => client.close());
  await client.connect();
  return { client, near };
}

/** Subscribes to so many at once; calls back when all have completed. */
function subscribeToAll(make: () => Observable<unknown>, done: () => void): void {
  let left = CALLS;
  const complete = (): void => {
    if (--left === 0) done();
  };
  for (let i = 0; i < CALLS; i++) make().subscribe({ complete });
}

describe('The way of a call through a DrpcClient', () => {
  it('makes no promise for a call, from the subscription to the answer', async () => {
    const { client } = await connect();
    let promises = 0;
    const hook = createHook({
      init: (_id, type) => {
        if (type === 'PROMISE') promises++;
      },
    });
    await new Promise<void>((resolve) => {
      hook.enable();
      subscribeToAll(
        () => client.send('echo', 'x'),
        () => {
          hook.disable();
          resolve();
        },
      );
    });
    // Some are made by what runs the tests.
    expect(promises).toBeLessThan(CALLS / 2);
  });

  it('makes the one promise that call() answers with', async () => {
    const { client } = await connect();
    let promises = 0;
    const hook = createHook({
      init: (_id, type) => {
        if (type === 'PROMISE') promises++;
      },
    });
    hook.enable();
    const answers = Array.from({ length: CALLS }, () => client.call('echo', 'x'));
    hook.disable();
    expect(promises).toBe(CALLS);
    expect(await Promise.all(answers)).toEqual(Array(CALLS).fill('x'));
  });

  it('writes all calls of a turn at once', async () => {
    const { client, near } = await connect();
    const write = vi.spyOn(near, 'write');
    await new Promise<void>((resolve) => subscribeToAll(() => client.send('echo', 'x'), resolve));
    expect(write).toHaveBeenCalledTimes(1);
  });

  it('makes no AbortController and looks at no clock', async () => {
    const { client } = await connect();
    const controllers = vi.spyOn(globalThis, 'AbortController');
    const now = vi.spyOn(performance, 'now');
    onTestFinished(() => {
      vi.restoreAllMocks();
    });
    await new Promise<void>((resolve) => subscribeToAll(() => client.send('echo', 'x'), resolve));
    expect(controllers).not.toHaveBeenCalled();
    expect(now).not.toHaveBeenCalled();
  });

  it('leaves nothing behind when it is given up', async () => {
    const { client } = await connect();
    const subscriptions = Array.from({ length: CALLS }, () => client.send('echo', 'x').subscribe());
    for (const subscription of subscriptions) subscription.unsubscribe();
    expect(client.unwrap().connections[0]!.calls).toBe(0);
    expect(client.unwrap().waiting).toBe(0);
  });
});

describe('A DrpcClient in a process', () => {
  /** Timers that keep the process from ending. */
  const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;

  it('keeps it alive while calls wait for a connection, and with no timer else', async () => {
    const { client: connected } = await connect();
    const before = timers();
    const pending = connected.call('hang', 1, { timeout: 60_000 }).catch((error: unknown) => error);
    expect(timers()).toBe(before);
    const client = new DrpcClient({ dial: () => Promise.reject(new Error('down')), failFast: false });
    onTestFinished(() => client.close());
    const failed = new Promise<void>((resolve) => client.on('error', () => resolve()));
    const waiting = client.send('echo', 1).subscribe({ error: () => undefined });
    const late = client.call('echo', 1, { timeout: 60_000 }).catch((error: unknown) => error);
    expect(timers()).toBe(before + 1);
    await failed;
    waiting.unsubscribe();
    expect(timers()).toBe(before + 1);
    await Promise.all([client.close(), late]);
    expect(timers()).toBe(before);
    await Promise.all([connected.close(), pending]);
  });

  it('lets it end when connect() has failed', async () => {
    const before = timers();
    const client = new DrpcClient({ dial: () => Promise.reject(new Error('down')), failFast: false });
    onTestFinished(() => client.close());
    const connecting = client.connect();
    expect(timers()).toBe(before + 1);
    await expect(connecting).rejects.toMatchObject({ code: 14 });
    expect(timers()).toBe(before);
  });
});
