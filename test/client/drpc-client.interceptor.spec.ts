import { getEventListeners } from 'node:events';
import { Controller, Logger } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import {
  DrpcCode,
  DrpcContext,
  DrpcError,
  DrpcRecord,
  DrpcStream,
  type DrpcClientInterceptor,
  type DrpcOutgoingCall,
} from 'nestjs-drpc';
import {
  catchError,
  concat,
  delay,
  EMPTY,
  filter,
  finalize,
  firstValueFrom,
  from,
  lastValueFrom,
  map,
  merge,
  mergeMap,
  NEVER,
  Observable,
  of,
  reduce,
  retry,
  switchMap,
  tap,
  throwError,
  toArray,
} from 'rxjs';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { TestClock } from '../pool/helpers/test-clock.js';
import { EventLog, Gate } from '../transport/helpers/event-log.js';
import { connect, Service } from './helpers/service.js';

let log = new EventLog();
let failures = 0;
let produced = 0;

beforeEach(() => {
  log = new EventLog();
  failures = 0;
  produced = 0;
});

@Controller()
class TestController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }

  @MessagePattern('metadata')
  metadata(@Ctx() context: DrpcContext): unknown {
    return context.getMetadata();
  }

  @MessagePattern('flaky')
  flaky(): number {
    if (failures++ < 2) throw new Error('not yet');
    return failures;
  }

  @MessagePattern('silent')
  silent(): Observable<never> {
    return NEVER;
  }

  @MessagePattern('numbers')
  async *numbers(): AsyncGenerator<number> {
    try {
      for (let i = 0; ; i++) {
        produced++;
        yield i;
      }
    } finally {
      log.add('stopped');
    }
  }

  @MessagePattern('lists')
  async *lists(): AsyncGenerator<number[]> {
    yield [1, 2];
    yield [];
    yield [3];
  }

  @MessagePattern('sum')
  sum(@DrpcStream() values: Observable<number>): Observable<number> {
    return values.pipe(reduce((a, b) => a + b, 0));
  }

  @EventPattern('happened')
  happened(@Payload() data: unknown): void {
    log.add(`event ${String(data)}`);
  }
}

const connectWith = (...interceptors: DrpcClientInterceptor[]) =>
  connect([TestController], { client: { interceptors } });

describe('An interceptor of a DrpcClient', () => {
  it('sees every call before it leaves', async () => {
    const calls: DrpcOutgoingCall[] = [];
    const client = await connect([TestController], {
      client: {
        metadata: { a: 'b' },
        timeout: 5000,
        interceptors: [
          (call, next) => {
            calls.push(call);
            return next(call);
          },
        ],
      },
    });
    const { signal } = new AbortController();
    await firstValueFrom(client.send('echo', new DrpcRecord(1, { metadata: { c: 'd' } })));
    await firstValueFrom(client.emit('happened', 2));
    await client.call({ cmd: 'x' }, 3, { timeout: 100, signal }).catch(() => undefined);
    for await (const _ of client.stream('echo', 4));
    expect(calls).toEqual([
      expect.objectContaining({
        kind: 'send',
        pattern: 'echo',
        rpc: 'echo',
        data: 1,
        metadata: { a: 'b', c: 'd' },
      }),
      expect.objectContaining({
        kind: 'emit',
        pattern: 'happened',
        data: 2,
        timeout: 5000,
        signal: undefined,
      }),
      expect.objectContaining({
        kind: 'call',
        pattern: { cmd: 'x' },
        rpc: '{"cmd":"x"}',
        timeout: 100,
        signal,
      }),
      expect.objectContaining({ kind: 'stream', data: 4, metadata: { a: 'b' } }),
    ]);
    expect(calls[0]!.encoding.name).toBe('json');
  });

  it('adds a token that it has to wait for', async () => {
    const client = await connectWith((call, next) =>
      from(Promise.resolve('secret')).pipe(
        switchMap((token) => next({ ...call, metadata: { ...call.metadata, authorization: token } })),
      ),
    );
    expect(await client.call('metadata')).toEqual({ authorization: 'secret' });
    expect(await firstValueFrom(client.send('metadata', 1))).toEqual({ authorization: 'secret' });
  });

  it('sees keys of metadata in lower case, and replaces one in any case', async () => {
    const seen: unknown[] = [];
    const client = await connectWith((call, next) => {
      seen.push({ ...call.metadata });
      return next({ ...call, metadata: { ...call.metadata, 'X-Trace': 'inner' } });
    });
    const metadata = { 'X-Trace': 'outer', 'X-trace': 'call' };
    expect(await client.call('metadata', 1, { metadata })).toEqual({ 'x-trace': 'inner' });
    expect(seen).toEqual([{ 'x-trace': 'call' }]);
  });

  it('sees them in lower case too where the one before has spelt them otherwise', async () => {
    const seen: unknown[] = [];
    const traced = (key: string): DrpcClientInterceptor => {
      return (call, next) => {
        seen.push({ ...call.metadata });
        return next({ ...call, metadata: { ...call.metadata, [key]: key } });
      };
    };
    const client = await connectWith(traced('X-Trace'), traced('X-TRACE'), traced('x-other'));
    expect(await client.call('metadata')).toEqual({ 'x-trace': 'X-TRACE', 'x-other': 'x-other' });
    expect(seen).toEqual([{}, { 'x-trace': 'X-Trace' }, { 'x-trace': 'X-TRACE' }]);
  });

  it('stands around those behind it', async () => {
    const around =
      (name: string): DrpcClientInterceptor =>
      (call, next) => {
        log.add(`${name} before`);
        return next(call).pipe(tap({ complete: () => log.add(`${name} after`) }));
      };
    const client = await connectWith(around('outer'), around('inner'));
    await client.call('echo', 1);
    expect(log.entries).toEqual(['outer before', 'inner before', 'inner after', 'outer after']);
  });

  it('changes payload, pattern and answers', async () => {
    const client = await connectWith((call, next) =>
      next({ ...call, rpc: 'echo', data: [call.data] }).pipe(map((answer) => ({ answer }))),
    );
    expect(await client.call('anything', 1)).toEqual({ answer: [1] });
  });

  it('answers in place of the server', async () => {
    const client = await connectWith(() => of('cached'));
    expect(await client.call('echo', 1)).toBe('cached');
    expect(client.unwrap().connections[0]!.calls).toBe(0);
  });

  it('calls again what failed: each subscription is a call of its own', async () => {
    const client = await connectWith((call, next) => next(call).pipe(retry(2)));
    expect(await client.call('flaky')).toBe(3);
  });

  it('sees the error of the server, and may put another in its place', async () => {
    const client = await connectWith((call, next) =>
      next(call).pipe(
        catchError((error: { code: DrpcCode }) => {
          log.add(`code ${error.code}`);
          return throwError(() => new Error('mine'));
        }),
      ),
    );
    await expect(client.call('nobody')).rejects.toThrow('mine');
    expect(log.entries).toEqual(['code 12']);
  });

  it('that throws fails the call', async () => {
    const client = await connectWith(() => {
      throw new Error('mine');
    });
    await expect(client.call('echo', 1)).rejects.toThrow('mine');
    await expect(firstValueFrom(client.send('echo', 1))).rejects.toThrow('mine');
    await expect(firstValueFrom(client.emit('happened', 1))).rejects.toThrow('mine');
    await expect(client.stream('echo', 1)[Symbol.asyncIterator]().next()).rejects.toThrow('mine');
  });

  it('may not send reserved metadata or what cannot be encoded', async () => {
    const client = await connectWith((call, next) =>
      next({ ...call, metadata: call.data === 1 ? { 'grpc-timeout': '1S' } : {}, data: 1n }),
    );
    const failure = { code: DrpcCode.InvalidArgument };
    await expect(client.call('echo', 1)).rejects.toMatchObject({
      ...failure,
      message: expect.stringMatching('reserved'),
    });
    await expect(client.call('echo', 2)).rejects.toMatchObject({
      ...failure,
      message: expect.stringMatching('encoded'),
    });
  });

  it('passes a stream of requests on', async () => {
    const client = await connectWith((call, next) => next(call));
    expect(await client.call('sum', from([1, 2, 3]))).toBe(6);
  });

  it('sees that the caller leaves, and so does the server', async () => {
    const client = await connectWith((call, next) => next(call).pipe(finalize(() => log.add('finalized'))));
    const seen: unknown[] = [];
    for await (const value of client.stream('numbers')) {
      seen.push(value);
      if (seen.length === 2) break;
    }
    expect(seen).toEqual([0, 1]);
    expect(log.entries).toContain('finalized');
    await log.seen('stopped');
  });

  it("lets the loop's pace through to the server", async () => {
    const client = await connect([TestController], {
      client: { interceptors: [(call, next) => next(call)], streamWindow: 64 * 1024 },
      server: { streamWindow: 64 * 1024 },
    });
    const iterator = client.stream('numbers')[Symbol.asyncIterator]();
    for (let i = 0; i < 3; i++) expect(await iterator.next()).toEqual({ done: false, value: i });
    let before = -1;
    while (before < produced) {
      before = produced;
      await client.call('echo', 1);
    }
    // No more than the window and the writer hold.
    const held = produced;
    for (let i = 0; i < 10; i++) await client.call('echo', 1);
    expect(produced).toBe(held);
    await iterator.return!();
  });

  it('that keeps answers for itself gets the next ones asked for', async () => {
    const client = await connectWith((call, next) =>
      next(call).pipe(filter((value) => (value as number) % 10 === 0)),
    );
    const iterator = client.stream('numbers')[Symbol.asyncIterator]();
    expect(
      [await iterator.next(), await iterator.next(), await iterator.next()].map(({ value }) => value),
    ).toEqual([0, 10, 20]);
    await iterator.return!();
  });

  it('that gives more answers than came loses none', async () => {
    const client = await connectWith((call, next) =>
      next(call).pipe(switchMap((value) => of(value, 'and', 'more'))),
    );
    const values: unknown[] = [];
    for await (const value of client.stream('echo', 1)) values.push(value);
    expect(values).toEqual([1, 'and', 'more']);
  });

  it.each<[what: string, interceptor: DrpcClientInterceptor, answers: unknown[]]>([
    [
      'gives answers of its own first',
      (call, next) => concat(of('a', 'b', 'c'), next(call)),
      ['a', 'b', 'c', [1, 2], [], [3]],
    ],
    [
      'takes answers apart, of which some are empty',
      (call, next) => next(call).pipe(mergeMap((list) => list as number[])),
      [1, 2, 3],
    ],
    [
      'calls twice at once',
      (call, next) => merge(next(call), next(call)),
      [[1, 2], [1, 2], [], [], [3], [3]],
    ],
  ])('that %s does not hold a loop up', async (_what, interceptor, answers) => {
    const client = await connectWith(interceptor);
    const values: unknown[] = [];
    for await (const value of client.stream('lists')) values.push(value);
    expect(values).toEqual(answers);
  });

  it('that throws nothing at all still fails a loop', async () => {
    const client = await connectWith(() => throwError(() => undefined));
    const iterator = client.stream('echo', 1)[Symbol.asyncIterator]();
    await expect(iterator.next()).rejects.toBeInstanceOf(DrpcError);
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  it('that throws no error at all does no harm to an event that nobody hears of', async () => {
    const logged = new Promise<unknown>((resolve) => {
      vi.spyOn(Logger.prototype, 'error').mockImplementationOnce(resolve);
    });
    onTestFinished(() => void vi.restoreAllMocks());
    const client = await connectWith(() => throwError(() => 'a text'));
    client.emit('happened', 1);
    expect(await logged).toBe('event "happened" was not accepted: a text');
  });

  it('that takes its time gives answers in its order', async () => {
    const client = await connectWith((call, next) => next(call).pipe(delay(1)));
    const values: unknown[] = [];
    for await (const value of client.stream('numbers')) {
      values.push(value);
      if (values.length === 3) break;
    }
    expect(values).toEqual([0, 1, 2]);
  });

  describe('that waits', () => {
    const forever: DrpcClientInterceptor = () => NEVER;

    it('does so within the timeout of the call', async () => {
      const clock = new TestClock();
      const client = await connect([TestController], { client: { clock, interceptors: [forever] } });
      const call = client.call('echo', 1, { timeout: 5000 });
      clock.advance(4999);
      clock.advance(1);
      await expect(call).rejects.toMatchObject({ code: DrpcCode.DeadlineExceeded });
    });

    it('leaves its attempts what is left of it', async () => {
      const clock = new TestClock();
      const gate = new Gate();
      const late: DrpcClientInterceptor = (call, next) => from(gate.opened).pipe(switchMap(() => next(call)));
      const client = await connect([TestController], { client: { clock, interceptors: [late] } });
      let error: unknown;
      const call = client.call('silent', 1, { timeout: 5000 }).catch((reason: unknown) => (error = reason));
      clock.advance(4000);
      gate.open();
      await client.call('echo', 'fence');
      clock.advance(999);
      await client.call('echo', 'fence');
      expect(error).toBeUndefined();
      clock.advance(1);
      await call;
      expect(error).toMatchObject({ code: DrpcCode.DeadlineExceeded });
    });

    it('sees the attempt end by the timeout, but cannot make it longer by trying again', async () => {
      const clock = new TestClock();
      const told: unknown[] = [];
      const again: DrpcClientInterceptor = (call, next) =>
        next(call).pipe(
          tap({ error: (error: DrpcError) => told.push(error.code) }),
          catchError(() => NEVER),
        );
      const client = await connect([TestController], { client: { clock, interceptors: [again] } });
      const call = client.call('silent', 1, { timeout: 5000 });
      clock.advance(5000);
      expect(told).toEqual([DrpcCode.DeadlineExceeded]);
      clock.advance(10);
      await expect(call).rejects.toMatchObject({ code: DrpcCode.DeadlineExceeded });
    });

    it('may give its attempt another time', async () => {
      const clock = new TestClock();
      const longer: DrpcClientInterceptor = (call, next) => next({ ...call, timeout: 9000 });
      const client = await connect([TestController], {
        client: { clock, timeout: 1000, interceptors: [longer] },
      });
      let error: unknown;
      const call = client.call('silent', 1).catch((reason: unknown) => (error = reason));
      clock.advance(8999);
      expect(error).toBeUndefined();
      clock.advance(1);
      await call;
      expect(error).toMatchObject({ code: DrpcCode.DeadlineExceeded });
    });

    it.each([
      ['in the middle', false],
      ['before', true],
    ])('stops when the signal aborts %s', async (_, isEarly) => {
      const client = await connect([TestController], { client: { interceptors: [forever] } });
      const abort = new AbortController();
      if (isEarly) abort.abort();
      const call = client.call('echo', 1, { signal: abort.signal });
      abort.abort();
      await expect(call).rejects.toMatchObject({ code: DrpcCode.Canceled });
      expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
    });

    it('sees why an attempt ends whose signal aborts', async () => {
      const told: unknown[] = [];
      const tracing: DrpcClientInterceptor = (call, next) =>
        next(call).pipe(tap({ error: (error: DrpcError) => told.push(error.code) }));
      const client = await connect([TestController], { client: { interceptors: [tracing] } });
      const abort = new AbortController();
      const call = client.call('silent', 1, { signal: abort.signal });
      abort.abort();
      await expect(call).rejects.toMatchObject({ code: DrpcCode.Canceled });
      expect(told).toEqual([DrpcCode.Canceled]);
    });

    it('stops when the client is closed', async () => {
      const client = await connect([TestController], { client: { interceptors: [forever] } });
      const call = client.call('echo', 1);
      await Promise.all([
        client.close(),
        expect(call).rejects.toMatchObject({ code: DrpcCode.Unavailable, message: 'the client is closed' }),
      ]);
    });
  });

  it('that answers twice makes call() fail, and with nothing makes it undefined', async () => {
    const twice = await connectWith(() => of(1, 2));
    await expect(twice.call('echo', 1)).rejects.toMatchObject({ code: DrpcCode.Internal });
    const nothing = await connectWith(() => EMPTY);
    expect(await nothing.call('echo', 1)).toBeUndefined();
    expect(await lastValueFrom(nothing.send('echo', 1).pipe(toArray()))).toEqual([]);
  });
});

describe('A deserializer that takes its time', () => {
  it("lets the loop's pace through to the server", async () => {
    const service = await Service.start([TestController], { server: { streamWindow: 64 * 1024 } });
    const other = service.client();
    const gate = new Gate();
    const client = service.client({
      streamWindow: 64 * 1024,
      deserializer: {
        deserialize: async (response: unknown) => {
          log.add(`came: ${response as number}`);
          await gate.opened;
          return { response };
        },
      },
    });
    const iterator = client.stream('numbers')[Symbol.asyncIterator]();
    const first = iterator.next();
    await log.seen('came: 0');
    // The server gets time for more than the window and the writer hold.
    let turns = 0;
    for (let before = -1; before < produced && turns < 1000; turns++) {
      before = produced;
      await other.call('echo', 1);
    }
    expect(turns).toBeLessThan(1000);
    gate.open();
    expect(await first).toEqual({ done: false, value: 0 });
    await iterator.return!();
  });
});
