import { connect, createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { marshalControl } from '../../lib/control/control-message.js';
import { jsonEncoding } from '../../lib/encoding/encoding.js';
import { ClosedError, DrpcError } from '../../lib/errors/drpc-error.js';
import type { Address, LookupAddress } from '../../lib/pool/address.js';
import type { CallSpec } from '../../lib/pool/call.js';
import { Endpoint } from '../../lib/pool/endpoint.js';
import type { PoolOptions } from '../../lib/pool/pool.options.js';
import { createInMemoryPair } from '../../lib/testing.js';
import { Kind } from '../../lib/wire/kind.js';
import { message, part, windowUpdate } from '../helpers/frames.js';
import type { Observed } from './helpers/observed.js';
import {
  echo,
  hang,
  TestServer,
  type Serve,
  type ServerConnection,
  type TestServerOptions,
} from './helpers/test-server.js';
import { TestPool } from './helpers/test-pool.js';

const CUSTOM: Address = { kind: 'custom', host: '', port: 0, path: '' };

const HANDLERS: Record<string, Serve> = { echo, hang };

function serve(options: TestServerOptions = {}): Promise<TestServer> {
  return TestServer.listen({ handlers: HANDLERS, ...options });
}

/** An address where nobody listens. */
async function nowhere(): Promise<Address> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return { kind: 'tcp', host: '127.0.0.1', port, path: '' };
}

async function connected(options: Partial<PoolOptions> = {}, server?: TestServer) {
  const target = server ?? (await serve());
  const client = new TestPool({ addresses: [target.address], pingInterval: 0, ...options });
  await client.pool.connect();
  // A connection that ended sooner would count as a failed attempt.
  client.clock.advance(1000);
  return { server: target, client };
}

/** Which connection of which server each of so many calls went to. */
async function spread(client: TestPool, servers: readonly TestServer[], calls: number): Promise<number[]> {
  for (let i = 0; i < calls; i++) await client.call('echo', i);
  return servers.flatMap(({ connections }) => connections.map(({ started }) => started.length));
}

describe('ConnectionPool', () => {
  it('does not connect before it has to', async () => {
    const server = await serve();
    const client = new TestPool({ addresses: [server.address] });
    expect(client.pool.status).toBe('disconnected');
    expect(client.pool.connections).toEqual([]);
    expect(client.clock.pendingTimers).toBe(0);
    expect(server.connections).toHaveLength(0);
  });

  it('makes one connection for all who come at once', async () => {
    const server = await serve();
    const client = new TestPool({ addresses: [server.address] });
    const all = [
      client.pool.connect(),
      client.call('echo', 1),
      client.call('echo', 2),
      client.pool.connect(),
    ];
    expect(await Promise.all(all)).toEqual([undefined, [1, 'complete'], [2, 'complete'], undefined]);
    expect(server.connections).toHaveLength(1);
    expect(client.pool.connections).toEqual([
      { url: `drpc://127.0.0.1:${server.port}`, profile: 'own', calls: 0, isDraining: false },
    ]);
  });

  it('keeps the order of calls that waited for the connection', async () => {
    const server = await serve();
    const client = new TestPool({ addresses: [server.address] });
    await Promise.all(['a', 'b', 'c'].map((text) => client.call('echo', text)));
    const messages = server.connections[0]!.frames.filter((line) => line.startsWith('Message'));
    expect(messages).toEqual(['Message s2 m2 "a"', 'Message s3 m2 "b"', 'Message s4 m2 "c"']);
  });

  it('says that it cannot connect, to all who wait', async () => {
    const client = new TestPool({ addresses: [await nowhere()] });
    const { seen } = client.start('echo');
    await expect(client.pool.connect()).rejects.toThrow(/^cannot connect to drpc:.*ECONNREFUSED$/);
    expect(seen.events).toEqual([expect.objectContaining({ name: 'ClosedError', code: 14 })]);
    expect(client.pool.waiting).toBe(0);
    expect(client.errors).toHaveLength(1);
    expect(client.statuses).toEqual([]);
  });

  it('leaves no timer when it has failed and nobody waits', async () => {
    const client = new TestPool({ addresses: [await nowhere()] });
    await client.call('echo');
    expect(client.clock.pendingTimers).toBe(0);
  });

  it('connects when asked although it has just failed', async () => {
    const server = await serve();
    let isUp = false;
    const client = new TestPool({
      addresses: [{ kind: 'custom', host: '', port: 0, path: '' }],
      dial: () => (isUp ? dialTo(server) : Promise.reject(new Error('down'))),
    });
    await expect(client.pool.connect()).rejects.toThrow('cannot connect to dial()');
    isUp = true;
    await client.pool.connect();
    expect(client.pool.status).toBe('connected');
  });

  it('fails calls at once for a moment after an attempt, then tries again for them', async () => {
    const server = await serve();
    let dials = 0;
    const client = new TestPool({
      addresses: [{ kind: 'custom', host: '', port: 0, path: '' }],
      dial: () => (++dials < 2 ? Promise.reject(new Error('down')) : dialTo(server)),
    });
    await client.call('echo', 1);
    expect(await client.call('echo', 2)).toEqual([expect.objectContaining({ code: 14 })]);
    expect(dials).toBe(1);
    client.clock.advance(100);
    expect(await client.call('echo', 3)).toEqual([3, 'complete']);
  });

  it.each<[string, Partial<PoolOptions>, Partial<CallSpec>]>([
    ['no server is there', {}, {}],
    ['too many wait', { failFast: false, maxQueuedCalls: 0 }, {}],
    ['its time is over', {}, { timeout: 0 }],
    ['its signal has aborted', {}, { signal: AbortSignal.abort() }],
  ])('lets the event loop go on while somebody tries again at once: %s', async (_, options, spec) => {
    const client = new TestPool({
      addresses: [CUSTOM],
      dial: () => Promise.reject(new Error('down')),
      ...options,
    });
    let isOver = false;
    let attempts = 0;
    const attempt = (): void => {
      if (isOver || attempts++ > 1000) return;
      client.pool.call({ rpc: 'echo', encoding: jsonEncoding, payload: '1', ...spec }, observer);
    };
    const observer = { next: () => undefined, error: attempt, complete: () => undefined };
    attempt();
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    isOver = true;
    expect(attempts).toBeGreaterThan(1);
    expect(attempts).toBeLessThan(10);
  });

  it('lets a call be made anew at once when the client is closed', async () => {
    const client = new TestPool({ addresses: [CUSTOM], dial: () => new Promise(() => undefined) });
    let attempts = 0;
    const attempt = (): void => {
      if (attempts++ > 1000) return;
      client.pool.call({ rpc: 'echo', encoding: jsonEncoding, payload: '1' }, observer);
    };
    const observer = { next: () => undefined, error: attempt, complete: () => undefined };
    attempt();
    await client.pool.close();
    expect(attempts).toBeLessThan(10);
  });

  it('takes a server that answers nonsense for one it cannot connect to', async () => {
    const server = createServer((socket) => socket.resume().end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(
      0,
      '127.0.0.1',
    );
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const client = new TestPool({ addresses: [{ kind: 'tcp', host: '127.0.0.1', port, path: '' }] });
    await expect(client.pool.connect()).rejects.toMatchObject({
      name: 'ClosedError',
      code: 14,
      message: expect.stringMatching(new RegExp(`^cannot connect to drpc://127.0.0.1:${port}: .`)),
      cause: expect.any(DrpcError),
    });
    await client.pool.close();
    await new Promise((resolve) => server.close(resolve));
  });

  it('does not let calls wait for a server that takes none', async () => {
    const settings = marshalControl({
      type: 'settings',
      streamWindow: 65_536,
      maxMessageSize: 65_536,
      maxStreams: 0,
    });
    const client = new TestPool({
      addresses: [{ kind: 'custom', host: '', port: 0, path: '' }],
      dial: () => {
        const [ours, theirs] = createInMemoryPair();
        theirs.resume().once('data', () => theirs.write(message(1, 1, settings)));
        return Promise.resolve(ours);
      },
    });
    const [error] = (await client.call('echo')) as [DrpcError];
    expect(error).toMatchObject({
      code: 14,
      message: expect.stringContaining('maxStreams is 0: it must be a whole number of at least 1'),
    });
  });

  it('closes with its calls, and is closed from then on', async () => {
    const { client, server } = await connected();
    const { seen } = client.start('hang');
    await (await server.connection(1)).running('hang');
    const closed = client.pool.close();
    expect(seen.events).toEqual([expect.objectContaining({ code: 14, message: 'the client is closed' })]);
    expect(client.pool.close()).toBe(closed);
    await closed;
    expect(client.statuses).toEqual(['connected', 'closed']);
    expect(client.pool.connections).toEqual([]);
    expect(client.clock.pendingTimers).toBe(0);
    expect(await client.call('echo')).toEqual([expect.objectContaining({ message: 'the client is closed' })]);
    await expect(client.pool.connect()).rejects.toThrow('the client is closed');
  });

  it('closes with calls that were not sent yet', async () => {
    const { client } = await connected();
    const { seen } = client.startUnsent('echo', 1);
    const closed = client.pool.close();
    expect(seen.events).toEqual([expect.objectContaining({ code: 14, message: 'the client is closed' })]);
    await closed;
  });

  it('refuses calls that are made, and moved, while it closes', async () => {
    const { client } = await connected();
    const unsent = client.startUnsent('echo', 1);
    let late: Observed | undefined;
    unsent.seen.error = () => {
      late = client.start('echo', 2).seen;
    };
    await client.pool.close();
    expect(await late!.failure()).toMatchObject({ message: 'the client is closed' });
    expect(client.statuses).toEqual(['connected', 'closed']);
  });

  it('closes while it connects', async () => {
    const server = await serve({ kind: 'silent' });
    const client = new TestPool({ addresses: [server.address] });
    const connecting = client.pool.connect();
    const { seen } = client.start('echo');
    const connection = await server.connection(1);
    await client.pool.close();
    await expect(connecting).rejects.toThrow('the client is closed');
    expect(seen.events).toEqual([expect.objectContaining({ message: 'the client is closed' })]);
    await once(connection.socket, 'close');
    expect(client.clock.pendingTimers).toBe(0);
  });

  it('closes what connects after it was closed', async () => {
    const server = await serve();
    let release!: () => void;
    const client = new TestPool({
      addresses: [{ kind: 'custom', host: '', port: 0, path: '' }],
      dial: async () => {
        await new Promise<void>((resolve) => (release = resolve));
        return dialTo(server);
      },
    });
    const connecting = client.pool.connect();
    await client.pool.close();
    await expect(connecting).rejects.toThrow('the client is closed');
    release();
    await once((await server.connection(1)).socket, 'close');
    expect(client.statuses).toEqual(['closed']);
  });

  it('can be closed when it never connected', async () => {
    const client = new TestPool({ addresses: [await nowhere()] });
    await client.pool.close();
    expect(client.pool.status).toBe('closed');
  });
});

describe('ConnectionPool that lost its connection', () => {
  it('connects again by itself, at once', async () => {
    const { client, server } = await connected();
    const again = client.becomes('connected');
    server.connections[0]!.socket.destroy();
    await again;
    expect(client.statuses).toEqual(['connected', 'disconnected', 'reconnecting', 'connected']);
    expect(server.connections).toHaveLength(2);
  });

  it('pauses longer after each failure, and not beyond the longest', async () => {
    const dialled: number[] = [];
    const server = await serve();
    const failures: (() => void)[] = [];
    const client: TestPool = new TestPool(
      {
        addresses: [{ kind: 'custom', host: '', port: 0, path: '' }],
        maxReconnectDelay: 700,
        random: () => 1,
        dial: async () => {
          dialled.push(client.clock.now());
          if (dialled.length > 1) throw new Error('down');
          return dialTo(server);
        },
      },
      { error: () => failures.shift()?.() },
    );
    await client.pool.connect();
    client.clock.advance(1000);
    const failed = () => new Promise<void>((resolve) => failures.push(resolve));
    let failure = failed();
    server.connections[0]!.socket.destroy();
    for (const pause of [100, 200, 400, 700, 700]) {
      await failure;
      failure = failed();
      const before = dialled.length;
      client.clock.advance(pause - 1);
      expect(dialled).toHaveLength(before);
      client.clock.advance(1);
    }
    await failure;
    expect(dialled).toEqual([0, 1000, 1100, 1300, 1700, 2400, 3100]);
    expect(client.pool.status).toBe('reconnecting');
  });

  it('does not turn around a server that closes every connection', async () => {
    const { client, server } = await connected();
    for (const n of [1, 2]) {
      const lost = client.becomes('disconnected');
      (await server.connection(n)).socket.destroy();
      await lost;
      if (n === 1) await client.becomes('connected');
    }
    // The second lived too short: there is a pause now.
    expect(client.pool.status).toBe('disconnected');
    expect(await client.call('echo')).toEqual([expect.objectContaining({ code: 14 })]);
    const again = client.becomes('connected');
    client.clock.advance(100);
    await again;
    expect(server.connections).toHaveLength(3);
  });

  it('does not turn around one that answers on every connection and closes it', async () => {
    const { client, server } = await connected();
    for (const n of [1, 2, 3, 4, 5]) {
      const { socket } = await server.connection(n);
      await client.all(1);
      expect(await client.call('echo', n)).toEqual([n, 'complete']);
      const lost = client.becomes('disconnected');
      socket.destroy();
      await lost;
    }
    // The first had lived for a second, three more may be restarts.
    expect(await client.call('echo')).toEqual([expect.objectContaining({ code: 14 })]);
    expect(server.connections).toHaveLength(5);
    const again = client.becomes('connected');
    client.clock.advance(100);
    await again;
  });

  it('goes on at once after one that answered, however short it was', async () => {
    const server = await serve();
    const client = new TestPool({ addresses: [server.address], peer: 'storj' });
    for (const n of [1, 2, 3]) {
      expect(await client.call('echo', n)).toEqual([n, 'complete']);
      const lost = client.becomes('disconnected');
      (await server.connection(n)).socket.destroy();
      await lost;
    }
    expect(await client.call('echo', 4)).toEqual([4, 'complete']);
  });

  it('lets calls wait for the attempt under way', async () => {
    const { client, server } = await connected();
    const lost = client.becomes('reconnecting');
    server.connections[0]!.socket.destroy();
    await lost;
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
  });

  it('fails all calls in flight with its cause', async () => {
    const { client, server } = await connected();
    const calls = Array.from({ length: 10 }, () => client.start('hang'));
    const connection = await server.connection(1);
    await client.call('echo', 'fence');
    connection.socket.resetAndDestroy();
    const errors = await Promise.all(calls.map(({ seen }) => seen.failure()));
    expect(new Set(errors).size).toBe(1);
    expect(errors[0]).toMatchObject({ code: 14, cause: expect.objectContaining({ code: 'ECONNRESET' }) });
  });

  it('dials for a call that is made as it ends, when it is known what that means', async () => {
    const server = await serve();
    const client = new TestPool({ addresses: [server.address], pingInterval: 0 });
    const { seen } = client.start('hang');
    await (await server.connection(1)).running('hang');
    let again: Observed | undefined;
    seen.error = () => {
      again = client.start('echo', 'again').seen;
    };
    const lost = client.becomes('disconnected');
    server.connections[0]!.socket.destroy();
    await lost;
    // It lived too short, so there is a pause first.
    expect(await again!.failure()).toMatchObject({ code: 14 });
    expect(server.connections).toHaveLength(1);
  });

  it('puts no call on one that is being destroyed', async () => {
    const server = await serve({ kind: 'plain' });
    let made: Observed | undefined;
    const client: TestPool = new TestPool({
      addresses: [CUSTOM],
      peer: 'storj',
      dial: async () => {
        const socket = await dialTo(server);
        const destroy = socket.destroy.bind(socket);
        socket.destroy = (error) => {
          made ??= client.start('echo', 2).seen;
          return destroy(error);
        };
        return socket;
      },
    });
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
    await client.idle();
    const lost = client.becomes('disconnected');
    server.connections[0]!.socket.destroy();
    await lost;
    await made!.ended;
    expect(made!.events).toEqual([2, 'complete']);
  });

  it('stops trying when it is closed', async () => {
    const { client, server } = await connected();
    server.stop();
    const failed = client.nextError();
    server.connections[0]!.socket.destroy();
    await failed;
    expect(client.clock.pendingTimers).toBe(1);
    await client.pool.close();
    expect(client.clock.pendingTimers).toBe(0);
  });
});

describe('ConnectionPool that waits rather than fails', () => {
  it('keeps calls until the server is there', async () => {
    const server = await serve();
    let isUp = false;
    const client = new TestPool({
      addresses: [CUSTOM],
      failFast: false,
      dial: () => (isUp ? dialTo(server) : Promise.reject(new Error('down'))),
    });
    const failed = client.nextError();
    const answers = Promise.all([client.call('echo', 1), client.call('echo', 2)]);
    await failed;
    isUp = true;
    client.clock.advance(100);
    expect(await answers).toEqual([
      [1, 'complete'],
      [2, 'complete'],
    ]);
  });

  it('fails a call when its time is over', async () => {
    const client = new TestPool({
      addresses: [CUSTOM],
      failFast: false,
      dial: () => Promise.reject(new Error('down')),
    });
    const failed = client.nextError();
    const { seen } = client.start('echo', 1, { timeout: 1000 });
    await failed;
    client.clock.advance(1000);
    expect(seen.events).toEqual([
      expect.objectContaining({
        name: 'DeadlineError',
        code: 4,
        message: 'deadline exceeded before a server could be reached',
        cause: expect.objectContaining({ message: 'cannot connect to dial()' }),
      }),
    ]);
    expect(client.pool.waiting).toBe(0);
  });

  it('knows no cause as long as the first attempt is under way', () => {
    const client = new TestPool({ addresses: [CUSTOM], dial: () => new Promise(() => undefined) });
    const { seen } = client.start('echo', 1, { timeout: 1000 });
    client.clock.advance(1000);
    const [error] = seen.events;
    expect(error).toMatchObject({ message: 'deadline exceeded before a server could be reached' });
    expect(error).not.toHaveProperty('cause');
  });

  it('does not blame the network for a call that waits for room', async () => {
    const server = await serve({ connection: { maxStreams: 1 } });
    const client = new TestPool({ addresses: [server.address], failFast: false });
    await client.pool.connect();
    client.start('hang', 1);
    const { seen } = client.start('hang', 2, { timeout: 1000 });
    expect(client.pool.waiting).toBe(1);
    client.clock.advance(1000);
    expect(seen.events).toEqual([expect.objectContaining({ code: 4, message: 'deadline exceeded' })]);
  });

  it('stops trying when nobody waits any more', async () => {
    let dials = 0;
    const client = new TestPool({
      addresses: [CUSTOM],
      failFast: false,
      dial: () => {
        dials++;
        return Promise.reject(new Error('down'));
      },
    });
    const failed = client.nextError();
    const { call } = client.start('echo', 1);
    await failed;
    call.cancel();
    client.clock.advance(100_000);
    expect(dials).toBe(1);
    expect(client.clock.pendingTimers).toBe(0);
    expect(client.pool.status).toBe('disconnected');
  });

  it('keeps no more than it may', async () => {
    const client = new TestPool({
      addresses: [CUSTOM],
      failFast: false,
      maxQueuedCalls: 2,
      dial: () => new Promise(() => undefined),
    });
    const [first, second, third] = [client.start('echo'), client.start('echo'), client.start('echo')];
    expect(await third.seen.failure()).toMatchObject({
      code: 8,
      message: '2 calls wait for a connection: at most 2 may',
    });
    expect([first.seen.events, second.seen.events]).toEqual([[], []]);
    first.call.cancel();
    expect(client.start('echo').seen.events).toEqual([]);
  });

  it('still rejects connect()', async () => {
    const client = new TestPool({
      addresses: [CUSTOM],
      failFast: false,
      dial: () => Promise.reject(new Error('down')),
    });
    await expect(client.pool.connect()).rejects.toThrow('cannot connect to dial()');
  });
});

describe('ConnectionPool with several connections', () => {
  it('makes as many as asked for to each server and goes round', async () => {
    const servers = [await serve(), await serve()];
    const client = new TestPool({ addresses: servers.map(({ address }) => address), connections: 2 });
    await client.pool.connect();
    for (const server of servers) await server.connection(2);
    await client.all(4);
    expect(await spread(client, servers, 8)).toEqual([2, 2, 2, 2]);
  });

  it('sends calls where the fewest are', async () => {
    const servers = [await serve(), await serve()];
    const client = new TestPool({ addresses: servers.map(({ address }) => address), balance: 'leastLoaded' });
    await client.pool.connect();
    await client.all(2);
    for (let i = 0; i < 3; i++) client.start('hang');
    const { call } = client.start('hang');
    await client.call('echo', 'fence');
    call.cancel();
    const loads = () => client.pool.connections.map(({ calls }) => calls);
    expect(loads().toSorted((a, b) => a - b)).toEqual([1, 2]);
    client.start('hang');
    expect(loads()).toEqual([2, 2]);
  });

  it('leaves a broken server out until it answers, and tells of it', async () => {
    const good = await serve();
    const gone = await nowhere();
    const client = new TestPool({ addresses: [gone, good.address] });
    const failed = client.nextError();
    await Promise.all([client.pool.connect(), failed]);
    expect(client.errors).toEqual([
      expect.objectContaining({ message: expect.stringContaining(`:${gone.port}`) }),
    ]);
    expect(await spread(client, [good], 3)).toEqual([3]);
    const back = await serve({ port: gone.port });
    client.clock.advance(100);
    await client.all(2);
    expect(await spread(client, [back], 4)).toEqual([2]);
    expect(client.statuses).toEqual(['connected']);
  });

  it('tells once that a server is not reached while others are, until it is', async () => {
    const good = await serve();
    const gone = await nowhere();
    const client = new TestPool({ addresses: [gone, good.address], maxReconnectDelay: 100 });
    const url = `drpc://127.0.0.1:${gone.port}`;
    const line = `${url}: cannot connect to ${url}: ECONNREFUSED`;
    async function fail(times: number): Promise<void> {
      for (let i = 0; i < times; i++) {
        const failed = client.nextError();
        client.clock.advance(100);
        await failed;
      }
    }
    const failed = client.nextError();
    await Promise.all([client.pool.connect(), failed]);
    await fail(3);
    expect(client.unreachable).toEqual([line]);
    const back = await serve({ port: gone.port });
    client.clock.advance(100);
    await client.all(2);
    await back.close();
    await fail(3);
    expect(client.unreachable).toEqual([line, line]);
  });

  it('does not tell that a server is not reached where none is', async () => {
    const gone = await nowhere();
    const client = new TestPool({ addresses: [gone] });
    await expect(client.pool.connect()).rejects.toThrow('ECONNREFUSED');
    expect(client.unreachable).toEqual([]);
  });

  it('dials a server again that had failed before another was reached', async () => {
    const server = await serve();
    let dials = 0;
    const client: TestPool = new TestPool({
      addresses: [CUSTOM, CUSTOM],
      dial: async () => {
        if (++dials === 1) throw new Error('down');
        if (dials === 2) await failed;
        return dialTo(server);
      },
    });
    const failed = client.nextError();
    await client.pool.connect();
    client.clock.advance(100);
    expect(dials).toBe(3);
    await client.all(2);
  });

  it('goes on with the others when one is lost', async () => {
    const servers = [await serve(), await serve()];
    const client = new TestPool({ addresses: servers.map(({ address }) => address) });
    await client.pool.connect();
    await client.all(2);
    client.clock.advance(1000);
    servers[0]!.stop();
    const told = client.nextError();
    servers[0]!.connections[0]!.socket.destroy();
    await told;
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
    expect(await client.call('echo', 2)).toEqual([2, 'complete']);
    expect(client.statuses).toEqual(['connected']);
  });

  it('dials a server in its pause for a call that waits when another is lost', async () => {
    const good = await serve({ kind: 'plain' });
    const gone = await nowhere();
    const addresses = [good.address, gone];
    const client = new TestPool({ addresses, peer: 'storj', maxConnections: 1 });
    let failed = client.nextError();
    client.start('hang');
    const connection = await good.connection(1);
    await connection.running('hang');
    await failed;
    const { seen } = client.start('echo', 1);
    for (const pause of [100, 200]) {
      failed = client.nextError();
      client.clock.advance(pause);
      await failed;
    }
    // A call that comes would have to wait for a part of the next pause, which is one of 400 ms.
    client.clock.advance(200);
    const back = await serve({ kind: 'plain', port: gone.port });
    good.stop();
    connection.socket.destroy();
    await seen.ended;
    expect([seen.events, back.connections.length]).toEqual([[1, 'complete'], 1]);
  });

  it('dials for a call that still waits when one becomes free, as for one that comes', async () => {
    const server = await serve({ kind: 'plain' });
    let dials = 0;
    let isUp = true;
    const client = new TestPool({
      addresses: [CUSTOM],
      peer: 'storj',
      dial: () => (++dials && isUp ? dialTo(server) : Promise.reject(new Error('down'))),
    });
    const busy = client.start('hang');
    const connection = await server.connection(1);
    await connection.running('hang');
    isUp = false;
    let failed = client.nextError();
    client.start('hang');
    for (const pause of [100, 200]) {
      await failed;
      failed = client.nextError();
      client.clock.advance(pause);
    }
    await failed;
    // The next pause is one of 400 ms, of which a call that comes has to wait for a part.
    const { seen } = client.start('echo', 1);
    isUp = true;
    client.clock.advance(200);
    expect(dials).toBe(4);
    busy.call.cancel();
    await connection.running('hang', 2);
    await seen.ended;
    expect([seen.events, dials]).toEqual([[1, 'complete'], 5]);
  });

  it('puts no more calls on one than it may carry; others wait their turn', async () => {
    const { client, server } = await connected({ maxStreamsPerConnection: 2 });
    const first = client.start('hang');
    client.start('hang');
    const [third, fourth] = [client.start('echo', 3), client.start('echo', 4)];
    expect(client.pool.waiting).toBe(2);
    first.call.cancel();
    await fourth.seen.ended;
    expect([third.seen.events, fourth.seen.events]).toEqual([
      [3, 'complete'],
      [4, 'complete'],
    ]);
    expect(server.connections).toHaveLength(1);
  });

  it('heeds what the server takes at once', async () => {
    const server = await serve({ connection: { maxStreams: 2 } });
    const client = new TestPool({ addresses: [server.address] });
    await client.pool.connect();
    client.start('hang');
    const { call } = client.start('hang');
    const { seen } = client.start('echo', 1);
    expect(client.pool.waiting).toBe(1);
    call.cancel();
    expect(client.pool.waiting).toBe(0);
    // If it got there before the slot was free, it comes again after a pause.
    await client.passUntil(seen);
    expect(seen.events).toEqual([1, 'complete']);
  });
});

describe('ConnectionPool with a name', () => {
  const named: Address = { kind: 'tcp', host: 'service.test', port: 0, path: '' };
  const v4 = (...hosts: string[]) => hosts.map((address) => ({ address, family: 4 }));

  /** Three servers, a name that means the first two of them, and a client that knows it so since a second. */
  async function connectedByName() {
    const one = await serve({ host: '127.0.0.2' });
    const two = await serve({ host: '127.0.0.3', port: one.port });
    const three = await serve({ host: '127.0.0.4', port: one.port });
    const name = { means: [one, two], lookups: 0 };
    const client = new TestPool({
      addresses: [{ ...named, port: one.port }],
      lookup: async () => {
        name.lookups++;
        return v4(...name.means.map(({ address }) => address.host));
      },
    });
    await client.pool.connect();
    await client.all(2);
    client.clock.advance(1000);
    return { client, name, one, two, three };
  }

  it('treats several addresses of a name as several servers', async () => {
    const { client, one, two } = await connectedByName();
    expect(await spread(client, [one, two], 4)).toEqual([2, 2]);
  });

  it('meets new servers of a name when one that it knows is lost, not before', async () => {
    const { client, name, one, two, three } = await connectedByName();
    name.means = [one, two, three];
    expect(await spread(client, [one, two, three], 6)).toEqual([3, 3]);
    expect(name.lookups).toBe(1);
    one.connections[0]!.socket.destroy();
    await three.connection(1);
    await client.all(3);
    expect(await spread(client, [one, two, three], 3)).toEqual([3, 1, 4, 1]);
  });

  it('looks the name up again when a server is lost, and lets go of those that are gone', async () => {
    const { client, name, one, two, three } = await connectedByName();
    name.means = [two, three];
    one.connections[0]!.socket.destroy();
    await three.connection(1);
    await client.all(2);
    expect(await spread(client, [two, three], 4)).toEqual([2, 2]);

    client.clock.advance(1000);
    name.means = [three, one];
    const calls = [client.start('hang'), client.start('hang')];
    const retired = once(two.connections[0]!.socket, 'close');
    three.connections[0]!.socket.destroy();
    await one.connection(2);
    await client.all(2);
    // The call that runs on the server which is gone from the name is left to finish.
    expect(client.pool.connections.map(({ url, isDraining }) => [url, isDraining])).toContainEqual([
      `drpc://127.0.0.3:${one.port}`,
      true,
    ]);
    const left = calls.filter(({ seen }) => seen.events.length === 0);
    expect(left).toHaveLength(1);
    left[0]!.call.cancel();
    await retired;
  });

  it('moves calls that a server which is gone from its name will not start', async () => {
    const { client, name, one, two, three } = await connectedByName();
    const connection = await one.connection(1);
    connection.socket.pause();
    const calls = [client.call('echo', 1), client.call('echo', 2)];
    name.means = [two, three];
    two.connections[0]!.peer!.drain('restart');
    await three.connection(1);
    await client.all(2);
    connection.peer!.drain('restart');
    connection.socket.resume();
    expect(await Promise.all(calls)).toEqual([
      [1, 'complete'],
      [2, 'complete'],
    ]);
    expect(connection.started).toEqual([]);
  });

  it('lets go once of a server that says goaway and is gone from its name', async () => {
    const { client, name, one, two, three } = await connectedByName();
    const calls = [client.start('hang'), client.start('hang')];
    const connection = await one.connection(1);
    await connection.running('hang');
    name.means = [two, three];
    connection.peer!.drain('restart');
    await three.connection(1);
    await client.all(2);
    // One of two connections that take calls: the pool has not lost its servers.
    const lost = client.nextError();
    two.connections[0]!.socket.destroy();
    await lost;
    expect(client.statuses).toEqual(['connected']);
    const finished = once(connection.socket, 'close');
    for (const { call } of calls) call.cancel();
    await finished;
  });

  it('says when a name is not known, and asks again for the next call after a moment', async () => {
    const server = await serve({ host: '127.0.0.2' });
    let isKnown = false;
    let asked = 0;
    const client = new TestPool({
      addresses: [{ ...named, port: server.port }],
      lookup: async () => {
        asked++;
        if (!isKnown) throw new Error('ENOTFOUND');
        return v4('127.0.0.2');
      },
    });
    await expect(client.pool.connect()).rejects.toThrow(
      `cannot connect to drpc://service.test:${server.port}: the name is not known`,
    );
    expect(await client.call('echo')).toEqual([expect.objectContaining({ code: 14 })]);
    expect(asked).toBe(1);
    isKnown = true;
    client.clock.advance(100);
    // No name server knows this name, only the look-up of this test.
    expect(await client.call('echo', 'here')).toEqual(['here', 'complete']);
    expect(asked).toBe(2);
  });

  it('finds the one server of a name where it has moved', async () => {
    const one = await serve({ host: '127.0.0.2' });
    const two = await serve({ host: '127.0.0.3', port: one.port });
    let host = '127.0.0.2';
    const client = new TestPool({
      addresses: [{ ...named, port: one.port }],
      lookup: async () => v4(host),
      connections: 2,
      pingInterval: 0,
    });
    await client.pool.connect();
    await client.all(2);
    client.clock.advance(1000);
    host = '127.0.0.3';
    one.stop();
    one.connections[1]!.socket.destroy();
    // It is lost, and can not be replaced where it was.
    await client.nextError();
    await client.nextError();
    client.clock.advance(1000);
    await two.connection(1);
    await client.all(2);
    expect(client.statuses).toEqual(['connected']);
  });

  it('does not wait for a name server for ever', async () => {
    const client = new TestPool({
      addresses: [{ ...named, port: 1 }],
      connectTimeout: 500,
      lookup: () => new Promise(() => undefined),
    });
    const { seen } = client.start('echo');
    client.clock.advance(500);
    expect(await seen.failure()).toMatchObject({
      code: 14,
      cause: expect.objectContaining({ message: 'no answer from the name server within 500 ms' }),
    });
  });

  it('waits a moment only for a name server where the servers are known', async () => {
    const server = await serve({ host: '127.0.0.2' });
    let lookup: Promise<LookupAddress[]> = Promise.resolve(v4('127.0.0.2'));
    const client = new TestPool({
      addresses: [{ ...named, port: server.port }],
      pingInterval: 0,
      lookup: () => lookup,
    });
    await client.pool.connect();
    client.clock.advance(1000);
    lookup = new Promise(() => undefined);
    server.connections[0]!.socket.destroy();
    await client.becomes('disconnected');
    const { seen } = client.start('echo', 'again');
    client.clock.advance(1000);
    await seen.ended;
    expect(seen.events).toEqual(['again', 'complete']);
  });

  it('waits for no name server when it is closed', async () => {
    const lookup = (): Promise<never> => new Promise(() => undefined);
    const client = new TestPool({ addresses: [{ ...named, port: 1 }], lookup });
    const { seen } = client.start('echo');
    expect(client.clock.pendingTimers).toBe(1);
    await client.pool.close();
    expect(client.clock.pendingTimers).toBe(0);
    expect(seen.events).toEqual([expect.objectContaining({ message: 'the client is closed' })]);
  });

  it.each([[undefined], [null], [[null]], ['nothing']])(
    'fails calls when a look-up answers %j',
    async (found) => {
      const client = new TestPool({
        addresses: [{ ...named, port: 1 }],
        lookup: () => Promise.resolve(found as never),
      });
      expect(await client.call('echo')).toEqual([
        expect.objectContaining({
          code: 14,
          message: expect.stringMatching(
            /^cannot connect to drpc:..service.test:1: option lookup resolved with /,
          ) as string,
        }),
      ]);
      await expect(client.pool.connect()).rejects.toThrow('option lookup resolved with');
    },
  );

  it('makes one server of an address that is named twice', async () => {
    const server = await serve();
    const client = new TestPool({
      addresses: [{ ...named, port: server.port }],
      lookup: () => Promise.resolve(v4('127.0.0.1', '127.0.0.1')),
    });
    await client.pool.connect();
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
    expect(client.pool.connections).toHaveLength(1);
  });

  it('looks at each of many servers a few times for a call that waits, not once for each of the others', async () => {
    const server = await serve({ kind: 'plain', host: '0.0.0.0' });
    const hosts = Array.from({ length: 100 }, (_, i) => `127.0.1.${i + 1}`);
    const client = new TestPool({
      addresses: [{ ...named, port: server.port }],
      peer: 'storj',
      maxConnections: 1,
      lookup: () => Promise.resolve(v4(...hosts)),
    });
    await client.pool.connect();
    await client.all(100);
    for (const _host of hosts) client.start('hang');
    const looks = vi.spyOn(Endpoint.prototype, 'usable', 'get');
    onTestFinished(() => looks.mockRestore());
    client.start('hang');
    expect(client.pool.waiting).toBe(1);
    expect(looks.mock.calls.length).toBeLessThan(500);
  });

  it('keeps what it knows when the name server fails', async () => {
    const one = await serve({ host: '127.0.0.2' });
    await serve({ host: '127.0.0.3', port: one.port });
    let isUp = true;
    const client = new TestPool({
      addresses: [{ ...named, port: one.port }],
      lookup: async () => {
        if (!isUp) throw new Error('SERVFAIL');
        return v4('127.0.0.2', '127.0.0.3');
      },
    });
    await client.pool.connect();
    await client.all(2);
    client.clock.advance(1000);
    isUp = false;
    one.connections[0]!.socket.destroy();
    await one.connection(2);
    await client.all(2);
    expect(client.pool.status).toBe('connected');
  });

  describe('that is looked up again each lookupInterval', () => {
    /** Servers at 127.0.0.1 and onwards, of which the name has the first `known`. */
    async function several(count: number, known: number) {
      const first = await serve();
      const servers = [first];
      while (servers.length < count) {
        servers.push(await serve({ host: `127.0.0.${1 + servers.length}`, port: first.port }));
      }
      const hosts = servers.slice(0, known).map(({ address }) => address.host);
      const names = { hosts, lookups: 0, answered: Promise.resolve() };
      const client = new TestPool({
        addresses: [{ ...named, host: 'localhost', port: first.port }],
        lookupInterval: 5000,
        pingInterval: 0,
        lookup: async () => {
          names.lookups++;
          await names.answered;
          if (names.hosts.length === 0) throw new Error('SERVFAIL');
          return names.hosts[0] === 'nothing' ? (undefined as never) : v4(...names.hosts);
        },
      });
      await client.pool.connect();
      await client.all(known);
      return { client, servers, names };
    }

    it('meets new servers while all that it knows are well', async () => {
      const { client, servers, names } = await several(3, 2);
      names.hosts.push('127.0.0.3');
      client.clock.advance(4999);
      expect(names.lookups).toBe(1);
      client.clock.advance(1);
      await client.all(3);
      expect(await spread(client, servers, 6)).toEqual([2, 2, 2]);
      expect([names.lookups, client.statuses]).toEqual([2, ['connected']]);
    });

    it('lets go of those that are gone, whose calls finish', async () => {
      const { client, servers, names } = await several(3, 3);
      const calls = [client.start('hang'), client.start('hang'), client.start('hang')];
      await Promise.all(servers.map(async (server) => (await server.connection(1)).running('hang')));
      const retired = once(servers[2]!.connections[0]!.socket, 'close');
      names.hosts.pop();
      const left = client.nextError();
      client.clock.advance(5000);
      await left;
      expect(client.pool.connections.map(({ isDraining }) => isDraining)).toEqual([false, false, true]);
      expect(calls.map(({ seen }) => seen.events)).toEqual([[], [], []]);
      for (const { call } of calls) call.cancel();
      await retired;
      expect(client.statuses).toEqual(['connected']);
    });

    it('keeps the one server of a name that is joined by others, and that others leave', async () => {
      const { client, servers, names } = await several(2, 1);
      const before = client.start('hang');
      await servers[0]!.connections[0]!.running('hang');
      names.hosts.unshift('127.0.0.2');
      client.clock.advance(5000);
      await client.all(2);
      expect(await spread(client, servers, 2)).toEqual([2, 1]);

      const closed = once(servers[1]!.connections[0]!.socket, 'close');
      names.hosts.shift();
      client.clock.advance(5000);
      await closed;
      expect(await client.call('echo', 'after')).toEqual(['after', 'complete']);
      expect(before.seen.events).toEqual([]);
      expect(client.statuses).toEqual(['connected']);
      expect(servers.map(({ connections }) => connections.length)).toEqual([1, 1]);
    });

    it.each([
      ['fails', []],
      ['answers nothing that is an address', ['nothing']],
    ])('keeps what it knows when a look-up %s, and goes on', async (_how, answer: string[]) => {
      const { client, servers, names } = await several(3, 2);
      const hosts = names.hosts.splice(0);
      names.hosts.push(...answer);
      client.clock.advance(5000);
      expect(await spread(client, servers, 4)).toEqual([2, 2]);
      expect([names.lookups, client.clock.pendingTimers]).toEqual([2, 1]);
      names.hosts = [...hosts, '127.0.0.3'];
      client.clock.advance(5000);
      await client.all(3);
      expect([names.lookups, client.errors]).toEqual([3, []]);
    });

    describe('while servers that are gone take connections and say nothing', () => {
      async function dialing(options: Partial<PoolOptions>, kind: Address['kind']) {
        const server = await serve({ host: '127.0.0.3' });
        const silent = await serve({ kind: 'silent', port: server.port });
        const answers = [v4('127.0.0.1', '127.0.0.2'), v4('127.0.0.3', '127.0.0.4')];
        const client = new TestPool({
          addresses: [{ ...named, kind, port: server.port }],
          lookupInterval: 5000,
          lookup: () => Promise.resolve(answers.shift()!),
          ...options,
        });
        return { client, silent };
      }

      it('dials the others for those who wait', async () => {
        const { client, silent } = await dialing({ handshakeTimeout: 9000 }, 'tcp');
        const connecting = client.pool.connect();
        const calling = client.call('echo', 1);
        await silent.connection(1);
        client.clock.advance(5000);
        expect(await Promise.all([connecting, calling])).toEqual([undefined, [1, 'complete']]);
      });

      it('dials them also for connect() alone where calls ask for connections', async () => {
        const { client, silent } = await dialing({ peer: 'storj' }, 'tls');
        const connecting = client.pool.connect();
        await silent.connection(1);
        client.clock.advance(5000);
        // It speaks no TLS: that it was dialled is what counts.
        await expect(connecting).rejects.toThrow('cannot connect to drpcs://127.0.0.');
      });
    });

    it('shares a look-up with a dial that needs one', async () => {
      const { client, servers, names } = await several(2, 2);
      let answer!: () => void;
      names.answered = new Promise((resolve) => (answer = resolve));
      client.clock.advance(5000);
      const lost = client.nextError();
      servers[0]!.connections[0]!.socket.destroy();
      await lost;
      expect(servers[0]!.connections).toHaveLength(1);
      answer();
      await servers[0]!.connection(2);
      await client.all(2);
      expect([names.lookups, client.clock.pendingTimers]).toEqual([2, 1]);
    });

    it('leaves no timer behind when it is closed', async () => {
      const { client } = await several(2, 2);
      expect(client.clock.pendingTimers).toBe(1);
      client.clock.advance(5000);
      await client.pool.close();
      expect(client.clock.pendingTimers).toBe(0);
    });
  });
});

describe('ConnectionPool that is told to go away', () => {
  it('makes a new connection for new calls and lets the old ones finish', async () => {
    const { client, server } = await connected();
    const connection = await server.connection(1);
    const { call, seen } = client.start('hang');
    await connection.running('hang');
    connection.peer!.drain('restart');
    await server.connection(2);
    await client.all(1);
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
    expect((await server.connection(2)).started).toEqual(['echo']);
    expect(seen.events).toEqual([]);
    expect(client.pool.connections.filter(({ isDraining }) => isDraining)).toHaveLength(1);
    const closed = once(connection.socket, 'close');
    call.cancel();
    await closed;
  });

  it('moves calls that the server will not start', async () => {
    const { client, server } = await connected();
    const connection = await server.connection(1);
    connection.socket.pause();
    // These are on their way when the server says that it has seen none of them.
    const { seen } = client.start('echo', 'moved', { timeout: 500 });
    connection.peer!.drain('restart');
    client.clock.advance(100);
    const second = await server.connection(2);
    connection.socket.resume();
    await seen.ended;
    expect(seen.events).toEqual(['moved', 'complete']);
    expect(connection.started).toEqual([]);
    expect(second.metadata).toEqual([{ 'grpc-timeout': '400m' }]);
  });

  it.each([
    ['answered', [message(2, 1, '"first"')], ['first']],
    ['begun to answer', [part(Kind.Message, 2, 1, '"fir')], []],
    ['taken the request of', [windowUpdate(2, 1)], []],
  ])('moves no call that the server has %s, whatever it says', async (_what, frames, answers) => {
    const { client, server } = await connected({}, await serve({ handlers: { deaf: hang } }));
    const { socket } = await server.connection(1);
    const { seen } = client.start('deaf');
    const goaway = marshalControl({ type: 'goaway', lastStreamId: 1, reason: '' });
    socket.write(Buffer.concat([...frames, message(1, 2, goaway)]));
    const failure = { code: 14, message: 'the server is shutting down' };
    expect(await seen.failure()).toMatchObject(failure);
    expect(seen.events).toEqual([...answers, expect.objectContaining(failure)]);
    await client.all(1);
    expect((await server.connection(2)).started).toEqual([]);
  });

  it('moves a call that was sent no more than ten times', async () => {
    const { client, server } = await connected();
    const { seen } = client.start('hang');
    const goaway = marshalControl({ type: 'goaway', lastStreamId: 1, reason: '' });
    let count = 0;
    const isOver = seen.ended.then(() => true);
    const isAsked = async (): Promise<boolean> => {
      await (await server.connection(count + 1)).running('hang');
      return false;
    };
    while (count < 20 && !(await Promise.race([isOver, isAsked()]))) {
      client.clock.advance(1000);
      server.connections[count++]!.socket.write(message(1, 2, goaway));
    }
    expect(count).toBe(11);
    expect(await seen.failure()).toMatchObject({ code: 14, message: 'the server is shutting down' });
  });

  it('by one that takes what is on its way, moves nothing: not even what the writer had no room for', async () => {
    const { client, server } = await connected({ writerBufferSize: 1000 });
    const connection = await server.connection(1);
    server.stop();
    client.clock.hold();
    const streamed = client.start('echo', undefined, {
      source: { start: (sink) => void sink.trySend('1'), stop: () => undefined },
    });
    const calls = [client.call('echo', 'x'.repeat(1000)), client.call('echo', 'waits')];
    const lost = client.becomes('disconnected');
    connection.peer!.retire('old');
    await lost;
    client.clock.release();
    expect(await Promise.all(calls)).toEqual([
      ['x'.repeat(1000), 'complete'],
      ['waits', 'complete'],
    ]);
    await streamed.seen.ended;
    expect(streamed.seen.events).toEqual([1, 'complete']);
    expect(connection.started).toEqual(['echo', 'echo', 'echo']);
  });

  it('moves them nevertheless when that one closes before it has seen them', async () => {
    const { client, server } = await connected();
    const connection = await server.connection(1);
    connection.socket.pause();
    const { seen } = client.start('echo', 'moved');
    connection.peer!.retire('old');
    await client.becomes('disconnected');
    connection.peer!.drain('restart');
    connection.manager!.finish(new ClosedError('restart'), 2000);
    connection.socket.resume();
    await seen.ended;
    expect(seen.events).toEqual(['moved', 'complete']);
    expect(connection.started).toEqual([]);
  });

  it('moves calls for which the writer had no room yet', async () => {
    const { client, server } = await connected({ writerBufferSize: 1000 });
    const connection = await server.connection(1);
    client.clock.hold();
    const calls = [client.call('echo', 'x'.repeat(1000)), client.call('echo', 'waits')];
    const lost = client.becomes('disconnected');
    connection.peer!.drain('restart');
    await lost;
    client.clock.release();
    expect(await Promise.all(calls)).toEqual([
      ['x'.repeat(1000), 'complete'],
      ['waits', 'complete'],
    ]);
    expect(connection.started).toEqual([]);
  });

  it('moves them however many may wait for a connection', async () => {
    const { client, server } = await connected({ failFast: false, maxQueuedCalls: 1 });
    const connection = await server.connection(1);
    connection.socket.pause();
    const calls = [1, 2, 3].map((n) => client.call('echo', n));
    connection.peer!.drain('restart');
    await server.connection(2);
    connection.socket.resume();
    expect(await Promise.all(calls)).toEqual([1, 2, 3].map((n) => [n, 'complete']));
  });

  it('fails calls above the last one that gave away part of their request', async () => {
    const { client, server } = await connected();
    const connection = await server.connection(1);
    connection.socket.pause();
    const { seen } = client.start('echo', undefined, {
      source: { start: (sink) => void sink.trySend('1'), stop: () => undefined },
    });
    connection.peer!.drain('restart');
    expect(await seen.failure()).toMatchObject({ code: 14, message: 'restart' });
  });

  it('closes an idle connection at once', async () => {
    const { client, server } = await connected();
    const connection = await server.connection(1);
    const closed = once(connection.socket, 'close');
    connection.peer!.drain('restart');
    await closed;
    await server.connection(2);
    await client.all(1);
    expect(client.statuses).toEqual(['connected', 'disconnected', 'reconnecting', 'connected']);
  });

  it('by every connection as soon as it is open, does not turn around', async () => {
    const { client, server } = await connected();
    for (const n of [1, 2, 3, 4, 5]) {
      const connection = await server.connection(n);
      await client.all(1);
      connection.peer!.drain('restart');
      await once(connection.socket, 'close');
    }
    // The first had lived for a second, three more may be restarts.
    expect(client.pool.status).toBe('disconnected');
    expect(server.connections).toHaveLength(5);
    const again = client.becomes('connected');
    client.clock.advance(100);
    await again;
  });

  it('by one restart, however many connections that ends, dials at once', async () => {
    const server = await serve();
    const client = new TestPool({ addresses: [server.address], connections: 5, pingInterval: 0 });
    await client.pool.connect();
    await client.all(5);
    for (const { peer } of server.connections) peer!.drain('restart');
    await server.connection(10);
    await client.all(5);
    expect(client.pool.status).toBe('connected');
  });

  it('has forgotten earlier failures, and tries twice as for the first time', async () => {
    const server = await serve();
    let failures = 1;
    const dial = (): Promise<Duplex> => (failures-- > 0 ? Promise.reject(new Error('down')) : dialTo(server));
    const client = new TestPool({ addresses: [server.address], dial, failFast: false, pingInterval: 0 });
    const failed = client.nextError();
    const first = client.call('echo', 1);
    await failed;
    client.clock.advance(100);
    expect(await first).toEqual([1, 'complete']);
    const sentAway = server.connection(2).then(({ peer }) => peer!.drain('restart'));
    (await server.connection(1)).peer!.drain('restart');
    await sentAway;
    expect(await client.call('echo', 2)).toEqual([2, 'complete']);
    expect(client.errors).toHaveLength(1);
  });

  it('by a refusal, as it knows no goaway, takes another connection', async () => {
    const server = await serve({ connection: { plainClients: 'cockroach' } });
    const { client } = await connected({ peer: 'cockroach' }, server);
    const connection = await server.connection(1);
    const { call, seen } = client.start('hang');
    await connection.running('hang');
    connection.peer!.drain('restart');
    const moved = client.start('echo', 1);
    await client.becomes('connected');
    client.clock.advance(20);
    await moved.seen.ended;
    expect(moved.seen.events).toEqual([1, 'complete']);
    expect(server.connections.map(({ started }) => started)).toEqual([['hang'], ['echo']]);
    expect(seen.events).toEqual([]);
    const closed = once(connection.socket, 'close');
    call.cancel();
    await closed;
  });

  it('fails calls with code 14 when nobody takes its place', async () => {
    const { client, server } = await connected();
    const connection = await server.connection(1);
    connection.socket.pause();
    const { seen } = client.start('echo', 1);
    server.stop();
    connection.peer!.drain('restart');
    expect(await seen.failure()).toMatchObject({ code: 14 });
  });
});

/** What a server that is restarted does to a connection that has just come. */
const SENDING_AWAY: [string, (connection: ServerConnection) => void][] = [
  ['says so before a call could be made', ({ peer }) => peer!.drain('restart')],
  ['closes before it said who it is', ({ socket }) => void socket.end()],
  ['resets before it said who it is', ({ socket }) => void socket.resetAndDestroy()],
];

describe.each(SENDING_AWAY)('ConnectionPool whose server %s', (_, sendAway) => {
  it('asks its successor at once, and no call fails', async () => {
    const server = await serve();
    const client = new TestPool({ addresses: [server.address] });
    const first = server.connection(1).then((connection) => {
      sendAway(connection);
      return new Promise((resolve) => connection.socket.once('close', resolve));
    });
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
    // It is not kept beside the other.
    await first;
    expect(server.connections.map(({ started }) => started)).toEqual([[], ['echo']]);
    expect(client.errors).toEqual([]);
  });

  it('does not ask twice where nobody was there before', async () => {
    const server = await serve();
    let isUp = false;
    const client = new TestPool({
      addresses: [CUSTOM],
      dial: () => (isUp ? dialTo(server) : Promise.reject(new Error('down'))),
    });
    expect(await client.call('echo', 1)).toEqual([expect.objectContaining({ code: 14 })]);
    isUp = true;
    client.clock.advance(100);
    const first = server.connection(1).then(sendAway);
    expect(await client.call('echo', 2)).toEqual([expect.objectContaining({ code: 14 })]);
    await first;
    expect(server.connections).toHaveLength(1);
  });

  it('fails calls when that happens twice, and pauses', async () => {
    const server = await serve();
    const client = new TestPool({ addresses: [server.address] });
    const both = [1, 2].map((n) => server.connection(n).then(sendAway));
    expect(await client.call('echo', 1)).toEqual([expect.objectContaining({ code: 14 })]);
    await Promise.all(both);
    expect(await client.call('echo', 2)).toEqual([expect.objectContaining({ code: 14 })]);
    expect(server.connections).toHaveLength(2);
  });
});

/** A connection made by hand. */
async function dialTo(server: TestServer): Promise<Duplex> {
  const socket = connect(server.port, '127.0.0.1');
  await once(socket, 'connect');
  return socket;
}
