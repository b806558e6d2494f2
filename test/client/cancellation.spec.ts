import { CanActivate, Controller, Injectable, UseGuards } from '@nestjs/common';
import { Ctx, MessagePattern } from '@nestjs/microservices';
import { CanceledError, DrpcClient, DrpcCode, DrpcContext, DrpcError, DrpcStream } from 'nestjs-drpc';
import { createInMemoryPair } from 'nestjs-drpc/testing';
import {
  EMPTY,
  firstValueFrom,
  ignoreElements,
  lastValueFrom,
  merge,
  NEVER,
  Observable,
  of,
  Subject,
  take,
  timeout,
  TimeoutError,
  toArray,
} from 'rxjs';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { PeerServer } from '../../lib/control/peer-server.js';
import { hang, TestServer, type Serve } from '../pool/helpers/test-server.js';
import { EventLog, Gate } from '../transport/helpers/event-log.js';
import { connect, Service } from './helpers/service.js';

let log = new EventLog();
let gate = new Gate();

beforeEach(() => {
  log = new EventLog();
  gate = new Gate();
});

@Injectable()
class SlowGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    log.add('guard');
    await gate.opened;
    return true;
  }
}

/** Never ends by itself, and tells when it is torn down. */
function endless(name: string, values: Observable<unknown> = EMPTY): Observable<unknown> {
  return new Observable((subscriber) => {
    log.add(`${name} started`);
    const subscription = merge(values, NEVER).subscribe(subscriber);
    return () => {
      subscription.unsubscribe();
      log.add(`${name} torn down`);
    };
  });
}

@Controller()
class EndlessController {
  @MessagePattern('unary')
  unary(@Ctx() context: DrpcContext): Observable<unknown> {
    context.getSignal().addEventListener('abort', () => log.add('signal aborted'));
    return endless('unary');
  }

  @MessagePattern('stream')
  stream(): Observable<unknown> {
    return endless('stream', of(1, 2));
  }

  @MessagePattern('generator')
  async *generator(): AsyncGenerator<number> {
    try {
      for (let i = 0; ; i++) yield i;
    } finally {
      log.add('generator returned');
    }
  }

  @MessagePattern('collect')
  collect(@DrpcStream() values: Observable<unknown>): Observable<unknown> {
    return merge(values.pipe(ignoreElements()), endless('collect'));
  }

  @MessagePattern('both')
  both(@DrpcStream() values: Observable<unknown>): Observable<unknown> {
    return merge(values, endless('both'));
  }

  @UseGuards(SlowGuard)
  @MessagePattern('guarded')
  guarded(): Observable<unknown> {
    return endless('guarded');
  }

  @MessagePattern('quick')
  quick(): number {
    return 1;
  }
}

/** The four shapes: what is called, with which payload, and whether there are answers. */
const SHAPES = [
  ['unary', 'unary', () => 0],
  ['server stream', 'stream', () => 0],
  ['client stream', 'collect', () => merge(of(1), NEVER)],
  ['both ways', 'both', () => merge(of(1), NEVER)],
] as const;

describe.each(SHAPES)('A call that is given up (%s)', (_shape, pattern, payload) => {
  it('by unsubscribing tears the handler down', async () => {
    const client = await connect([EndlessController]);
    const subscription = client.send(pattern, payload()).subscribe();
    await log.seen(`${pattern} started`);
    subscription.unsubscribe();
    await log.seen(`${pattern} torn down`);
    expect(await client.call('quick')).toBe(1);
  });

  it("by the timeout of RxJS tears the handler down, and fails with RxJS's error", async () => {
    const client = await connect([EndlessController]);
    const answered = lastValueFrom(
      client.send(pattern, payload()).pipe(ignoreElements(), timeout({ first: 30 })),
    );
    await log.seen(`${pattern} started`);
    await expect(answered).rejects.toBeInstanceOf(TimeoutError);
    await log.seen(`${pattern} torn down`);
  });

  it('by an AbortSignal tears the handler down, and fails with its reason', async () => {
    const client = await connect([EndlessController]);
    const abort = new AbortController();
    const reason = new Error('the user left');
    const answered = lastValueFrom(
      new Observable((subscriber) => {
        void (async () => {
          try {
            for await (const value of client.stream(pattern, payload(), { signal: abort.signal }))
              subscriber.next(value);
          } catch (error) {
            subscriber.error(error);
          }
        })();
      }),
    );
    await log.seen(`${pattern} started`);
    abort.abort(reason);
    await expect(answered).rejects.toBe(reason);
    await log.seen(`${pattern} torn down`);
  });

  it('by its deadline tears the handler down, and fails with code 4', async () => {
    const client = await connect([EndlessController]);
    const answered = client.call(pattern, payload(), { timeout: 40 }).catch((error: unknown) => error);
    await log.seen(`${pattern} started`);
    await log.seen(`${pattern} torn down`);
    // The stream answers twice before its time is over, and is given up for that.
    const code = pattern === 'stream' ? DrpcCode.Internal : DrpcCode.DeadlineExceeded;
    expect(await answered).toMatchObject({ code });
  });

  it('by closing the client tears the handler down, and fails with code 14', async () => {
    const client = await connect([EndlessController]);
    const answered = lastValueFrom(client.send(pattern, payload()));
    await log.seen(`${pattern} started`);
    const [error] = await Promise.all([answered.catch((failure: unknown) => failure), client.close()]);
    expect(error).toBeInstanceOf(DrpcError);
    expect(error).toMatchObject({ code: DrpcCode.Unavailable });
    await log.seen(`${pattern} torn down`);
  });

  it('by the server that closes fails with code 14', async () => {
    const service = await Service.start([EndlessController]);
    const client = service.client();
    const answered = lastValueFrom(client.send(pattern, payload())).catch((failure: unknown) => failure);
    await log.seen(`${pattern} started`);
    await service.app.close();
    expect(await answered).toMatchObject({ code: DrpcCode.Unavailable });
    expect(log.entries).toContain(`${pattern} torn down`);
  });

  it('stops its request stream', async () => {
    const client = await connect([EndlessController]);
    const source = new Subject<number>();
    const subscription = client.send('both', source).subscribe();
    await log.seen('both started');
    expect(source.observed).toBe(true);
    subscription.unsubscribe();
    expect(source.observed).toBe(false);
  });
});

describe('A call that is given up', () => {
  it('aborts the signal of its context', async () => {
    const client = await connect([EndlessController]);
    const subscription = client.send('unary', 0).subscribe();
    await log.seen('unary started');
    expect(log.entries).not.toContain('signal aborted');
    subscription.unsubscribe();
    await log.seen('signal aborted');
  });

  it('during a guard never reaches the handler, or tears it down', async () => {
    const client = await connect([EndlessController]);
    const subscription = client.send('guarded', 0).subscribe();
    await log.seen('guard');
    subscription.unsubscribe();
    expect(await client.call('quick')).toBe(1);
    gate.open();
    expect(await client.call('quick')).toBe(1);
    const started = log.entries.filter((entry) => entry === 'guarded started');
    expect(log.entries.filter((entry) => entry === 'guarded torn down')).toHaveLength(started.length);
  });

  it('by break calls return() of the generator', async () => {
    const client = await connect([EndlessController]);
    const values: unknown[] = [];
    for await (const value of client.stream('generator')) {
      values.push(value);
      if (values.length === 3) break;
    }
    expect(values).toEqual([0, 1, 2]);
    await log.seen('generator returned');
  });

  it('by an exception in the loop calls return() of the generator', async () => {
    const client = await connect([EndlessController]);
    const loop = async (): Promise<void> => {
      for await (const _ of client.stream('generator')) throw new Error('mine');
    };
    await expect(loop()).rejects.toThrow('mine');
    await log.seen('generator returned');
  });

  it('by take() gets what it took', async () => {
    const client = await connect([EndlessController]);
    expect(await lastValueFrom(client.send('stream', 0).pipe(take(2), toArray()))).toEqual([1, 2]);
    await log.seen('stream torn down');
  });

  it('by an AbortSignal without a reason of its own fails with a CanceledError', async () => {
    const client = await connect([EndlessController]);
    const abort = new AbortController();
    const answered = client.call('unary', 0, { signal: abort.signal });
    await log.seen('unary started');
    abort.abort();
    await expect(answered).rejects.toBeInstanceOf(CanceledError);
    await log.seen('unary torn down');
  });

  it('takes one signal for many calls, which Node would call a leak', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    onTestFinished(() => warn.mockRestore());
    const client = await connect([EndlessController]);
    const abort = new AbortController();
    const calls = Array.from({ length: 20 }, () => client.call('unary', 0, { signal: abort.signal }));
    const outcomes = Promise.allSettled(calls);
    abort.abort();
    expect((await outcomes).every(({ status }) => status === 'rejected')).toBe(true);
    expect(warn).not.toHaveBeenCalled();
  });

  it('leaves the calls beside it alone', async () => {
    const client = await connect([EndlessController]);
    const other: unknown[] = [];
    const kept = client.send('stream', 0).subscribe((value) => other.push(value));
    const subscription = client.send('unary', 0).subscribe();
    await log.seen('unary started');
    subscription.unsubscribe();
    await log.seen('unary torn down');
    expect(await client.call('quick')).toBe(1);
    expect(other).toEqual([1, 2]);
    expect(kept.closed).toBe(false);
    kept.unsubscribe();
  });
});

describe('The frames of a call', () => {
  // The end is written together with the last message, as our servers do it.
  const pair: Serve = (rpc) => {
    void rpc.msgSend(1);
    void rpc.msgSend(2);
    rpc.closeSend();
  };
  const one: Serve = (rpc) => {
    void rpc.msgSend(1);
    rpc.closeSend();
  };

  async function frames(
    use: (client: DrpcClient, server: TestServer) => unknown,
    isConnected = true,
  ): Promise<string[]> {
    const server = await TestServer.listen({ handlers: { pair, one, hang } });
    const client = new DrpcClient({ port: server.port });
    onTestFinished(() => client.close());
    if (isConnected) await client.connect();
    await use(client, server);
    await client.call('fence').catch(() => undefined);
    return server.connections[0]!.frames.slice(0, -3).map((line) => line.split(' ')[0]!);
  }

  const UNARY = ['Invoke', 'Message', 'CloseSend'];

  it('have one Cancel after unsubscribing', async () => {
    expect(
      await frames(async (client, server) => {
        const subscription = client.send('hang', 0).subscribe();
        await server.connections[0]!.running('hang');
        subscription.unsubscribe();
        subscription.unsubscribe();
      }),
    ).toEqual([...UNARY, 'Cancel!']);
  });

  it('have one Cancel after an abort, an unsubscribe and a deadline together', async () => {
    expect(
      await frames(async (client, server) => {
        const abort = new AbortController();
        const iterator = client
          .stream('hang', 0, { signal: abort.signal, timeout: 20 })
          [Symbol.asyncIterator]();
        const next = iterator.next().catch(() => undefined);
        await server.connections[0]!.running('hang');
        abort.abort();
        await next;
        await iterator.return!();
      }),
    ).toEqual(['InvokeMetadata', ...UNARY, 'Cancel!']);
  });

  it('have no Cancel when an answer is read with firstValueFrom, call() or a whole loop', async () => {
    expect(
      await frames(async (client) => {
        await firstValueFrom(client.send('one', 0));
        await client.call('one', 0);
        for await (const _ of client.stream('pair', 0));
        await lastValueFrom(client.send('pair', 0));
      }),
    ).toEqual([...UNARY, ...UNARY, ...UNARY, ...UNARY]);
  });

  it('have a Cancel when call() is answered twice', async () => {
    expect(await frames((client) => client.call('hang-on').catch(() => undefined))).toEqual(UNARY);
    const slow: Serve = async (rpc, connection) => {
      await rpc.msgSend(1);
      await rpc.msgSend(2);
      return hang(rpc, connection);
    };
    const server = await TestServer.listen({ handlers: { slow } });
    const client = new DrpcClient({ port: server.port });
    onTestFinished(() => client.close());
    await expect(client.call('slow')).rejects.toMatchObject({ code: DrpcCode.Internal });
    await client.call('fence').catch(() => undefined);
    expect(server.connections[0]!.frames).toContain('Cancel! s2 m4');
  });

  it('are none when the call is given up before there is a connection', async () => {
    expect(
      await frames((client) => {
        client.send('hang', 0).subscribe().unsubscribe();
      }, false),
    ).toEqual([]);
  });

  it('are none when its signal has aborted or its time is over beforehand', async () => {
    expect(
      await frames(async (client) => {
        await client.call('hang', 0, { signal: AbortSignal.abort() }).catch(() => undefined);
        await client.call('hang', 0, { timeout: 0 }).catch(() => undefined);
      }),
    ).toEqual([]);
  });

  it('of two calls subscribed one after the other keep that order', async () => {
    const server = await TestServer.listen({ handlers: { one } });
    const client = new DrpcClient({ port: server.port });
    onTestFinished(() => client.close());
    await client.connect();
    await Promise.all(['a', 'b', 'c'].map((text) => client.call('one', text)));
    const messages = server.connections[0]!.frames.filter((line) => line.startsWith('Message'));
    expect(messages.map((line) => line.split(' ').at(-1))).toEqual(['"a"', '"b"', '"c"']);
  });

  it('are written in the turn of the subscription', async () => {
    const [near, far] = createInMemoryPair();
    const peer = new PeerServer(far, {}, { accept: (stream) => stream.handlerEnded() });
    onTestFinished(() => peer.manager.close());
    const client = new DrpcClient({ dial: async () => near });
    onTestFinished(() => client.close());
    await client.connect();
    const write = vi.spyOn(near, 'write');
    client.send('x', 0).subscribe({ error: () => undefined });
    client.send('y', 0).subscribe({ error: () => undefined });
    await new Promise<void>((resolve) => process.nextTick(resolve));
    expect(write).toHaveBeenCalledTimes(1);
  });
});
