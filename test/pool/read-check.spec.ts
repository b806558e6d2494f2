import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { DrpcCode } from '../../lib/errors/codes.js';
import { DrpcError } from '../../lib/errors/drpc-error.js';
import { jsonEncoding } from '../../lib/encoding/encoding.js';
import type { PoolHooks } from '../../lib/pool/connection-pool.js';
import type { RequestFeed } from '../../lib/pool/outbox.js';
import type { PoolOptions } from '../../lib/pool/pool.options.js';
import { CHECK_RPC } from '../../lib/pool/read-check.js';
import { TestPool } from './helpers/test-pool.js';
import { echo, hang, TestServer, type Serve } from './helpers/test-server.js';

/** Ends well and reads nothing from then on, as storj/drpc does behind a message that nobody takes. */
const wedge: Serve = async (rpc, { socket }) => {
  await rpc.msgSend('done');
  socket.pause();
};

/** Takes no notice of cancels. */
const stubborn: Serve = () => new Promise(() => undefined);

/** Reads no more than the first message. */
const first: Serve = async (rpc) => rpc.msgSend(await rpc.msgRecv());

const fail: Serve = () => {
  throw new DrpcError(DrpcCode.NotFound, 'nothing here');
};

const HANDLERS: Record<string, Serve> = { echo, hang, wedge, stubborn, first, fail };

async function plain(options: Partial<PoolOptions> = {}, handlers = HANDLERS, hooks: PoolHooks = {}) {
  const server = await TestServer.listen({ kind: 'plain', handlers });
  const settings = { addresses: [server.address], peer: 'storj', handshakeTimeout: 500 } as const;
  const client = new TestPool({ ...settings, ...options }, hooks);
  /** The rpcs that were started, of all connections. */
  const started = (): string[] => server.connections.flatMap((connection) => connection.started);
  return { server, client, started };
}

/** A request stream of these messages. */
function feed(...messages: unknown[]): RequestFeed {
  return {
    start(sink) {
      for (const message of messages) sink.trySend(jsonEncoding.marshal(message));
      sink.closeSend();
    },
    stop() {},
  };
}

describe('ReadCheck', () => {
  it('follows the first call of an rpc, and no other that ends as well', async () => {
    const { client, started } = await plain();

    for (const n of [1, 2, 3]) expect(await client.call('echo', n)).toEqual([n, 'complete']);
    await client.call('first', 4);
    await client.idle();

    expect(started()).toEqual(['echo', CHECK_RPC, 'echo', 'echo', 'first', CHECK_RPC]);
  });

  it('follows every request stream: who takes one whole may leave the next', async () => {
    const { client, started } = await plain();

    for (let i = 0; i < 2; i++) {
      expect(await client.call('first', undefined, { source: feed(1, 2, 3) })).toEqual([1, 'complete']);
      await client.idle();
    }

    expect(started()).toEqual(['first', CHECK_RPC, 'first', CHECK_RPC]);
  });

  it('does not follow an error: the server drops what it had not read', async () => {
    const { client, started } = await plain();

    for (let i = 0; i < 2; i++) await client.call('fail', undefined, { source: feed(1, 2, 3) });

    expect(started()).toEqual(['fail', 'fail']);
    expect(client.clock.pendingTimers).toBe(0);
  });

  it('follows a cancel: the connection is used again once it is answered', async () => {
    const { client, server, started } = await plain({ maxConnections: 1 });
    const { call } = client.start('hang');
    await (await server.connection(1)).running('hang');

    call.cancel();

    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
    expect(started().slice(0, 3)).toEqual(['hang', CHECK_RPC, 'echo']);
    expect(server.connections).toHaveLength(1);
  });

  it('does not follow a cancel of what was never sent', async () => {
    const { client, started } = await plain();
    await client.pool.connect();

    client.start('hang').call.cancel();
    await client.call('echo', 1);
    await client.idle();

    // Invoke and Cancel went out together; the server knows of the call, and may start it.
    expect(started().filter((rpc) => rpc === 'echo')).toEqual(['echo']);
  });

  it('closes a connection that is not read any more, and a call that waits gets another', async () => {
    const { client, server } = await plain();
    expect(await client.call('wedge')).toEqual(['done', 'complete']);
    const { seen } = client.start('echo', 'next');

    client.clock.advance(500);

    await seen.ended;
    expect(seen.events).toEqual(['next', 'complete']);
    expect(client.pool.connections).toHaveLength(1);
    const [wedged] = server.connections;
    // What it had not read may be reset; it is over either way.
    wedged!.socket.resume();
    if (!wedged!.socket.destroyed) await once(wedged!.socket, 'close');
  });

  it('keeps a call waiting for a moment only: it gets another connection while the check goes on', async () => {
    const { client, server } = await plain();
    await client.call('wedge');
    const { seen } = client.start('echo', 'next', { timeout: 300 });
    expect(client.pool.waiting).toBe(1);

    client.clock.advance(99);
    expect(client.pool.waiting).toBe(1);
    client.clock.advance(1);

    await seen.ended;
    expect(seen.events).toEqual(['next', 'complete']);
    expect(server.open).toBe(2);
    expect(await client.call('echo', 'later')).toEqual(['later', 'complete']);
    client.clock.advance(400);
    expect(client.pool.connections).toHaveLength(1);
  });

  it('dials nothing for a check that takes long when no call waits', async () => {
    const { client, server } = await plain();
    await client.call('wedge');
    client.clock.advance(499);
    expect(client.pool.connections).toHaveLength(1);
    expect(server.connections).toHaveLength(1);
  });

  it('gives a connection back that answers late', async () => {
    let answer!: () => void;
    const answered = new Promise<void>((resolve) => (answer = resolve));
    const slow: Serve = async () => answered;
    const { client, server } = await plain({}, { ...HANDLERS, [CHECK_RPC]: slow });
    await client.call('first', 1);
    const { seen } = client.start('first', 2);
    client.clock.advance(100);
    await seen.ended;
    answer();
    await client.idle();
    for (const n of [3, 4, 5]) expect(await client.call('first', n)).toEqual([n, 'complete']);
    expect(server.open).toBe(2);
  });

  it('tells why', async () => {
    const causes: (Error | undefined)[] = [];
    const { client } = await plain({}, HANDLERS, { status: (_status, cause) => causes.push(cause) });
    await client.call('wedge');
    const lost = client.becomes('disconnected');

    client.clock.advance(500);

    await lost;
    expect(causes.at(-1)).toMatchObject({
      code: DrpcCode.Unavailable,
      message: 'the server stopped reading: it answered nothing for 500 ms after a call',
    });
  });

  it('closes a connection whose handler does not heed a cancel', async () => {
    const { client, server } = await plain({ maxConnections: 1 }, { ...HANDLERS, [CHECK_RPC]: stubborn });
    const { call } = client.start('stubborn');
    await (await server.connection(1)).running('stubborn');
    call.cancel();
    const { seen } = client.start('echo', 'next');
    const closed = once(server.connections[0]!.socket, 'close');

    client.clock.advance(500);

    await closed;
    await seen.ended;
    expect(seen.events).toEqual(['next', 'complete']);
  });

  it('takes any answer', async () => {
    const served: Serve = async (rpc, connection) => {
      await rpc.msgSend('here');
      return hang(rpc, connection);
    };
    const { client, server } = await plain({}, { ...HANDLERS, [CHECK_RPC]: served });

    for (const n of [1, 2]) expect(await client.call('echo', n)).toEqual([n, 'complete']);

    expect(server.connections).toHaveLength(1);
    expect(client.clock.pendingTimers).toBe(0);
  });

  it('leaves nothing behind when the connection ends during it', async () => {
    const { client, server } = await plain();
    await client.call('wedge');
    const lost = client.becomes('disconnected');

    server.connections[0]!.socket.destroy();

    await lost;
    expect(client.clock.pendingTimers).toBe(0);
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
  });
});

describe('ReadCheck among other calls', () => {
  /** A server that reads nothing more once a stream has four messages waiting, as cockroachdb/drpc without windows. */
  async function shared(options: Partial<PoolOptions> = {}, hooks: PoolHooks = {}) {
    const server = await TestServer.listen({
      kind: 'plain',
      handlers: HANDLERS,
      connection: { recvQueueMessages: 4 },
    });
    const settings = { addresses: [server.address], peer: 'cockroach', handshakeTimeout: 500 } as const;
    const client = new TestPool({ ...settings, ...options }, hooks);
    await client.pool.connect();
    const connection = await server.connection(1);
    return { server, client, connection };
  }

  const draining = (client: TestPool): boolean[] =>
    client.pool.connections.map(({ isDraining }) => isDraining);

  it('follows each call that was given up, and none that ended by itself', async () => {
    const { client, connection } = await shared();
    await client.call('echo', 1);
    await client.call('first', undefined, { source: feed(1, 2, 3) });
    await client.call('fail');
    for (let i = 1; i <= 2; i++) {
      const { call } = client.start('hang');
      await connection.running('hang', i);
      call.cancel();
      await connection.running(CHECK_RPC, i);
    }
    expect(connection.started).toEqual(['echo', 'first', 'fail', 'hang', CHECK_RPC, 'hang', CHECK_RPC]);
    await client.call('echo', 1);
    expect([client.clock.pendingTimers, draining(client)]).toEqual([0, [false]]);
  });

  it('is made once for calls given up together, and once more for those that are meanwhile', async () => {
    const { client, connection } = await shared();
    const calls = [1, 2, 3, 4].map(() => client.start('hang').call);
    await connection.running('hang', 4);
    for (const call of calls) call.cancel();
    await connection.running(CHECK_RPC, 2);
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
    expect(connection.started.filter((rpc) => rpc === CHECK_RPC)).toHaveLength(2);
    expect(client.pool.connections).toHaveLength(1);
  });

  it('does not follow what was never sent', async () => {
    const { client, connection } = await shared({ writerBufferSize: 1 });
    client.clock.hold();
    const { seen } = client.start('echo', 1);
    // Its Invoke waits for the writer.
    client.start('hang').call.cancel();
    client.clock.release();
    await seen.ended;
    await client.call('echo', 2);
    expect(connection.started).toEqual(['echo', 'echo']);
  });

  it('makes new calls elsewhere when a handler has stopped the connection; those that run go on', async () => {
    const causes: (string | undefined)[] = [];
    const { client, connection, server } = await shared(
      {},
      { status: (_status, cause) => causes.push(cause?.message) },
    );
    const running = client.start('hang');
    await connection.running('hang', 1);
    const { call } = client.start('stubborn', undefined, { source: feed(...Array(10).keys()) });
    await connection.running('stubborn', 1);
    call.cancel();
    // It lies behind what nobody takes.
    const stuck = client.start('echo', 'stuck', { timeout: 10_000 });

    client.clock.advance(500);

    expect(causes).toContain('the server stopped reading: it answered nothing for 500 ms after a call');
    expect(await client.call('echo', 'next')).toEqual(['next', 'complete']);
    expect(server.connections).toHaveLength(2);
    expect(draining(client)).toEqual([true, false]);
    expect([running.seen.events, stuck.seen.events]).toEqual([[], []]);

    // The last call that it has takes it along.
    stuck.call.cancel();
    running.call.cancel();
    client.clock.advance(2000);
    await client.left(1);
    expect(client.clock.pendingTimers).toBe(0);
  });

  it('is not made where windows keep calls apart', async () => {
    const window = 2 * 1024 * 1024;
    const server = await TestServer.listen({
      kind: 'plain',
      handlers: HANDLERS,
      connection: { sendWindow: window, recvWindow: window } as never,
    });
    const client = new TestPool({ addresses: [server.address], peer: 'cockroach-fc' });
    const { call } = client.start('hang');
    const connection = await server.connection(1);
    await connection.running('hang', 1);
    call.cancel();
    await client.call('echo', 1);
    expect(connection.started).toEqual(['hang', 'echo']);
  });
});
