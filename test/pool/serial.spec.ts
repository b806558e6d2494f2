import { once } from 'node:events';
import { Socket } from 'node:net';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { CONTROL_RPC } from '../../lib/control/control-message.js';
import type { PoolOptions } from '../../lib/pool/pool.options.js';
import { CHECK_RPC } from '../../lib/pool/read-check.js';
import {
  echo,
  hang,
  TestServer,
  type Serve,
  type ServerConnection,
  type ServerKind,
} from './helpers/test-server.js';
import { TestPool } from './helpers/test-pool.js';

/** Two values, then silence. */
const tick: Serve = async (rpc, connection) => {
  await rpc.msgSend(0);
  await rpc.msgSend(1);
  return hang(rpc, connection);
};

const HANDLERS: Record<string, Serve> = { echo, hang, tick };

async function plain(options: Partial<PoolOptions> = {}) {
  const server = await TestServer.listen({ kind: 'plain', handlers: HANDLERS });
  const client = new TestPool({ addresses: [server.address], peer: 'storj', ...options });
  return { server, client };
}

/** A client that has made a call to a server which did not answer its first connection. */
async function firstSilent(kindOf: (count: number) => ServerKind) {
  const server = await TestServer.listen({ kindOf, handlers: HANDLERS });
  const client = new TestPool({ addresses: [server.address], pingInterval: 0 });
  const { seen } = client.start('echo', 1);
  await (await server.connection(1)).asked();
  client.clock.advance(2000);
  await seen.ended;
  expect(seen.events).toEqual([1, 'complete']);
  await client.idle();
  return { server, client };
}

/** The streams of the frames that came, in order. */
function streamIds({ frames }: ServerConnection): number[] {
  return frames.map((line) => Number(/ s(\d+) /.exec(`${line} `)![1]));
}

describe('ConnectionPool of a server that carries one call a connection', () => {
  it('sends one call after the other on one connection', async () => {
    const { client, server } = await plain();
    for (const text of ['a', 'b', 'c']) expect(await client.call('echo', text)).toEqual([text, 'complete']);
    expect(server.connections).toHaveLength(1);
    expect(server.connections[0]!.frames).toEqual([
      ...['Invoke s1 m1 echo', 'Message s1 m2 "a"', 'CloseSend s1 m3'],
      ...['Invoke s2 m1 /nestjs.drpc.v1.Control/Check', 'CloseSend s2 m2'],
      ...['Invoke s3 m1 echo', 'Message s3 m2 "b"', 'CloseSend s3 m3'],
      ...['Invoke s4 m1 echo', 'Message s4 m2 "c"', 'CloseSend s4 m3'],
    ]);
  });

  it('answers a hundred calls that come at once', async () => {
    const { client, server } = await plain({ maxConnections: 10 });
    const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => client.call('echo', i)));
    expect(answers).toEqual(Array.from({ length: 100 }, (_, i) => [i, 'complete']));
    expect(server.connections).toHaveLength(10);
  });

  it('never sends a frame of an older stream after one of a newer', async () => {
    const { client, server } = await plain({ maxConnections: 3 });
    const calls = Array.from({ length: 60 }, async (_, i) => {
      const { call, seen } = client.start(['echo', 'hang', 'tick'][i % 3]!, i);
      // In every state: before it was sent, while it runs, amidst its answers, after its end.
      if (i % 3 === 1) setImmediate(() => call.cancel());
      if (i % 3 === 2) void seen.seen(1).then(() => call.cancel());
      if (i % 3 === 0) await seen.ended;
      else await client.call('echo', 'fence');
      if (i % 3 === 2 && i % 2 === 0) call.cancel();
    });
    await Promise.all(calls);
    expect(server.connections).toHaveLength(3);
    for (const connection of server.connections) {
      const ids = streamIds(connection);
      expect(ids).toEqual(ids.toSorted((a, b) => a - b));
      expect(connection.socket.destroyed).toBe(false);
    }
  });

  it('dials another connection for a call while the others are busy', async () => {
    const { client, server } = await plain();
    const busy = client.start('tick');
    await busy.seen.seen(2);
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
    expect(server.connections).toHaveLength(2);
    expect(busy.seen.events).toEqual([0, 1]);
  });

  it('waits when there are as many as there may be', async () => {
    const { client, server } = await plain({ maxConnections: 2 });
    const first = client.start('hang');
    client.start('hang');
    await (await server.connection(2)).running('hang');
    const { seen } = client.start('echo', 'late');
    await client.pool.connect();
    expect(client.pool.waiting).toBe(1);
    first.call.cancel();
    await seen.ended;
    expect(seen.events).toEqual(['late', 'complete']);
    expect(server.connections).toHaveLength(2);
  });

  it('does not fail a call that waits when no further connection can be had', async () => {
    const { client, server } = await plain();
    const busy = client.start('hang');
    await (await server.connection(1)).running('hang');
    server.stop();
    const failed = client.nextError();
    const { seen } = client.start('echo', 'late');
    await failed;
    expect(seen.events).toEqual([]);
    busy.call.cancel();
    await seen.ended;
    expect(seen.events).toEqual(['late', 'complete']);
  });

  it('takes the connection that was free longest', async () => {
    const { client, server } = await plain();
    const calls = [client.start('tick', 0), client.start('tick', 1), client.start('tick', 2)];
    await Promise.all(calls.map(({ seen }) => seen.seen(2)));
    const carried = calls.map((_, i) =>
      server.connections.find(({ frames }) => frames.includes(`Message s1 m2 ${i}`))!,
    );
    for (const at of [2, 0, 1]) calls[at]!.call.cancel();
    await client.idle();
    const order: number[] = [];
    for (let i = 0; i < 4; i++) {
      const counts = carried.map(({ started }) => started.length);
      await client.call('echo', i);
      order.push(carried.findIndex(({ started }, at) => started.length > counts[at]!));
    }
    expect(order).toEqual([2, 0, 1, 2]);
  });

  it('uses a connection again after a cancel', async () => {
    const { client, server } = await plain();
    const { call, seen } = client.start('tick');
    await seen.seen(2);
    call.cancel();
    await client.idle();
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
    expect(server.connections).toHaveLength(1);
    expect(server.connections[0]!.frames).toContain('Cancel! s1 m4');
  });

  it('prefers another connection to one that was cancelled a moment ago', async () => {
    const { client, server } = await plain();
    const { call } = client.start('hang');
    await (await server.connection(1)).running('hang');
    call.cancel();
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
    const [first, second] = server.connections.map(({ started }) =>
      started.filter((rpc) => rpc !== CHECK_RPC),
    );
    expect([first, second]).toEqual([['hang'], ['echo']]);
  });

  it('prefers another connection to one whose call ran out of time', async () => {
    const { client, server } = await plain();
    const { seen } = client.start('hang', 1, { timeout: 100 });
    await (await server.connection(1)).running('hang');
    client.clock.advance(100);
    await seen.ended;
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
    expect(server.connections).toHaveLength(2);
  });

  it('uses one that was cancelled a moment ago when no other can be had', async () => {
    const { client, server } = await plain({ maxConnections: 1 });
    const { call } = client.start('hang');
    await (await server.connection(1)).running('hang');
    call.cancel();
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
    expect(server.connections).toHaveLength(1);
  });

  it('uses one that was cancelled a moment ago when dialling fails', async () => {
    const { client, server } = await plain();
    const { call } = client.start('hang');
    await (await server.connection(1)).running('hang');
    server.stop();
    call.cancel();
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
  });

  it('lets go of connections that nobody needed for long, but for as many as it has anyway', async () => {
    const { client, server } = await plain({ idleTimeout: 5000 });
    await Promise.all(Array.from({ length: 4 }, (_, i) => client.call('echo', i)));
    expect(server.open).toBe(4);
    client.clock.advance(4999);
    expect(client.pool.connections.filter(({ isDraining }) => isDraining)).toHaveLength(0);
    const closed = server.connections.map(({ socket }) => once(socket, 'close'));
    client.clock.advance(1);
    await Promise.race(closed);
    await client.left(1);
    expect(client.pool.status).toBe('connected');
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
  });

  it('counts the idle time from the last call', async () => {
    const { client, server } = await plain({ idleTimeout: 5000 });
    await Promise.all([client.call('echo', 1), client.call('echo', 2)]);
    for (let i = 0; i < 3; i++) {
      // Or the check after a call would run out of time.
      await client.idle();
      client.clock.advance(3000);
      await Promise.all([client.call('echo', 1), client.call('echo', 2)]);
    }
    expect(client.pool.connections).toHaveLength(2);
    // The first ones: none was let go of and made anew.
    expect(server.connections).toHaveLength(2);
  });

  it('lets go of each in its time, without a call in between', async () => {
    const { client, server } = await plain({ idleTimeout: 5000 });
    await Promise.all([1, 2, 3].map((n) => client.call('echo', n)));
    await client.idle();
    client.clock.advance(3000);
    await Promise.all([1, 2].map((n) => client.call('echo', n)));
    await client.idle();
    client.clock.advance(2000);
    await client.left(2);
    client.clock.advance(2999);
    expect(client.pool.connections.map(({ isDraining }) => isDraining)).toEqual([false, false]);
    client.clock.advance(1);
    await client.left(1);
    expect(server.connections).toHaveLength(3);
  });

  it('keeps them for ever with an idle timeout of 0', async () => {
    const { client } = await plain({ idleTimeout: 0 });
    await Promise.all([client.call('echo', 1), client.call('echo', 2)]);
    await client.idle();
    client.clock.advance(1_000_000);
    expect(client.pool.connections.map(({ isDraining }) => isDraining)).toEqual([false, false]);
    expect(client.clock.pendingTimers).toBe(0);
  });

  it('does not connect again before a call needs it, as servers close what is idle', async () => {
    const { client, server } = await plain();
    await client.call('echo', 1);
    await client.idle();
    const lost = client.becomes('disconnected');
    server.connections[0]!.socket.destroy();
    await lost;
    expect(client.clock.pendingTimers).toBe(0);
    expect(client.pool.status).toBe('disconnected');
    expect(await client.call('echo', 2)).toEqual([2, 'complete']);
    expect(server.connections).toHaveLength(2);
  });

  it('spreads over several servers', async () => {
    const servers = [
      await TestServer.listen({ kind: 'plain', handlers: HANDLERS }),
      await TestServer.listen({ kind: 'plain', handlers: HANDLERS }),
    ];
    const client = new TestPool({ addresses: servers.map(({ address }) => address), peer: 'storj' });
    await Promise.all(Array.from({ length: 20 }, (_, i) => client.call('echo', i)));
    for (const { connections } of servers) expect(connections.length).toBeGreaterThan(3);
  });

  it('lets the kernel watch it, which is not pinged', async () => {
    const watch = vi.spyOn(Socket.prototype, 'setKeepAlive');
    onTestFinished(() => watch.mockRestore());
    const pinged = await TestServer.listen({ handlers: HANDLERS });
    expect(await new TestPool({ addresses: [pinged.address] }).call('echo', 1)).toEqual([1, 'complete']);
    expect(watch).not.toHaveBeenCalled();
    const { client } = await plain();
    await client.call('echo', 1);
    expect(watch.mock.calls).toEqual([[true, 30_000]]);
  });

  it('has no windows and no control stream on it', async () => {
    const { client, server } = await plain();
    const { seen } = client.start('tick');
    await seen.seen(2);
    const kinds = server.connections[0]!.frames.map((line) => line.split(' ')[0]);
    expect(kinds).toEqual(['Invoke', 'Message', 'CloseSend']);
  });
});

describe('ConnectionPool that finds a plain server', () => {
  it('treats it as serial, says so once, and probes no connection beside one that is open', async () => {
    const { client, server } = await plain({ peer: 'auto' });
    await Promise.all(Array.from({ length: 5 }, (_, i) => client.call('echo', i)));
    expect(client.pool.connections.map(({ profile }) => profile)).toEqual(Array(5).fill('storj'));
    expect(client.plainPeers).toEqual([server.address]);
    expect(client.silentPeers).toEqual([]);
    const probed = server.connections.filter(({ started }) => started.includes(CONTROL_RPC));
    expect(probed).toHaveLength(1);
  });

  it('does not say so when it was told beforehand', async () => {
    const { client } = await plain();
    await client.call('echo', 1);
    expect(client.plainPeers).toEqual([]);
  });

  it('dials a silent server again without a probe, and for a minute', async () => {
    const server = await TestServer.listen({
      kindOf: (count) => (count === 1 || count === 4 ? 'silent' : 'plain'),
      handlers: HANDLERS,
    });
    const client = new TestPool({ addresses: [server.address], handshakeTimeout: 2000 });
    const first = client.start('echo', 1);
    await client.passUntil(first.seen);
    expect(first.seen.events).toEqual([1, 'complete']);
    expect(client.plainPeers).toEqual([server.address]);
    expect(client.silentPeers).toEqual([server.address]);

    const lose = async (): Promise<void> => {
      await client.idle();
      client.clock.advance(1000);
      const lost = client.becomes('disconnected');
      server.connections.at(-1)!.socket.destroy();
      await lost;
    };
    await lose();
    expect(await client.call('echo', 2)).toEqual([2, 'complete']);
    expect(server.connections[2]!.started).not.toContain(CONTROL_RPC);

    await lose();
    client.clock.advance(60_000);
    const again = client.start('echo', 3);
    await client.passUntil(again.seen);
    expect(again.seen.events).toEqual([3, 'complete']);
    expect(server.connections).toHaveLength(5);
  });

  it('asks one that was silent again after a minute, and leaves what it made on its guess in peace', async () => {
    const { client, server } = await firstSilent((count) => (count === 1 ? 'silent' : 'own'));
    expect(client.pool.connections).toMatchObject([{ profile: 'storj' }]);
    const busy = client.start('tick');
    await busy.seen.seen(2);
    client.clock.advance(59_999);
    expect(client.pool.connections).toHaveLength(1);
    client.clock.advance(1);
    await client.found('own');
    expect(client.pool.connections).toMatchObject([
      { profile: 'storj', calls: 1, isDraining: true },
      { profile: 'own', calls: 0, isDraining: false },
    ]);
    await Promise.all(Array.from({ length: 20 }, (_, i) => client.call('echo', i)));
    expect(server.connections).toHaveLength(3);
    busy.call.cancel();
    await client.left(1);
    expect([client.statuses, client.errors]).toEqual([['connected'], []]);
    client.clock.advance(600_000);
    expect(server.connections).toHaveLength(3);
  });

  it('keeps to its guess when it is silent again, and asks once a minute', async () => {
    const { client, server } = await firstSilent((count) => (count % 2 === 1 ? 'silent' : 'plain'));
    client.clock.advance(60_000);
    await (await server.connection(3)).asked();
    const closed = once(server.connections[2]!.socket, 'close');
    client.clock.advance(2000);
    await closed;
    expect(await client.call('echo', 2)).toEqual([2, 'complete']);
    client.clock.advance(59_999);
    expect(client.pool.connections).toMatchObject([{ profile: 'storj', isDraining: false }]);
    client.clock.advance(1);
    await server.connection(4);
    await client.all(2);
    expect(client.plainPeers).toHaveLength(1);
    // Now it has said that it is plain.
    client.clock.advance(600_000);
    expect(client.clock.pendingTimers).toBe(0);
  });

  it('asks no more when it is closed', async () => {
    const { client } = await firstSilent((count) => (count === 1 ? 'silent' : 'plain'));
    expect(client.clock.pendingTimers).toBe(1);
    await client.pool.close();
    expect(client.clock.pendingTimers).toBe(0);
  });

  it('opens few connections to one that was busy: the next asks again', async () => {
    const server = await TestServer.listen({
      kindOf: (count) => (count < 3 ? 'silent' : 'own'),
      handlers: HANDLERS,
    });
    const client = new TestPool({ addresses: [server.address] });
    const first = client.start('echo', 0);
    const others = Array.from({ length: 50 }, (_, i) => client.call('echo', i));
    await (await server.connection(1)).asked();
    client.clock.advance(2000);
    expect(await Promise.all(others)).toEqual(Array.from({ length: 50 }, (_, i) => [i, 'complete']));
    expect(server.connections).toHaveLength(3);
    expect(first.seen.events).toEqual([]);
  });

  it('opens one connection after the other to one that answers nothing', async () => {
    const server = await TestServer.listen({ kind: 'silent' });
    const client = new TestPool({ addresses: [server.address] });
    for (let i = 0; i < 20; i++) client.start('echo', i);
    for (let open = 1; open < 5; open++) {
      const asking = await server.connection(2 * open - 1);
      await asking.asked();
      expect(asking.frames[0]).toBe(`Invoke s1 m1 ${CONTROL_RPC}`);
      client.clock.advance(2000);
      await client.all(open);
      expect(client.pool.connections).toHaveLength(open);
    }
    expect(server.connections).toHaveLength(8);
  });

  it('opens as many as are needed once it has answered a call', async () => {
    const server = await TestServer.listen({
      kindOf: (count) => (count === 1 || count === 3 ? 'silent' : 'plain'),
      handlers: HANDLERS,
    });
    const client = new TestPool({ addresses: [server.address] });
    const calls = Array.from({ length: 20 }, () => client.start('tick'));
    for (const count of [1, 3]) {
      await (await server.connection(count)).asked();
      client.clock.advance(2000);
    }
    await Promise.all(calls.map(({ seen }) => seen.seen(2)));
    expect(client.pool.connections).toHaveLength(20);
    expect(server.connections).toHaveLength(22);
  });

  it('does not guess where another connection was answered', async () => {
    const server = await TestServer.listen({
      kindOf: (count) => (count === 2 ? 'silent' : 'own'),
      handlers: HANDLERS,
    });
    const client = new TestPool({ addresses: [server.address], connections: 2, pingInterval: 0 });
    await client.pool.connect();
    await (await server.connection(2)).asked();
    const failed = client.nextError();
    client.clock.advance(2000);
    await failed;
    expect(client.errors).toMatchObject([{ cause: { name: 'SilentPeerError' } }]);
    client.clock.advance(100);
    await client.all(2);
    expect(client.pool.connections.map(({ profile }) => profile)).toEqual(['own', 'own']);
    expect(client.plainPeers).toEqual([]);
  });

  it.each(['roundRobin', 'leastLoaded'] as const)(
    'spreads calls evenly over it and one that carries many: %s',
    async (balance) => {
      const servers = [
        await TestServer.listen({ kind: 'own', handlers: HANDLERS }),
        await TestServer.listen({ kind: 'plain', handlers: HANDLERS }),
      ];
      const addresses = servers.map(({ address }) => address);
      const client = new TestPool({ addresses, balance, connections: 2 });
      await client.pool.connect();
      await client.all(4);
      for (let i = 0; i < 40; i++) {
        await client.call('echo', i);
        await client.idle();
      }
      const calls = servers.map(({ connections }) =>
        connections.flatMap(({ started }) => started).filter((rpc) => rpc === 'echo'),
      );
      expect(calls.map(({ length }) => length)).toEqual([20, 20]);
    },
  );

  it('sends many calls on one connection where the option says that it may', async () => {
    const { client, server } = await plain({ peer: 'cockroach' });
    await client.pool.connect();
    const busy = client.start('hang');
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
    expect(server.connections).toHaveLength(1);
    expect(busy.call.isDone).toBe(false);
  });
});
