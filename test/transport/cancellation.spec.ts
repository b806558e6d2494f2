import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import {
  Controller,
  Injectable,
  UseGuards,
  UseInterceptors,
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  type NestInterceptor,
  StreamableFile,
} from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { CanceledError, DrpcContext, DrpcStream } from 'nestjs-drpc';
import { finalize, NEVER, Observable, Subject, tap } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Caller, OpenCall } from './helpers/caller.js';
import { EventLog, Gate } from './helpers/event-log.js';
import { TestService, TRANSPORTS } from './helpers/test-service.js';

let log: EventLog;
/** Held by what is slow in the service; a test opens it. */
let gate: Gate;

beforeEach(() => {
  log = new EventLog();
  gate = new Gate();
});

function watched<T>(source: Observable<T>): Observable<T> {
  return new Observable((subscriber) => {
    log.add('subscribed');
    const inner = source.subscribe(subscriber);
    return () => {
      log.add('unsubscribed');
      inner.unsubscribe();
    };
  });
}

function logAbort(ctx: DrpcContext): void {
  ctx.signal.addEventListener('abort', () => log.add(`aborted: ${(ctx.signal.reason as Error).name}`));
}

@Injectable()
class SlowGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    log.add('guard');
    await gate.opened;
    return true;
  }
}

@Injectable()
class WatchingInterceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(
      tap({ unsubscribe: () => log.add('interceptor: unsubscribed') }),
      finalize(() => log.add('interceptor: finalized')),
    );
  }
}

@Controller()
class EndlessController {
  @MessagePattern('unary')
  async unary(@Ctx() ctx: DrpcContext): Promise<string> {
    logAbort(ctx);
    log.add('started');
    await gate.opened;
    log.add('method ended');
    return 'too late';
  }

  @MessagePattern('observable')
  observable(@Ctx() ctx: DrpcContext): Observable<unknown> {
    logAbort(ctx);
    log.add('started');
    return watched(NEVER);
  }

  @MessagePattern('generator')
  async *generator(@Ctx() ctx: DrpcContext): AsyncGenerator<string> {
    logAbort(ctx);
    log.add('started');
    try {
      yield 'first';
      await once(ctx.signal, 'abort');
      log.add('woken');
      yield 'never sent';
    } finally {
      log.add('generator left');
    }
  }

  @MessagePattern('iterator')
  iterator(): AsyncIterable<string> {
    log.add('started');
    return {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise<IteratorResult<string>>(() => undefined),
        return: async () => {
          log.add('return called');
          return { done: true, value: undefined };
        },
      }),
    };
  }

  @MessagePattern('node stream')
  nodeStream(): Readable {
    log.add('started');
    return new Readable({
      objectMode: true,
      read: () => undefined,
      destroy: (error, callback) => {
        log.add('destroyed');
        callback(error);
      },
    });
  }

  @MessagePattern('file')
  file(): StreamableFile {
    return new StreamableFile(this.nodeStream());
  }

  @MessagePattern('web stream')
  webStream(): ReadableStream<unknown> {
    log.add('started');
    return new ReadableStream({ cancel: () => log.add('web stream canceled') });
  }

  @MessagePattern('request stream')
  requestStream(@DrpcStream() values: Observable<unknown>): Observable<unknown> {
    log.add('started');
    return watched(values);
  }

  @MessagePattern('request loop')
  async requestLoop(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<unknown>): Promise<string> {
    log.add('started');
    try {
      for await (const value of values) log.add(`got ${String(value)}`);
    } catch (error) {
      log.add(`loop: ${(error as Error).name}`);
    }
    return 'too late';
  }

  @MessagePattern('guarded')
  @UseGuards(SlowGuard)
  guarded(): Observable<unknown> {
    log.add('method');
    return watched(NEVER);
  }

  @MessagePattern('guarded and intercepted')
  @UseGuards(SlowGuard)
  @UseInterceptors(WatchingInterceptor)
  guardedAndIntercepted(): Observable<unknown> {
    log.add('method');
    return watched(NEVER);
  }

  @MessagePattern('intercepted')
  @UseInterceptors(WatchingInterceptor)
  intercepted(): Observable<unknown> {
    log.add('started');
    return watched(NEVER);
  }

  @MessagePattern('intercepted generator')
  @UseInterceptors(WatchingInterceptor)
  async *interceptedGenerator(@Ctx() ctx: DrpcContext): AsyncGenerator<string> {
    log.add('started');
    try {
      yield 'first';
      await once(ctx.signal, 'abort');
    } finally {
      log.add('generator left');
    }
  }

  @MessagePattern('after the last')
  afterTheLast(): Observable<string> {
    return new Observable((subscriber) => {
      subscriber.next('last');
      return () => log.add('unsubscribed');
    });
  }

  // With the type of the pattern: the decorator's first overload takes no second parameter but an unknown one.
  @EventPattern<string>('event')
  async event(@Payload() _data: unknown, @Ctx() ctx: DrpcContext): Promise<void> {
    logAbort(ctx);
    log.add('event started');
    await gate.opened;
    log.add(`event ended, aborted: ${ctx.signal.aborted}`);
  }

  @MessagePattern('echo')
  echo(@Payload() value: unknown): unknown {
    return value;
  }
}

/** How a call ends before its time, and what its handler is told as the reason. */
const WAYS: [
  way: string,
  end: (caller: Caller, call: OpenCall, service: TestService) => void,
  cause: string,
][] = [
  ['a Cancel', (_caller, call) => call.cancel(), 'CanceledError'],
  ['a Close', (_caller, call) => call.stream.close(), 'ClosedError'],
  ['the loss of the connection', (caller) => void caller.socket.destroy(), 'ClosedError'],
  ['the close of the app', (_caller, _call, service) => void service.app.close(), 'ClosedError'],
];

const SOURCES: [rpc: string, torn: string][] = [
  ['observable', 'unsubscribed'],
  ['iterator', 'return called'],
  ['node stream', 'destroyed'],
  ['file', 'destroyed'],
  ['web stream', 'web stream canceled'],
  ['generator', 'generator left'],
  ['request stream', 'unsubscribed'],
  ['intercepted', 'interceptor: unsubscribed'],
  ['intercepted generator', 'generator left'],
];

const ALIVE_AFTER = ['a Cancel', 'a Close'];

describe.each(TRANSPORTS)('cancellation over %s', (over) => {
  describe.each(WAYS)('by %s', (way, end, cause) => {
    it.each(SOURCES)('stops the source of %s', async (rpc, torn) => {
      const service = await TestService.start([EndlessController], { over });
      const caller = await service.connect();
      const call = caller.open(rpc, rpc === 'request stream' ? undefined : [1]);
      const ended = call.rest().catch(() => undefined);
      await log.seen('started');
      end(caller, call, service);
      await log.seen(torn);
      await ended;
      expect(log.entries.filter((entry) => entry === torn)).toHaveLength(1);
    });

    it('aborts the signal of a handler that has given nothing yet, with the cause', async () => {
      const service = await TestService.start([EndlessController], { over });
      const caller = await service.connect();
      const call = caller.open('unary', [1]);
      const ended = call.rest().catch(() => undefined);
      await log.seen('started');
      end(caller, call, service);
      await log.seen(`aborted: ${cause}`);
      gate.open();
      await log.seen('method ended');
      await ended;
      expect(caller.frames(call)).toEqual(way === 'the close of the app' ? ['Error'] : []);
    });
  });
});

describe('cancellation', () => {
  async function start(): Promise<{ service: TestService; caller: Caller }> {
    const service = await TestService.start([EndlessController]);
    return { service, caller: await service.connect() };
  }

  it('writes nothing after a cancel, and the connection lives on', async () => {
    const { caller } = await start();
    const call = caller.open('unary', [1]);
    await log.seen('started');
    call.cancel();
    await log.seen('aborted: CanceledError');
    gate.open();
    await log.seen('method ended');
    expect(await caller.call('echo', 'alive')).toBe('alive');
    expect(caller.frames(call)).toEqual([]);
  });

  it('remembers a cancel that arrives while a guard is at work: the result is never subscribed to', async () => {
    const { caller } = await start();
    const call = caller.open('guarded', [1]);
    await log.seen('guard');
    call.cancel();
    await caller.fence();
    gate.open();
    // Nest runs the method all the same where there is no interceptor.
    await log.seen('method');
    await caller.fence();
    expect(log.entries).toEqual(['guard', 'method']);
    expect(caller.frames(call)).toEqual([]);
  });

  it('does not even run the method behind a guard where there is an interceptor', async () => {
    const { caller } = await start();
    const call = caller.open('guarded and intercepted', [1]);
    await log.seen('guard');
    call.cancel();
    await caller.fence();
    gate.open();
    await caller.call('echo', 1);
    expect(log.entries).toEqual(['guard']);
  });

  it('shows interceptors the teardown', async () => {
    const { caller } = await start();
    const call = caller.open('intercepted', [1]);
    await log.seen('subscribed');
    call.cancel();
    await log.seen('interceptor: finalized');
    expect(log.entries).toEqual([
      'started',
      'subscribed',
      'unsubscribed',
      'interceptor: unsubscribed',
      'interceptor: finalized',
    ]);
  });

  it('wakes a generator by the signal, and what it yields then is not sent', async () => {
    const { caller } = await start();
    const call = caller.open('generator', [1]);
    expect(await call.next()).toBe('first');
    call.cancel();
    await log.seen('generator left');
    await caller.fence();
    expect(log.entries).toEqual(['started', 'aborted: CanceledError', 'woken', 'generator left']);
    expect(caller.frames(call)).toEqual(['Message']);
  });

  it('stops a source after its last value as well', async () => {
    const { caller } = await start();
    const call = caller.open('after the last', [1]);
    expect(await call.next()).toBe('last');
    call.cancel();
    await log.seen('unsubscribed');
    await caller.fence();
    expect(caller.frames(call)).toEqual(['Message']);
  });

  it('tells a loop over the request the cause', async () => {
    const { caller } = await start();
    const call = caller.open('request loop');
    await call.send(1);
    await log.seen('got 1');
    call.cancel();
    await log.seen('loop: CanceledError');
    await caller.fence();
    expect(caller.frames(call)).toEqual([]);
  });

  it('does not touch the other calls of the connection', async () => {
    const { caller } = await start();
    const other = caller.open('generator', [1]);
    expect(await other.next()).toBe('first');
    const call = caller.open('observable', [1]);
    await log.seen('subscribed');
    call.cancel();
    await log.seen('unsubscribed');
    expect(await caller.call('echo', 1)).toBe(1);
    expect(caller.frames(other)).toEqual(['Message']);
    expect(log.entries).not.toContain('generator left');
  });

  it('frees what a handler gives after its call was canceled', async () => {
    const results: Record<string, () => unknown> = {
      'node stream': () => new Readable({ destroy: () => log.add('freed') }),
      'web stream': () => new ReadableStream({ cancel: () => log.add('freed') }),
      generator: () => ({
        [Symbol.asyncIterator](): unknown {
          return this;
        },
        next: () => log.add('pulled'),
        return: () => log.add('freed'),
      }),
    };
    @Controller()
    class LateController {
      @MessagePattern('late')
      async late(@Payload() kind: string): Promise<unknown> {
        log.add('started');
        await gate.opened;
        return results[kind]!();
      }
    }
    const caller = await (await TestService.start([LateController])).connect();
    for (const kind of Object.keys(results)) {
      log = new EventLog();
      gate = new Gate();
      const call = caller.open('late', [kind]);
      await log.seen('started');
      call.cancel();
      await caller.fence();
      gate.open();
      await log.seen('freed');
      expect(log.entries).toEqual(['started', 'freed']);
    }
  });

  it('lets a stream fail that a handler gives after its call was canceled', async () => {
    let file!: Readable;
    @Controller()
    class FileController {
      @MessagePattern('file')
      async file(): Promise<Readable> {
        log.add('started');
        await gate.opened;
        file = createReadStream(new URL('no-such-file', import.meta.url));
        file.once('close', () => log.add('closed'));
        return file;
      }
    }
    const caller = await (await TestService.start([FileController])).connect();
    const call = caller.open('file', [1]);
    await log.seen('started');
    call.cancel();
    await caller.fence();
    gate.open();
    await log.seen('closed');
    expect(file.errored).toMatchObject({ code: 'ENOENT' });
  });

  it('ends a call by its deadline with code 4 and the signal with a DeadlineError', async () => {
    const { caller } = await start();
    const answer = new Promise<Error | undefined>((resolve) => {
      // Only the server knows of this deadline: the client has set no timer.
      const sink = { message: () => undefined, end: resolve, terminated: () => undefined };
      const stream = caller.conn.open('unary', sink, { 'grpc-timeout': '30m' });
      stream.trySend('1');
      stream.closeSend();
    });
    await log.seen('aborted: DeadlineError');
    expect(await answer).toMatchObject({ code: 4, message: 'deadline exceeded' });
    gate.open();
    await log.seen('method ended');
  });

  it('lets an accepted event run on when its sender goes', async () => {
    const { service, caller } = await start();
    const call = caller.open('event', [1]);
    expect(await call.rest()).toEqual([]);
    await log.seen('event started');
    const gone = new Promise((resolve) => service.server.on('disconnect', resolve));
    caller.socket.destroy();
    await gone;
    gate.open();
    await log.seen('event ended, aborted: false');
  });

  it('gives a CanceledError to a handler that asks for the signal after the cancel', async () => {
    let seen: unknown;
    @Controller()
    class LateController {
      @MessagePattern('late')
      async late(@Ctx() ctx: DrpcContext): Promise<void> {
        log.add('started');
        await gate.opened;
        seen = ctx.signal.reason;
        log.add(`aborted: ${ctx.getSignal().aborted}`);
      }
    }
    const service = await TestService.start([LateController]);
    const caller = await service.connect();
    const call = caller.open('late', [1]);
    await log.seen('started');
    call.cancel();
    await caller.fence();
    gate.open();
    await log.seen('aborted: true');
    expect(seen).toBeInstanceOf(CanceledError);
  });

  it('stops a source that emits without end while it is being subscribed to', async () => {
    @Controller()
    class FloodController {
      @MessagePattern('flood')
      flood(): Observable<string> {
        const block = 'x'.repeat(100_000);
        return new Observable((subscriber) => {
          while (!subscriber.closed) subscriber.next(block);
          log.add('stopped');
        });
      }
    }
    const service = await TestService.start([FloodController]);
    const caller = await service.connect();
    const call = caller.open('flood', [1]);
    await log.seen('stopped');
    await expect(call.rest()).rejects.toMatchObject({ code: 8 });
  });

  it('gives a request stream that is subscribed to apart from the result its end', async () => {
    @Controller()
    class ApartController {
      @MessagePattern('apart')
      apart(@DrpcStream() values: Observable<number>): string {
        const sum = new Subject<number>();
        values.subscribe({
          next: (value) => log.add(`got ${value}`),
          complete: () => log.add('complete'),
          error: (error: Error) => log.add(`error: ${error.name}`),
        });
        sum.complete();
        return 'answer';
      }
    }
    const service = await TestService.start([ApartController]);
    const caller = await service.connect();
    const call = caller.open('apart');
    expect(await call.next()).toBe('answer');
    await call.send(1);
    await log.seen('got 1');
    call.closeSend();
    await log.seen('complete');
    const other = caller.open('apart');
    expect(await other.next()).toBe('answer');
    other.cancel();
    await log.seen('error: CanceledError');
  });
});

it.each(ALIVE_AFTER)('keeps the connection after %s', async (way) => {
  const service = await TestService.start([EndlessController]);
  const caller = await service.connect();
  const call = caller.open('observable', [1]);
  await log.seen('started');
  WAYS.find(([name]) => name === way)![1](caller, call, service);
  expect(await caller.call('echo', way)).toBe(way);
});
