import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { DrpcCode } from '../../lib/errors/codes.js';
import { CanceledError, ClosedError, DrpcError } from '../../lib/errors/drpc-error.js';
import { streamRefused } from '../../lib/errors/error-info.js';
import { bytesEncoding, jsonEncoding, type Encoding } from '../../lib/encoding/encoding.js';
import type { RequestFeed, RequestSink } from '../../lib/pool/outbox.js';
import type { PoolOptions } from '../../lib/pool/pool.options.js';
import { echo, hang, TestServer, type Serve } from './helpers/test-server.js';
import { TestPool } from './helpers/test-pool.js';

/** Sends what it is asked for: a number of numbers. */
const count: Serve = async (rpc) => {
  const wanted = (await rpc.msgRecv()) as number;
  for (let i = 0; i < wanted; i++) await rpc.msgSend(i);
};

/** Adds up what it is sent. */
const total: Serve = async (rpc) => {
  let sum = 0;
  for await (const value of rpc) sum += value as number;
  await rpc.msgSend(sum);
};

const fail: Serve = () => {
  throw new DrpcError(DrpcCode.NotFound, 'nothing here');
};

/** Two values, then silence. */
const tick: Serve = async (rpc, connection) => {
  await rpc.msgSend(0);
  await rpc.msgSend(1);
  return hang(rpc, connection);
};

const HANDLERS: Record<string, Serve> = { echo, count, total, fail, hang, tick };

async function connected(options: Partial<PoolOptions> = {}, handlers = HANDLERS) {
  const server = await TestServer.listen({ handlers });
  const client = new TestPool({ addresses: [server.address], ...options });
  await client.pool.connect();
  const connection = await server.connection(1);
  // A connection that ended sooner would count as a failed attempt.
  client.clock.advance(1000);
  return { server, client, connection };
}

/** A message of which two use up the window of a stream. */
const MEGABYTE = JSON.stringify('x'.repeat(1024 * 1024));

/** The frames that came to the server, once all of them have arrived. */
async function framesAfter(client: TestPool, connection: { frames: string[] }): Promise<string[]> {
  expect(await client.call('echo', 'fence')).toEqual(['fence', 'complete']);
  return connection.frames.slice(0, -3);
}

/** Messages that a test feeds by hand. */
class Feed implements RequestFeed {
  sink: RequestSink | undefined;
  stops = 0;
  #started!: () => void;
  readonly started = new Promise<void>((resolve) => {
    this.#started = resolve;
  });
  readonly #onStart: ((sink: RequestSink) => void) | undefined;

  constructor(onStart?: (sink: RequestSink) => void) {
    this.#onStart = onStart;
  }

  start(sink: RequestSink): void {
    this.sink = sink;
    this.#onStart?.(sink);
    this.#started();
  }

  stop(): void {
    this.stops++;
  }
}

describe('Call', () => {
  it('of one message is answered, in three frames', async () => {
    const { client, connection } = await connected();
    expect(await client.call('echo', 'hello')).toEqual(['hello', 'complete']);
    expect(connection.frames).toEqual(['Invoke s2 m1 echo', 'Message s2 m2 "hello"', 'CloseSend s2 m3']);
  });

  it('is written in the turn in which it is made', async () => {
    const { client, connection } = await connected();
    const written = connection.manager!.chunks;
    client.start('echo', 1);
    client.start('echo', 2);
    const { seen } = client.start('echo', 3);
    await seen.ended;
    // Three calls, one write.
    expect(connection.manager!.chunks).toBe(written + 1);
  });

  it('tells the last message and the end in one turn', async () => {
    const { client } = await connected();
    const { seen } = client.start('count', 3);
    const turns: number[] = [];
    for (const events of [1, 2, 3, 4]) void seen.seen(events).then(() => turns.push(seen.events.length));
    await seen.ended;
    expect(seen.events).toEqual([0, 1, 2, 'complete']);
  });

  it('has no Cancel when it is given up with its last message', async () => {
    const { client, connection } = await connected();
    const { call, seen } = client.start('echo', 'x');
    seen.next = () => call.cancel();
    await client.call('echo', 'fence');
    expect(connection.frames.filter((line) => line.startsWith('Cancel'))).toEqual([]);
    expect(seen.events).toEqual([]);
  });

  it('without an answer just ends', async () => {
    const { client } = await connected();
    expect(await client.call('count', 0)).toEqual(['complete']);
  });

  it('fails with what the server says', async () => {
    const { client } = await connected();
    expect(await client.call('fail')).toEqual([
      expect.objectContaining({ name: 'DrpcError', code: DrpcCode.NotFound, message: 'nothing here' }),
    ]);
    expect(await client.call('nobody')).toEqual([expect.objectContaining({ code: DrpcCode.Unimplemented })]);
  });

  it('sends its metadata', async () => {
    let seen: unknown;
    const { client } = await connected({}, { look: (rpc) => void (seen = rpc.metadata) });
    await client.call('look', null, { metadata: { Tenant: 'a' } });
    expect(seen).toEqual({ tenant: 'a' });
  });

  it.each<[string, Encoding, string | Buffer, unknown]>([
    ['json', jsonEncoding, '{"a":1}', { a: 1 }],
    ['bytes', bytesEncoding as Encoding, Buffer.from('"raw"'), Buffer.from('"raw"')],
  ])('decodes answers as its encoding says: %s', async (_name, encoding, payload, answer) => {
    const { client } = await connected();
    expect(await client.call('echo', undefined, { encoding, payload })).toEqual([answer, 'complete']);
  });

  it('decodes through a view where the encoding knows no ranges', async () => {
    const { client } = await connected();
    const encoding: Encoding = {
      name: 'own',
      marshal: String,
      unmarshal: (bytes) => `${bytes.length}:${Buffer.from(bytes).toString()}`,
    };
    expect(await client.call('echo', undefined, { encoding, payload: '"ab"' })).toEqual([
      '4:"ab"',
      'complete',
    ]);
  });

  it('ends when an answer can not be decoded, and cancels', async () => {
    const { client, connection } = await connected();
    const encoding: Encoding = {
      ...jsonEncoding,
      unmarshalRange: undefined,
      unmarshal: () => {
        throw new Error('no such thing');
      },
    };
    const { seen } = client.start('tick', null, { encoding });
    expect(await seen.failure()).toMatchObject({
      code: DrpcCode.Internal,
      message: 'an answer of "tick" is not valid json',
      cause: expect.objectContaining({ message: 'no such thing' }),
    });
    expect(await framesAfter(client, connection)).toContain('Cancel! s2 m4');
  });

  it('fails alone when its metadata are over the limit, also those that no frame of its server holds', async () => {
    const { client, connection } = await connected();
    const { call, seen } = client.start('hang');
    for (const size of [70_000, 5_000_000]) {
      expect(await client.call('echo', 1, { metadata: { key: 'x'.repeat(size) } })).toEqual([
        expect.objectContaining({ name: 'MessageSizeError', code: DrpcCode.ResourceExhausted }),
      ]);
    }
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
    expect(connection.started).toEqual(['hang', 'echo']);
    expect(seen.events).toEqual([]);
    call.cancel();
  });

  it('fails alone when its message is over the limit', async () => {
    const { client, connection } = await connected({ maxSendSize: 5000 });
    expect(await client.call('echo', 'x'.repeat(6000))).toEqual([
      expect.objectContaining({ name: 'MessageSizeError', code: DrpcCode.ResourceExhausted }),
    ]);
    expect(await client.call('echo', 'short')).toEqual(['short', 'complete']);
    expect(connection.socket.destroyed).toBe(false);
    expect(connection.started).toEqual(['echo']);
    expect(client.pool.connections[0]!.calls).toBe(0);
  });

  it('gets as many answers as it asks for', async () => {
    const { client } = await connected();
    const { call, seen } = client.start('count', 5, {}, 2);
    await seen.seen(2);
    await client.call('echo', 'fence');
    expect(seen.events).toEqual([0, 1]);
    call.request(1);
    await seen.seen(3);
    call.request(Infinity);
    await seen.ended;
    expect(seen.events).toEqual([0, 1, 2, 3, 4, 'complete']);
  });

  it('gets the answers it asked for before there was a connection', async () => {
    const server = await TestServer.listen({ handlers: HANDLERS });
    const client = new TestPool({ addresses: [server.address] });
    const { call, seen } = client.start('count', 3, {}, 0);
    call.request(2);
    await seen.seen(2);
    await client.call('echo', 'fence');
    expect(seen.events).toEqual([0, 1]);
  });
});

describe('Call that is cancelled', () => {
  it('before there is a connection sends nothing', async () => {
    const server = await TestServer.listen({ handlers: HANDLERS });
    const client = new TestPool({ addresses: [server.address] });
    const { call, seen } = client.start('echo', 'x');
    call.cancel();
    expect(client.pool.waiting).toBe(0);
    await client.call('echo', 'fence');
    expect((await server.connection(1)).started).toEqual(['echo']);
    expect(seen.events).toEqual([]);
  });

  it('in the turn in which it was made sends Invoke and one Cancel', async () => {
    const { client, connection } = await connected();
    const { call, seen } = client.start('hang', 'x');
    call.cancel();
    call.cancel();
    expect(await framesAfter(client, connection)).toEqual([
      'Invoke s2 m1 hang',
      'Message s2 m2 "x"',
      'CloseSend s2 m3',
      'Cancel! s2 m4',
    ]);
    expect(seen.events).toEqual([]);
  });

  it('while the server works sends one Cancel and leaves the others alone', async () => {
    const { client, connection } = await connected();
    const other = client.start('hang');
    const { call, seen } = client.start('hang');
    await connection.running('hang');
    call.cancel();
    call.abort(new Error('too late'));
    const frames = await framesAfter(client, connection);
    expect(frames.filter((line) => line.startsWith('Cancel'))).toEqual(['Cancel! s3 m4']);
    expect(seen.events).toEqual([]);
    expect(other.call.isDone).toBe(false);
  });

  it('in the middle of its answers gets no more of them', async () => {
    const { client, connection } = await connected();
    const { call, seen } = client.start('tick');
    await seen.seen(1);
    call.cancel();
    const atCancel = [...seen.events];
    expect(await framesAfter(client, connection)).toContain('Cancel! s2 m4');
    expect(seen.events).toEqual(atCancel);
  });

  it('after its end sends nothing', async () => {
    const { client, connection } = await connected();
    const { call, seen } = client.start('echo', 1);
    await seen.ended;
    call.cancel();
    call.unsubscribe();
    const frames = await framesAfter(client, connection);
    expect(frames.filter((line) => line.startsWith('Cancel'))).toEqual([]);
  });

  it('by abort tells its observer the cause, once', async () => {
    const { client } = await connected();
    const { call, seen } = client.start('hang');
    const cause = new Error('enough');
    call.abort(cause);
    call.abort(new Error('again'));
    expect(seen.events).toEqual([cause]);
  });
});

describe('Call whose observer throws', () => {
  it('harms no other call, and the process is warned', async () => {
    const server = await TestServer.listen({ handlers: HANDLERS });
    const client = new TestPool({ addresses: [server.address] });
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
    const throwing = client.start('echo', 1, { timeout: 10 });
    throwing.seen.error = () => {
      throw new Error('any');
    };
    const other = client.start('echo', 2);
    client.clock.advance(10);
    await other.seen.ended;
    expect(other.seen.events).toEqual([2, 'complete']);
    expect(await warned).toMatchObject({
      name: 'DrpcWarning',
      message: 'the observer of a call of "echo" threw',
    });
    expect(await client.call('echo', 3)).toEqual([3, 'complete']);
  });
});

describe('Call with a signal', () => {
  it('that has aborted spends no stream', async () => {
    const { client, connection } = await connected();
    const reason = new Error('never');
    expect(await client.call('echo', 1, { signal: AbortSignal.abort(reason) })).toEqual([reason]);
    expect(await framesAfter(client, connection)).toEqual([]);
  });

  it('that aborts before there is a connection waits no longer', async () => {
    const server = await TestServer.listen({ handlers: HANDLERS });
    const client = new TestPool({ addresses: [server.address] });
    const abort = new AbortController();
    const { seen } = client.start('echo', 1, { signal: abort.signal });
    abort.abort();
    expect(seen.events).toEqual([expect.any(CanceledError)]);
    expect(client.pool.waiting).toBe(0);
  });

  it('that aborts while the server works ends with its reason and one Cancel', async () => {
    const { client, connection } = await connected();
    const abort = new AbortController();
    const { seen } = client.start('hang', 1, { signal: abort.signal });
    await connection.running('hang');
    const reason = new Error('user left');
    abort.abort(reason);
    expect(seen.events).toEqual([reason]);
    const frames = await framesAfter(client, connection);
    expect(frames.filter((line) => line.startsWith('Cancel'))).toEqual(['Cancel! s2 m4']);
  });

  it('leaves no listener on it, however it ends', async () => {
    const { client } = await connected();
    const abort = new AbortController();
    const { signal } = abort;
    const listeners = () => getEventListeners(signal, 'abort').length;
    const { call, seen } = client.start('hang', 1, { signal });
    expect(listeners()).toBe(1);
    call.cancel();
    await client.call('echo', 1, { signal });
    await client.call('fail', 1, { signal });
    expect(listeners()).toBe(0);
    const aborted = client.start('hang', 1, { signal });
    abort.abort();
    await aborted.seen.ended;
    expect(listeners()).toBe(0);
    expect(seen.events).toEqual([]);
  });
});

describe('Call with a timeout', () => {
  it('tells the server the time it has', async () => {
    const { client, connection } = await connected();
    await client.call('echo', 1, { timeout: 250 });
    expect(connection.metadata).toEqual([{ 'grpc-timeout': '250m' }]);
  });

  it('ends when it is over, with one Cancel', async () => {
    const { client, connection } = await connected();
    const { seen } = client.start('hang', 1, { timeout: 250 });
    await connection.running('hang');
    client.clock.advance(249);
    expect(seen.events).toEqual([]);
    client.clock.advance(1);
    expect(seen.events).toEqual([expect.objectContaining({ name: 'DeadlineError', code: 4 })]);
    const frames = await framesAfter(client, connection);
    expect(frames.filter((line) => line.startsWith('Cancel'))).toEqual(['Cancel! s2 m5']);
  });

  it('of 0 never begins', async () => {
    const { client, connection } = await connected();
    expect(await client.call('echo', 1, { timeout: 0 })).toEqual([expect.objectContaining({ code: 4 })]);
    expect(await framesAfter(client, connection)).toEqual([]);
  });

  it('counts the time that it waits for a connection', async () => {
    const client = new TestPool({
      addresses: [{ kind: 'custom', host: '', port: 0, path: '' }],
      dial: () => new Promise(() => undefined),
    });
    const { seen } = client.start('echo', 1, { timeout: 100 });
    client.clock.advance(100);
    expect(seen.events).toEqual([expect.objectContaining({ code: 4 })]);
    expect(client.pool.waiting).toBe(0);
  });

  it('tells the server only the time that is left', async () => {
    const server = await TestServer.listen({ handlers: HANDLERS });
    const client = new TestPool({ addresses: [server.address] });
    const { seen } = client.start('echo', 1, { timeout: 100 });
    client.clock.advance(40);
    await seen.ended;
    expect((await server.connection(1)).metadata).toEqual([{ 'grpc-timeout': '60m' }]);
  });

  it('leaves no timer behind', async () => {
    const { client } = await connected();
    const before = client.clock.pendingTimers;
    await client.call('echo', 1, { timeout: 100 });
    client.start('hang', 1, { timeout: 100 }).call.cancel();
    expect(client.clock.pendingTimers).toBe(before);
  });
});

describe('Call that the server refuses to start', () => {
  const refuseTimes = (times: number): Record<string, Serve> => {
    let left = times;
    const handlers: Record<string, Serve> = {
      busy: (rpc, connection) => {
        if (left-- > 0) throw streamRefused('too many streams');
        return echo(rpc, connection);
      },
      own: () => {
        throw new DrpcError(DrpcCode.ResourceExhausted, 'quota');
      },
      echo,
    };
    return handlers;
  };

  it('is sent again after a pause', async () => {
    const { client, connection } = await connected({ pingInterval: 0 }, refuseTimes(2));
    const { seen } = client.start('busy', 'x');
    await client.passUntil(seen);
    expect(seen.events).toEqual(['x', 'complete']);
    expect(connection.started.filter((rpc) => rpc === 'busy')).toHaveLength(3);
  });

  it('is not sent again when the pause is longer than its timeout', async () => {
    const { client, connection } = await connected({}, refuseTimes(5));
    expect(await client.call('busy', 'x', { timeout: 10 })).toEqual([
      expect.objectContaining({ code: DrpcCode.ResourceExhausted, message: 'too many streams' }),
    ]);
    expect(connection.started).toEqual(['busy']);
  });

  it('fails with the refusal in the end', async () => {
    const { client, connection } = await connected({ pingInterval: 0 }, refuseTimes(1000));
    const { seen } = client.start('busy', 'x');
    await client.passUntil(seen);
    expect(seen.events).toEqual([expect.objectContaining({ message: 'too many streams' })]);
    expect(connection.started.filter((rpc) => rpc === 'busy')).toHaveLength(11);
  });

  it('can be cancelled during the pause', async () => {
    const { client, connection } = await connected({ pingInterval: 0 }, refuseTimes(1));
    const { call, seen } = client.start('busy', 'x');
    await client.clock.timers(1);
    call.cancel();
    expect(client.clock.pendingTimers).toBe(0);
    await client.call('echo', 'fence');
    expect(connection.started.filter((rpc) => rpc === 'busy')).toHaveLength(1);
    expect(seen.events).toEqual([]);
  });

  it('fails during the pause when the pool is closed', async () => {
    const { client } = await connected({ pingInterval: 0 }, refuseTimes(1));
    const { seen } = client.start('busy', 'x');
    await client.clock.timers(1);
    const closed = client.pool.close();
    expect(seen.events).toEqual([expect.objectContaining({ code: 14, message: 'the client is closed' })]);
    expect(client.clock.pendingTimers).toBe(0);
    await closed;
  });

  it('is not sent again when it has brought an answer', async () => {
    const { client, connection } = await connected(
      {},
      {
        half: async (rpc) => {
          await rpc.msgSend(1);
          throw streamRefused('too many streams');
        },
      },
    );
    expect(await client.call('half')).toEqual([1, expect.objectContaining({ message: 'too many streams' })]);
    expect(connection.started).toEqual(['half']);
  });

  it("is not sent again for an application's own code 8", async () => {
    const { client, connection } = await connected({}, refuseTimes(0));
    expect(await client.call('own')).toEqual([expect.objectContaining({ message: 'quota' })]);
    expect(connection.started).toEqual(['own']);
  });

  it('is not sent again when part of a request stream is gone', async () => {
    const { client, connection } = await connected({}, refuseTimes(1));
    const source = new Feed((sink) => sink.trySend('1'));
    expect(await client.call('busy', undefined, { source })).toEqual([
      expect.objectContaining({ message: 'too many streams' }),
    ]);
    expect(connection.started).toEqual(['busy']);
    expect(source.stops).toBe(1);
  });
});

describe('Call with a stream of requests', () => {
  it('sends them as they come', async () => {
    const { client, connection } = await connected();
    const source = new Feed((sink) => {
      sink.trySend('1');
      sink.trySend('2');
    });
    const { seen } = client.start('total', undefined, { source });
    source.sink!.trySend('3');
    source.sink!.closeSend();
    await seen.ended;
    expect(seen.events).toEqual([6, 'complete']);
    expect(connection.frames).toEqual([
      'Invoke s2 m1 total',
      'Message s2 m2 1',
      'Message s2 m3 2',
      'Message s2 m4 3',
      'CloseSend s2 m5',
    ]);
    expect(source.stops).toBe(1);
  });

  it('starts its source only once there is a connection', async () => {
    const server = await TestServer.listen({ handlers: HANDLERS });
    const client = new TestPool({ addresses: [server.address] });
    const source = new Feed((sink) => sink.closeSend());
    const { seen } = client.start('total', undefined, { source });
    expect(source.sink).toBeUndefined();
    await seen.ended;
    expect(seen.events).toEqual([0, 'complete']);
  });

  it('says when there is no room, and when there is again', async () => {
    let read!: () => void;
    const mayRead = new Promise<void>((resolve) => (read = resolve));
    const { client } = await connected(
      {},
      {
        slow: async (rpc) => {
          await mayRead;
          let size = 0;
          for await (const value of rpc) size += (value as string).length;
          await rpc.msgSend(size);
        },
        echo,
      },
    );
    const source = new Feed();
    const { seen } = client.start('slow', undefined, { source });
    const big = JSON.stringify('x'.repeat(99_998));
    let sent = 0;
    const pump = async (sink: RequestSink): Promise<void> => {
      while (sent < 100) {
        sent++;
        const room = sink.msgSend(big);
        if (room !== true) await room;
      }
      sink.closeSend();
    };
    const pumped = pump(source.sink!);
    let before = 0;
    while (sent > before) {
      before = sent;
      await client.call('echo', 'fence');
    }
    // The window of 2 MiB and what the writer takes.
    expect(sent).toBeLessThan(50);
    read();
    await pumped;
    await seen.ended;
    expect(seen.events).toEqual([100 * 99_998, 'complete']);
  });

  it('lets no source wait for a call that has ended', async () => {
    const { client } = await connected();
    const source = new Feed();
    const { call } = client.start('hang', undefined, { source });
    const big = Buffer.alloc(500_000, 32);
    let room = source.sink!.msgSend(big);
    while (room === true) room = source.sink!.msgSend(big);
    call.cancel();
    await expect(room).resolves.toBeUndefined();
    expect(source.sink!.msgSend(big)).toBe(true);
  });

  it('stops the source when the call is cancelled', async () => {
    const { client, connection } = await connected();
    const source = new Feed((sink) => sink.trySend('1'));
    const { call } = client.start('total', undefined, { source });
    call.cancel();
    expect(source.stops).toBe(1);
    expect(source.sink!.trySend('2')).toBe(false);
    source.sink!.closeSend();
    expect(await framesAfter(client, connection)).toEqual([
      'Invoke s2 m1 total',
      'Message s2 m2 1',
      'Cancel! s2 m3',
    ]);
  });

  it('stops the source and closes the stream when the server has answered without reading all', async () => {
    const { client, connection } = await connected({}, { first: echo, echo });
    const source = new Feed((sink) => sink.trySend('1'));
    const { seen } = client.start('first', undefined, { source });
    await seen.ended;
    expect(seen.events).toEqual([1, 'complete']);
    expect(source.stops).toBe(1);
    expect(await framesAfter(client, connection)).toEqual([
      'Invoke s2 m1 first',
      'Message s2 m2 1',
      'Close s2 m3',
    ]);
  });

  it('tells the server behind what was sent that its source failed, and the caller the very error', async () => {
    const received: unknown[] = [];
    const { client } = await connected(
      {},
      {
        read: async (rpc) => {
          try {
            for await (const value of rpc) received.push(value);
          } catch (error) {
            received.push(error);
          }
        },
        echo,
      },
    );
    const source = new Feed((sink) => sink.trySend('1'));
    const { seen } = client.start('read', undefined, { source });
    const error = new Error('disk /secret/path is full');
    source.sink!.fail(error);
    source.sink!.fail(new Error('again'));
    expect(seen.events).toEqual([error]);
    await client.call('echo', 'fence');
    expect(received).toEqual([1, expect.objectContaining({ code: 2, message: 'the request stream failed' })]);
  });

  it('frees its place when its source fails behind messages that wait', async () => {
    let readOn!: () => void;
    const isToRead = new Promise<void>((resolve) => (readOn = resolve));
    const received: unknown[] = [];
    const { client } = await connected(
      {},
      {
        late: async (rpc) => {
          await isToRead;
          try {
            for await (const value of rpc) received.push(value);
          } catch (error) {
            received.push(error);
          }
        },
        echo,
      },
    );
    const source = new Feed((sink) => {
      for (let i = 0; i < 3; i++) sink.trySend(MEGABYTE);
      sink.fail(new Error('source'));
    });
    await client.call('late', undefined, { source });
    expect(client.pool.connections).toMatchObject([{ calls: 1 }]);
    readOn();
    while (received.length < 4) await client.call('echo', 'fence');
    expect(received[3]).toMatchObject({ message: 'the request stream failed' });
    expect(client.pool.connections).toMatchObject([{ calls: 0 }]);
  });

  it.each<[string, (sink: RequestSink) => void, unknown]>([
    ['closed', (sink) => sink.closeSend(), 'complete'],
    ['left open', () => undefined, 'complete'],
    ['failed', (sink) => sink.fail(new Error('source')), expect.objectContaining({ message: 'source' })],
  ])('does not keep what has no credit for ever once it is over: %s', async (_how, end, last) => {
    const { client, connection } = await connected(
      { pingInterval: 0 },
      {
        enough: async (rpc, server) => {
          await rpc.msgSend('enough');
          rpc.closeSend();
          await hang(rpc, server);
        },
      },
    );
    const source = new Feed((sink) => {
      for (let i = 0; i < 3; i++) sink.trySend(MEGABYTE);
      end(sink);
    });
    const { seen } = client.start('enough', undefined, { source });
    await connection.running('enough');
    expect(await seen.failure()).toEqual(last);
    expect(client.pool.connections).toMatchObject([{ calls: 1 }]);
    client.clock.advance(29_999);
    expect(client.pool.connections).toMatchObject([{ calls: 1 }]);
    client.clock.advance(1);
    expect(client.pool.connections).toMatchObject([{ calls: 0 }]);
    expect(client.clock.pendingTimers).toBe(0);
  });

  it('ends with its timeout although it is over, while something has no credit', async () => {
    const { client } = await connected(
      { pingInterval: 0 },
      {
        enough: async (rpc, server) => {
          rpc.closeSend();
          await hang(rpc, server);
        },
      },
    );
    const source = new Feed((sink) => {
      for (let i = 0; i < 3; i++) sink.trySend(MEGABYTE);
    });
    expect(await client.call('enough', undefined, { source, timeout: 500 })).toEqual(['complete']);
    client.clock.advance(500);
    expect(client.pool.connections).toMatchObject([{ calls: 0 }]);
  });

  it('passes a DrpcError of its source on as it is', async () => {
    let received: unknown;
    const { client } = await connected(
      {},
      { read: (rpc) => rpc.msgRecv().catch((error: unknown) => void (received = error)), echo },
    );
    const source = new Feed((sink) => sink.fail(new DrpcError(DrpcCode.Aborted, 'conflict')));
    await client.call('read', undefined, { source });
    await client.call('echo', 'fence');
    expect(received).toMatchObject({ code: DrpcCode.Aborted, message: 'conflict' });
  });

  it('tells both ends when its source fails with an error that can not be sent', async () => {
    let received: unknown;
    const { client } = await connected(
      {},
      { read: (rpc) => rpc.msgRecv().catch((error: unknown) => void (received = error)), echo },
    );
    const error = new DrpcError(DrpcCode.Aborted, 'conflict', { details: [{} as never] });
    const source = new Feed((sink) => sink.fail(error));
    expect(await client.call('read', undefined, { source })).toEqual([error]);
    await client.call('echo', 'fence');
    expect(received).toMatchObject({ code: DrpcCode.Unknown, message: 'the request stream failed' });
  });

  it('fails when more waits than may', async () => {
    const { client } = await connected({ sendQueueSize: 1_000_000, maxSendSize: 1_000_000 }, { hang, echo });
    const source = new Feed();
    const { seen } = client.start('hang', undefined, { source });
    const big = Buffer.alloc(500_000, 32);
    for (let i = 0; i < 20 && seen.events.length === 0; i++) source.sink!.trySend(big);
    expect(seen.events).toEqual([expect.objectContaining({ code: DrpcCode.ResourceExhausted })]);
    expect(source.stops).toBe(1);
  });

  it('fails alone when a message is over the limit', async () => {
    const { client } = await connected({ maxSendSize: 5000 });
    const source = new Feed((sink) => sink.trySend('x'.repeat(6000)));
    expect(await client.call('total', undefined, { source })).toEqual([
      expect.objectContaining({ name: 'MessageSizeError' }),
    ]);
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
  });

  it('goes both ways at once', async () => {
    const { client } = await connected(
      {},
      {
        each: async (rpc) => {
          for await (const value of rpc) await rpc.msgSend((value as number) * 2);
        },
      },
    );
    const source = new Feed();
    const { seen } = client.start('each', undefined, { source });
    for (const value of [1, 2, 3]) {
      source.sink!.trySend(String(value));
      await seen.seen(value);
    }
    source.sink!.closeSend();
    await seen.ended;
    expect(seen.events).toEqual([2, 4, 6, 'complete']);
  });
});

describe('Call whose connection dies', () => {
  it('fails with code 14 in the turn in which the socket closes, and is not sent again', async () => {
    const { client, connection, server } = await connected();
    const { seen } = client.start('hang');
    await connection.running('hang');
    connection.socket.resetAndDestroy();
    const error = await seen.failure();
    expect(error).toBeInstanceOf(ClosedError);
    expect(error).toMatchObject({ code: 14 });
    await client.pool.connect();
    expect(await client.call('echo', 1)).toEqual([1, 'complete']);
    const started = server.connections.flatMap(({ started: rpcs }) => rpcs);
    expect(started.filter((rpc) => rpc === 'hang')).toHaveLength(1);
  });

  it('moves when nothing of it was handed to the socket', async () => {
    const { client, server, connection } = await connected();
    const { seen } = client.startUnsent('echo', 'moved');
    await client.loseUnsent(connection);
    await seen.ended;
    expect(seen.events).toEqual(['moved', 'complete']);
    expect(connection.started).toEqual([]);
    expect((await server.connection(2)).started).toEqual(['echo']);
  });

  it('moves with the time it has left', async () => {
    const { client, server, connection } = await connected();
    const { seen } = client.startUnsent('echo', 'moved', { timeout: 500 });
    client.clock.advance(100);
    await client.loseUnsent(connection);
    await seen.ended;
    expect((await server.connection(2)).metadata).toEqual([{ 'grpc-timeout': '400m' }]);
  });

  it('does not move when its source has given messages away', async () => {
    const { client, connection } = await connected();
    const source = new Feed((sink) => sink.trySend('1'));
    const { seen } = client.startUnsent('total', undefined, { source });
    await client.loseUnsent(connection);
    expect(seen.events).toEqual([expect.objectContaining({ code: 14 })]);
    expect(source.stops).toBe(1);
  });

  it('moves with its source when that has given nothing yet, and keeps what comes meanwhile', async () => {
    const { client, connection } = await connected();
    const source = new Feed();
    const { seen } = client.startUnsent('total', undefined, { source });
    await client.loseUnsent(connection);
    expect(source.sink!.trySend('1')).toBe(false);
    await source.sink!.msgSend('2');
    source.sink!.trySend('3');
    source.sink!.closeSend();
    await seen.ended;
    expect(seen.events).toEqual([6, 'complete']);
  });

  it('moves with a source that ended without a message', async () => {
    const { client, connection } = await connected();
    const source = new Feed((sink) => sink.closeSend());
    const { seen } = client.startUnsent('total', undefined, { source });
    await client.loseUnsent(connection);
    await seen.ended;
    expect(seen.events).toEqual([0, 'complete']);
  });

  it('fails when its source gives more than may be kept meanwhile', async () => {
    const { client, connection } = await connected({ sendQueueSize: 10 });
    const source = new Feed();
    const { seen } = client.startUnsent('total', undefined, { source });
    await client.loseUnsent(connection);
    source.sink!.trySend('1234567890');
    expect(seen.events).toEqual([]);
    source.sink!.trySend('1');
    expect(seen.events).toEqual([
      expect.objectContaining({ code: 8, message: '395 bytes wait for a connection: at most 10 may' }),
    ]);
  });

  it('is cancelled like any other while it moves', async () => {
    const { client, connection } = await connected();
    const { call, seen } = client.startUnsent('echo', 1);
    await client.loseUnsent(connection);
    expect(client.pool.waiting).toBe(1);
    call.cancel();
    expect(client.pool.waiting).toBe(0);
    await client.call('echo', 2);
    expect(seen.events).toEqual([]);
  });
});
