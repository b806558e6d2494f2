import { once } from 'node:events';
import { createServer, type AddressInfo, type Server as NetServer } from 'node:net';
import { Controller, Module, type INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import {
  DrpcClient,
  DrpcContext,
  DrpcServer,
  DrpcStatus,
  DrpcStream,
  type DrpcClientOptions,
  type DrpcServerOptions,
} from 'nestjs-drpc';
import { createInMemoryNetwork } from 'nestjs-drpc/testing';
import { lastValueFrom, NEVER, type Observable } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { EventLog, Gate } from '../transport/helpers/event-log.js';
import { socketPath } from '../transport/helpers/test-service.js';
import { JoinedApps, startCaller, TRANSPORTS } from './helpers/joined-apps.js';

let log: EventLog;
/** Holds the slow handlers. */
let gate: Gate;

beforeEach(() => {
  log = new EventLog();
  gate = new Gate();
});

afterEach(() => {
  vi.useRealTimers();
});

@Controller()
class SlowController {
  @MessagePattern('echo')
  echo(@Payload() value: unknown): unknown {
    return value;
  }

  @MessagePattern('slow')
  async slow(@Payload() value: unknown, @Ctx() ctx: DrpcContext): Promise<unknown> {
    ctx.signal.addEventListener('abort', () => log.add(`aborted: ${(ctx.signal.reason as Error).message}`));
    log.add('slow');
    await gate.opened;
    return value;
  }

  @MessagePattern('rows')
  async *rows(): AsyncGenerator<number> {
    yield 1;
    log.add('rows');
    await gate.opened;
    yield 2;
  }

  @MessagePattern('total')
  async total(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<number>): Promise<number> {
    let total = 0;
    for await (const value of values) {
      total += value;
      log.add(`total ${total}`);
    }
    return total;
  }

  @MessagePattern('endless')
  endless(): Observable<never> {
    log.add('endless');
    return NEVER;
  }

  @EventPattern<string>('event')
  async onEvent(@Payload() value: unknown): Promise<void> {
    log.add('event');
    await gate.opened;
    log.add(`event done: ${String(value)}`);
  }
}

@Module({ controllers: [SlowController] })
class SlowModule {}

/** A microservice that does not listen yet; closed at the end of the test. */
async function microservice(
  options: DrpcServerOptions,
): Promise<{ app: INestMicroservice; server: DrpcServer }> {
  const server = new DrpcServer({ gracePeriod: 0, ...options });
  const app = await NestFactory.createMicroservice(SlowModule, { strategy: server, logger: false });
  onTestFinished(() => app.close());
  return { app, server };
}

const portOf = (server: DrpcServer): number => (server.address() as AddressInfo).port;

describe('app.listen()', () => {
  it.each<[what: string, options: () => Promise<DrpcServerOptions>, error: object]>([
    [
      'a port that is taken',
      async () => {
        const { app, server } = await microservice({ port: 0 });
        await app.listen();
        return { port: portOf(server) };
      },
      { code: 'EADDRINUSE' },
    ],
    [
      'a socket file that is taken',
      async () => {
        const path = socketPath();
        await (await microservice({ path })).app.listen();
        return { path };
      },
      { code: 'EADDRINUSE' },
    ],
    [
      'settings of TLS that Node refuses',
      async () => ({ url: 'drpcs://127.0.0.1:0', tls: { SNICallback: 5 as never } }),
      { code: 'ERR_INVALID_ARG_TYPE' },
    ],
    [
      'a network in memory that is taken',
      async () => {
        const { listener } = createInMemoryNetwork();
        await (await microservice({ listener })).app.listen();
        return { listener };
      },
      { code: 'EADDRINUSE' },
    ],
  ])('rejects for %s', async (_what, options, error) => {
    const { app } = await microservice(await options());
    const failure: unknown = await app.listen().catch((thrown: unknown) => thrown);
    expect(failure).toBeInstanceOf(Error);
    expect(failure).toMatchObject(error);
  });

  it('tells listeners and a status that were asked for before', async () => {
    const { app, server } = await microservice({ port: 0 });
    const seen: unknown[] = [];
    app.status.subscribe((status) => seen.push(status));
    app.on('listening', (address: AddressInfo) => seen.push(address.port));
    app.on('connection', () => seen.push('connection'));
    await app.listen();
    const caller = await startCaller({ port: portOf(server) });
    await caller.get<DrpcClient>('SERVICE').connect();
    expect(seen).toEqual([DrpcStatus.Connected, portOf(server), 'connection']);
    expect(app.unwrap<NetServer>().address()).toEqual(server.address());
    await caller.close();
    await app.close();
    expect(seen.at(-1)).toBe(DrpcStatus.Disconnected);
  });
});

describe('app.close()', () => {
  it('may be called twice, at once and one after the other', async () => {
    const { app, server } = await microservice({ port: 0 });
    await app.listen();
    await Promise.all([app.close(), app.close()]);
    await app.close();
    expect(server.address()).toBeNull();
  });

  it('may be called while the server begins to listen: app.listen() rejects then', async () => {
    const { listener, dial } = createInMemoryNetwork();
    const { app } = await microservice({
      listener: {
        ...listener,
        listen: async (hooks) => {
          log.add('listen');
          await gate.opened;
          await listener.listen(hooks);
        },
      },
    });
    const listening = app.listen().catch((error: unknown) => error);
    await log.seen('listen');
    const closed = app.close();
    gate.open();
    await closed;
    expect(await listening).toMatchObject({
      code: 14,
      message: 'DrpcServer was closed while it began to listen',
    });
    await expect(dial()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it.each(TRANSPORTS)('is followed by listen() over %s, and the client finds its way back', async (over) => {
    // Port 0 would be another the second time.
    const urls = { tcp: 'drpc://127.0.0.1:', tls: 'drpcs://127.0.0.1:', unix: undefined, memory: undefined };
    const apps = await JoinedApps.start([SlowController], {
      over,
      server: urls[over] ? { url: `${urls[over]}${await freePort()}` } : {},
      client: { reconnectDelay: 1, failFast: false },
    });
    expect(await apps.client.call('echo', 1)).toBe(1);
    const lost = new Promise<void>((resolve) => apps.client.on('disconnect', () => resolve()));
    await apps.server.close();
    await lost;
    const again = new Promise<unknown>((resolve) => apps.server.listen(resolve));
    expect(await again).toBeUndefined();
    expect(await apps.client.call('echo', 2)).toBe(2);
  });

  it.each<[what: string, start: (client: DrpcClient) => Promise<unknown>, entry: string, answer: unknown]>([
    ['a unary call', (client) => client.call('slow', 'done'), 'slow', 'done'],
    ['a stream of answers', (client) => collect(client.stream('rows')), 'rows', [1, 2]],
    ['a stream of requests', (client) => client.call('total', requests()), 'total 1', 3],
    [
      'an event',
      (client) => lastValueFrom(client.emit('event', 7)).then(() => log.seen('event done: 7')),
      'event',
      undefined,
    ],
  ])('lets %s in flight finish, and refuses new ones', async (_what, startCall, entry, answer) => {
    const apps = await JoinedApps.start([SlowController], { server: { gracePeriod: 10_000 } });
    const inFlight = startCall(apps.client);
    await log.seen(entry);
    const draining = new Promise<void>((resolve) => apps.client.on('disconnect', () => resolve()));
    const closed = apps.service.close();
    await draining;
    await expect(apps.client.call('echo', 1)).rejects.toMatchObject({ code: 14 });
    gate.open();
    expect(await inFlight).toEqual(answer);
    await closed;
    expect(log.entries.filter((line) => line.startsWith('aborted'))).toEqual([]);
  });

  it('cancels with code 14 what is left when the grace period ends', async () => {
    const apps = await JoinedApps.start([SlowController], { server: { gracePeriod: 10_000 } });
    await apps.client.connect();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    const inFlight = apps.client.call('slow', 1).catch((error: unknown) => error);
    await log.seen('slow');
    const draining = new Promise<void>((resolve) => apps.client.on('disconnect', () => resolve()));
    const closed = apps.service.close();
    await draining;
    // As long as the client may take to hear of it at most; it counts as well.
    vi.advanceTimersByTime(1000);
    await turn();
    vi.advanceTimersByTime(8_999);
    await apps.fence();
    expect(log.entries).toEqual(['slow']);
    vi.advanceTimersByTime(1);
    await log.seen('aborted: the server is shutting down');
    expect(await inFlight).toMatchObject({ code: 14, message: 'the server is shutting down' });
    vi.useRealTimers();
    gate.open();
    await closed;
  });

  it('of the caller ends its calls with code 14, and the service stops their handlers', async () => {
    const apps = await JoinedApps.start([SlowController]);
    const inFlight = apps.client.call('slow', 1).catch((error: unknown) => error);
    await log.seen('slow');
    await apps.callerApp.close();
    expect(await inFlight).toMatchObject({ code: 14, message: 'the client is closed' });
    await log.seen('aborted: connection closed by the peer');
  });
});

describe('a rolling restart under load', () => {
  const three = { connections: 3, balance: 'leastLoaded' } as const;

  it.each<[over: 'tcp' | 'unix', how: string, options: DrpcClientOptions]>([
    ['tcp', 'one connection each', {}],
    ['unix', 'one connection each', {}],
    ['tcp', 'three connections each', three],
    ['unix', 'three connections each', three],
  ])('loses no call and runs none twice, over %s with %s', async (over, _how, options) => {
    /** How often each call was run. */
    const runs = new Map<number, number>();
    @Controller()
    class CountingController {
      @MessagePattern('count')
      async count(@Payload() id: number): Promise<number> {
        runs.set(id, (runs.get(id) ?? 0) + 1);
        // Some are under way whenever a server goes down.
        for (let turns = id % 5; turns > 0; turns--) await turn();
        return id;
      }

      @MessagePattern('count all')
      async *countAll(@Payload() ids: number[]): AsyncGenerator<number> {
        for (const id of ids) {
          runs.set(id, (runs.get(id) ?? 0) + 1);
          await turn();
          yield id;
        }
      }

      @MessagePattern('count sent')
      async countSent(@DrpcStream({ as: 'iterable' }) ids: AsyncIterable<number>): Promise<number[]> {
        const seen: number[] = [];
        for await (const id of ids) {
          runs.set(id, (runs.get(id) ?? 0) + 1);
          seen.push(id);
        }
        return seen;
      }
    }
    const places: DrpcServerOptions[] = [];
    for (let i = 0; i < 2; i++) {
      places.push(over === 'tcp' ? { port: await freePort() } : { path: socketPath() });
    }
    const start = async (place: DrpcServerOptions): Promise<INestMicroservice> => {
      const module = await Test.createTestingModule({ controllers: [CountingController] }).compile();
      const app = module.createNestMicroservice({ strategy: new DrpcServer(place) });
      app.useLogger(false);
      onTestFinished(() => app.close());
      await app.listen();
      return app;
    };
    const servers = [await start(places[0]!), await start(places[1]!)];
    const caller = await startCaller({
      urls: places.map(({ port, path }) => (path ? `drpc+unix:${path}` : `drpc://127.0.0.1:${port}`)),
      reconnectDelay: 1,
      maxReconnectDelay: 10,
      ...options,
    });
    const wanted = 2 * (options.connections ?? 1);
    const client = caller.get<DrpcClient>('SERVICE');

    let isOver = false;
    onTestFinished(() => {
      isOver = true;
    });
    const until = async (condition: () => boolean): Promise<void> => {
      while (!condition() && !isOver) await turn();
    };
    let lastId = 0;
    const failures: unknown[] = [];
    const worker = async (): Promise<void> => {
      while (!isOver) {
        const id = ++lastId;
        const answer = await client.call('count', id).catch((error: unknown) => void failures.push(error));
        if (answer !== id) failures.push(answer);
      }
    };
    const streamer = async (): Promise<void> => {
      while (!isOver) {
        const ids = [++lastId, ++lastId, ++lastId];
        const answers = await collect(client.stream('count all', ids)).catch(
          (error: unknown) => void failures.push(error),
        );
        if (String(answers) !== String(ids)) failures.push(answers);
      }
    };
    const uploader = async (): Promise<void> => {
      while (!isOver) {
        const ids = [++lastId, ++lastId, ++lastId];
        const answer = await client
          .call('count sent', slowly(ids))
          .catch((error: unknown) => void failures.push(error));
        if (String(answer) !== String(ids)) failures.push(answer);
      }
    };
    const kinds = [streamer, uploader, worker, worker, worker];
    const load = Promise.all(Array.from({ length: 50 }, (_, at) => kinds[at % kinds.length]!()));
    for (let round = 0; round < 3; round++) {
      for (const [at, place] of places.entries()) {
        const reached = lastId + 200;
        await until(() => lastId >= reached);
        await servers[at]!.close();
        const without = lastId + 200;
        await until(() => lastId >= without);
        servers[at] = await start(place);
        await until(
          () => client.unwrap().connections.filter(({ isDraining }) => !isDraining).length === wanted,
        );
      }
    }
    isOver = true;
    await load;
    expect(failures).toEqual([]);
    expect(lastId).toBeGreaterThan(2400);
    expect([...runs.values()].filter((count) => count !== 1)).toEqual([]);
    expect(runs.size).toBe(lastId);
  });
});

describe('the restart of the only server', () => {
  it('loses no call that may wait', async () => {
    const apps = await JoinedApps.start([SlowController], {
      server: { gracePeriod: 10_000 },
      client: { failFast: false, reconnectDelay: 1, maxReconnectDelay: 5 },
    });
    let isOver = false;
    onTestFinished(() => {
      isOver = true;
    });
    let calls = 0;
    const failures: unknown[] = [];
    const worker = async (): Promise<void> => {
      while (!isOver) {
        const id = ++calls;
        const answer = await apps.client.call('echo', id).catch((error: unknown) => error);
        if (answer !== id) failures.push(answer);
        await turn();
      }
    };
    const load = Promise.all(Array.from({ length: 20 }, worker));
    for (let round = 0; round < 5; round++) {
      const reached = calls + 100;
      while (calls < reached && !isOver) await turn();
      await apps.server.close();
      await new Promise((resolve) => apps.server.listen(resolve));
    }
    isOver = true;
    await load;
    expect(failures).toEqual([]);
    expect(calls).toBeGreaterThan(500);
  });
});

/** A port that nothing listens on. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function* slowly<T>(values: readonly T[]): AsyncGenerator<T> {
  for (const value of values) {
    yield value;
    await turn();
  }
}

async function collect(values: AsyncIterable<unknown>): Promise<unknown[]> {
  const collected: unknown[] = [];
  for await (const value of values) collected.push(value);
  return collected;
}

/** 1, and 2 once the gate is open. */
async function* requests(): AsyncGenerator<number> {
  yield 1;
  await gate.opened;
  yield 2;
}

/** One turn of the event loop. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
