import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { Controller, Injectable, Module, type OnModuleDestroy } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientProxy, MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { DrpcClient, DrpcError, DrpcServer, DrpcStatus, type DrpcClientOptions } from 'nestjs-drpc';
import { createInMemoryNetwork } from 'nestjs-drpc/testing';
import { firstValueFrom, lastValueFrom, NEVER, Observable, of, take, throwError } from 'rxjs';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { EventLog, Gate } from '../transport/helpers/event-log.js';
import { JoinedApps, startCaller } from './helpers/joined-apps.js';
import { LogRecorder } from './helpers/log-recorder.js';

// Numbers are those of the list of pitfalls; README.md beside this file says where each is tested. Here are those
// that need a client, and the client's half of some that both ends have.

let log: EventLog;
let gate: Gate;

beforeEach(() => {
  log = new EventLog();
  gate = new Gate();
});

@Controller()
class PitfallController {
  @MessagePattern('echo')
  echo(@Payload() value: unknown): unknown {
    return value;
  }

  @MessagePattern('one value')
  oneValue(): Observable<string> {
    return of('the only one');
  }

  @MessagePattern('order')
  order(@Payload() value: unknown): void {
    log.add(`order ${String(value)}`);
  }

  @MessagePattern('fails')
  fails(): Observable<never> {
    return throwError(() => new Error('any'));
  }

  @MessagePattern('endless')
  endless(): Observable<never> {
    return NEVER;
  }
}

const start = (options?: Parameters<typeof JoinedApps.start>[1]) =>
  JoinedApps.start([PitfallController], options);

/** A client of a place where nobody listens. */
function lonely(options: DrpcClientOptions = {}): DrpcClient {
  const client = new DrpcClient({ dial: createInMemoryNetwork().dial, ...options });
  onTestFinished(() => client.close());
  return client;
}

describe('pitfalls of a Nest client', () => {
  it.each(['echo', 'one value'])(
    '3: an answer read with firstValueFrom, lastValueFrom, take() or call() sends no Cancel: %s',
    async (pattern) => {
      const apps = await start();
      const { client } = apps;
      await firstValueFrom(client.send(pattern, 1));
      await lastValueFrom(client.send(pattern, 1));
      await lastValueFrom(client.send(pattern, 1).pipe(take(1)));
      await client.call(pattern, 1);
      await apps.fence();
      expect(apps.tap.sent(pattern).filter((line) => line === 'Cancel')).toEqual([]);
      expect(apps.tap.sent(pattern)).toHaveLength(4 * 3);
    },
  );

  it('10: an event that fails without a subscriber is logged', async () => {
    const logger = new LogRecorder();
    const { client } = await start({ logger });
    const failed = new Promise<void>((resolve) => {
      const keep = logger.error;
      logger.error = (...texts) => {
        keep(...texts);
        resolve();
      };
    });
    client.emit('nobody takes it', 1);
    await failed;
    expect(logger.with('was not accepted')).toEqual([
      expect.stringMatching(/event "nobody takes it" was not accepted: .*unknown rpc.* \| DrpcClient$/),
    ]);
  });

  it('10: an event that fails with a subscriber is its business', async () => {
    const logger = new LogRecorder();
    const { client } = await start({ logger });
    await expect(lastValueFrom(client.emit('nobody takes it', 1))).rejects.toMatchObject({ code: 12 });
    expect(logger.with('was not accepted')).toEqual([]);
  });

  it('12: errors are Errors, with a stack, a code and what is behind them', async () => {
    const { client } = await start();
    const error: unknown = await firstValueFrom(client.send('fails', {})).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Error);
    expect(error).toBeInstanceOf(DrpcError);
    expect(error).toMatchObject({ name: 'DrpcError', code: 2, message: 'Internal server error' });
    const unreachable: unknown = await lonely()
      .call('echo')
      .catch((thrown: unknown) => thrown);
    expect(unreachable).toMatchObject({ code: 14, cause: { code: 'ECONNREFUSED' } });
  });

  it('16: close() of a hybrid application lets calls in flight finish, though modules are destroyed first', async () => {
    @Injectable()
    class Store implements OnModuleDestroy {
      onModuleDestroy(): void {
        log.add('destroyed');
      }
    }
    @Controller()
    class SlowController {
      @MessagePattern('slow')
      async slow(): Promise<string> {
        log.add('slow');
        await gate.opened;
        return 'finished';
      }
    }
    @Module({ controllers: [SlowController], providers: [Store] })
    class SlowModule {}
    const network = createInMemoryNetwork();
    const app = await NestFactory.create(SlowModule, { logger: false });
    app.connectMicroservice<MicroserviceOptions>({
      strategy: new DrpcServer({ listener: network.listener }),
    });
    await app.init();
    await app.startAllMicroservices();
    const client = (await startCaller({ dial: network.dial })).get<DrpcClient>('SERVICE');
    const inFlight = client.call('slow');
    await log.seen('slow');
    const closed = app.close();
    await log.seen('destroyed');
    gate.open();
    expect(await inFlight).toBe('finished');
    await closed;
    expect(log.entries).toEqual(['slow', 'destroyed']);
  });

  it('17: status outlives a close, and the client may be used again', async () => {
    const { client } = await start();
    const seen: DrpcStatus[] = [];
    let isComplete = false;
    client.status.subscribe({
      next: (status) => seen.push(status),
      complete: () => {
        isComplete = true;
      },
    });
    await client.connect();
    await client.close();
    await client.connect();
    expect(await client.call('echo', 1)).toBe(1);
    expect(seen).toEqual([
      DrpcStatus.Disconnected,
      DrpcStatus.Connected,
      DrpcStatus.Closed,
      DrpcStatus.Disconnected,
      DrpcStatus.Connected,
    ]);
    expect(isComplete).toBe(false);
  });

  it('19: an explicit undefined is the default', async () => {
    const settings = { timeout: undefined, metadata: undefined, failFast: undefined, url: undefined };
    const { client } = await start({ client: settings });
    expect(await client.call('echo', 1, { timeout: undefined, signal: undefined })).toBe(1);
  });

  it('21: two calls arrive in the order of their subscriptions, connected or not', async () => {
    const { client } = await start();
    const calls = [1, 2, 3].map((value) => firstValueFrom(client.send('order', value)));
    await Promise.all(calls);
    await Promise.all([4, 5].map((value) => firstValueFrom(client.send('order', value))));
    expect(log.entries).toEqual([1, 2, 3, 4, 5].map((value) => `order ${value}`));
  });

  it('21: a call of a connected client is written in the turn of its subscription', async () => {
    const apps = await start();
    await apps.client.connect();
    const subscription = apps.client.send('endless', {}).subscribe();
    // Writers hand over at the end of the turn.
    await new Promise<void>((resolve) => process.nextTick(resolve));
    expect(apps.tap.sent('endless')).toEqual(['Invoke endless', 'Message {}', 'CloseSend']);
    subscription.unsubscribe();
  });

  it.each<[what: string, pattern: object, message: RegExp]>([
    ['wide', Object.fromEntries(Array.from({ length: 21 }, (_, i) => [`k${i}`, i])), /has 21 keys/],
    ['deep', [1, 2, 3, 4, 5, 6].reduce<object>((inner) => ({ inner }), {}), /nested more than 5 levels/],
  ])('22: a pattern that Nest would mix up with others is refused: %s', async (_what, pattern, message) => {
    const error: unknown = await lonely()
      .call(pattern as Record<string, unknown>)
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 3, message: expect.stringMatching(message) as string });
  });

  it('26: sockets that fail, refuse or end at once hurt nobody', async () => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => undefined);
      if (sockets.length % 2 === 0) socket.resetAndDestroy();
      else socket.destroy();
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const client = new DrpcClient({ port });
    onTestFinished(() => client.close());
    for (let i = 0; i < 4; i++) await expect(client.connect()).rejects.toMatchObject({ code: 14 });
    server.close();
    await once(server, 'close');
    await expect(client.connect()).rejects.toMatchObject({ code: 14 });
    await expect(client.call('echo')).rejects.toMatchObject({ code: 14 });
  });

  it('28: the client is a ClientProxy, and its methods have its types', async () => {
    const { client } = await start();
    const proxy: ClientProxy = client as ClientProxy;
    expect(proxy).toBeInstanceOf(ClientProxy);
    expect(await firstValueFrom(proxy.send<number, number>('echo', 5))).toBe(5);
    expect(await lastValueFrom(proxy.emit('order', 5))).toBeUndefined();
    expect(client.unwrap().connections).toHaveLength(1);
  });
});

describe('the table of pitfalls', () => {
  const root = new URL('../../', import.meta.url);
  const readme = readFileSync(new URL('test/e2e/README.md', root), 'utf8');
  const rows = [...readme.matchAll(/^\| (\d+) +\| `(.+?)` +\| (.+?) +\|$/gm)].map(
    ([, number, file, name]) => [number!, file!, name!] as const,
  );

  it('has each of them', () => {
    const numbers = [...new Set(rows.map(([number]) => Number(number)))];
    expect(numbers).toEqual(Array.from({ length: 28 }, (_, i) => i + 1));
  });

  it.each(rows)('%s is where it says: %s, %s', (_number, file, name) => {
    expect(readFileSync(new URL(file, root), 'utf8')).toContain(name);
  });
});
