import type { AddressInfo } from 'node:net';
import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { DrpcStream, type DrpcClient } from 'nestjs-drpc';
import { firstValueFrom, from, lastValueFrom, type Observable, range, reduce, toArray } from 'rxjs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { JoinedApps } from '../e2e/helpers/joined-apps.js';
import { countMade, countWrites, inNoTime } from './counters.js';

const CALLS = 100;
/** Promises that have nothing to do with calls: what else goes on in the process. */
const STRAY = 50;

@Controller()
class GuardedController {
  @MessagePattern('echo')
  echo(@Payload() value: unknown): unknown {
    return value;
  }

  @MessagePattern('range')
  range(@Payload() count: number): Observable<number> {
    return range(0, count);
  }

  @MessagePattern('generated')
  async *generated(@Payload() count: number): AsyncGenerator<number> {
    for (let i = 0; i < count; i++) yield i;
  }

  @MessagePattern('sum')
  sum(@DrpcStream() values: Observable<number>): Observable<number> {
    return values.pipe(reduce((sum, value) => sum + value, 0));
  }

  @EventPattern('event')
  event(@Payload() _value: unknown): void {}
}

async function start(over: 'tcp' | 'memory'): Promise<JoinedApps> {
  const apps = await JoinedApps.start([GuardedController], { over });
  await apps.client.connect();
  return apps;
}

/** 100 calls in one turn; calls back when all have been answered. */
function callAll(client: DrpcClient, done: () => void): void {
  let left = CALLS;
  const complete = (): void => {
    if (--left === 0) done();
  };
  for (let i = 0; i < CALLS; i++) client.send('echo', i).subscribe({ complete });
}

const called = (client: DrpcClient): Promise<void> => new Promise((resolve) => callAll(client, resolve));

/** Reads a stream to its end; calls back then. */
function read(client: DrpcClient, pattern: string, count: number): (done: () => void) => void {
  return (done) => void client.send(pattern, count).subscribe({ complete: done });
}

describe('100 calls at once, through Nest', () => {
  it('take one write of each end', async () => {
    const { client, server } = await start('tcp');
    await called(client);
    const address = server.address() as AddressInfo;
    const writes = await inNoTime(() => countWrites(address, () => called(client)));
    expect(writes).toEqual({ client: 1, server: 1 });
  });

  it('make no promise beside those of Nest, but the one for the handler', async () => {
    const { client, server } = await start('tcp');
    const handler = server.getHandlerByPattern('echo')!;
    const runAll = (done: () => void): void => {
      let left = CALLS;
      const ended = (): void => {
        if (--left === 0) done();
      };
      for (let i = 0; i < CALLS; i++) handler(i).then(ended, ended);
    };
    await called(client);
    const ofNest = await countMade('PROMISE', runAll);
    const all = await countMade('PROMISE', (done) => callAll(client, done));
    expect(all - ofNest).toBeLessThan(CALLS + STRAY);
  });

  it('set no timer, and make no AbortController', async () => {
    const { client } = await start('tcp');
    await called(client);
    const controller = vi.spyOn(globalThis, 'AbortController');
    onTestFinished(() => {
      controller.mockRestore();
    });
    expect(await countMade('Timeout', (done) => callAll(client, done))).toBe(0);
    expect(controller).not.toHaveBeenCalled();
  });
});

describe('a message of a stream, through Nest', () => {
  it('of an Observable takes no promise', async () => {
    const { client } = await start('tcp');
    await lastValueFrom(client.send('range', 1000));
    const few = await countMade('PROMISE', read(client, 'range', 1000));
    const many = await countMade('PROMISE', read(client, 'range', 5000));
    expect(Math.abs(many - few)).toBeLessThan(STRAY);
  });

  it('of a generator takes a few, which are those of the language', async () => {
    const { client } = await start('tcp');
    await lastValueFrom(client.send('generated', 1000));
    const few = await countMade('PROMISE', read(client, 'generated', 1000));
    const many = await countMade('PROMISE', read(client, 'generated', 5000));
    expect((many - few) / 4000).toBeLessThanOrEqual(4.1);
  });

  it('of a request takes no promise', async () => {
    const { client } = await start('tcp');
    const send =
      (count: number) =>
      (done: () => void): void =>
        void client.send('sum', range(0, count)).subscribe({ complete: done });
    await lastValueFrom(client.send('sum', range(0, 1000)));
    const few = await countMade('PROMISE', send(1000));
    const many = await countMade('PROMISE', send(5000));
    expect(Math.abs(many - few)).toBeLessThan(STRAY);
  });
});

describe('the frames of a call', () => {
  const OUT = ['Invoke echo', 'Message 1', 'CloseSend'];
  const BACK = ['Message 1', 'CloseSend'];

  it.each<[string, (client: DrpcClient) => Promise<unknown>]>([
    ['send()', (client) => firstValueFrom(client.send('echo', 1))],
    ['call()', (client) => client.call('echo', 1)],
  ])('of %s are three, and two of its answer', async (_how, call) => {
    const { client, tap } = await start('memory');
    await call(client);
    expect([tap.sent('echo'), tap.received('echo')]).toEqual([OUT, BACK]);
  });

  it('of an event are three, and one says that it was accepted', async () => {
    const { client, tap } = await start('memory');
    await lastValueFrom(client.emit('event', 1));
    expect([tap.sent('event'), tap.received('event')]).toEqual([
      ['Invoke event', 'Message 1', 'CloseSend'],
      ['CloseSend'],
    ]);
  });

  it('of a stream are one for each message, and two', async () => {
    const { client, tap } = await start('memory');
    expect(await lastValueFrom(client.send('sum', from([1, 2, 3])))).toBe(6);
    expect(tap.sent('sum')).toEqual(['Invoke sum', 'Message 1', 'Message 2', 'Message 3', 'CloseSend']);
    expect(tap.received('sum')).toEqual(['Message 6', 'CloseSend']);
  });

  it('are no Cancel once it has been answered, however its caller leaves', async () => {
    const apps = await start('memory');
    const { client, tap } = apps;
    for (let i = 0; i < CALLS; i++) {
      await firstValueFrom(client.send('echo', i));
      await client.call('echo', i);
      await lastValueFrom(client.emit('event', i));
    }
    expect(await lastValueFrom(client.send('range', 5).pipe(toArray()))).toHaveLength(5);
    for await (const value of client.stream<number>('generated', 5)) expect(value).toBeLessThan(5);
    client.send('echo', 1).subscribe().unsubscribe();
    await apps.fence();
    const cancels = ['echo', 'event', 'range', 'generated'].flatMap((rpc) =>
      tap.sent(rpc).filter((line) => line.startsWith('Cancel')),
    );
    // That of the last call, which was given up.
    expect(cancels).toEqual(['Cancel']);
  });
});
