import {
  BadRequestException,
  Catch,
  Controller,
  ForbiddenException,
  HttpException,
  Injectable,
  NotFoundException,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  ValidationPipe,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
  type PipeTransform,
} from '@nestjs/common';
import { EventPattern, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { IsInt, IsString, Min } from 'class-validator';
import {
  CanceledError,
  DeadlineError,
  DrpcClient,
  DrpcCode,
  DrpcError,
  DrpcException,
  DrpcSignal,
  DrpcStream,
} from 'nestjs-drpc';
import {
  concat,
  finalize,
  firstValueFrom,
  from,
  ignoreElements,
  lastValueFrom,
  map,
  mergeMap,
  Observable,
  of,
  tap,
  throwError,
  toArray,
  type ObservableInput,
} from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import { EventLog } from '../transport/helpers/event-log.js';
import { JoinedApps, type JoinedAppsOptions } from './helpers/joined-apps.js';
import { LogRecorder } from './helpers/log-recorder.js';

/** What the service throws, wherever a test wants it to. */
let thrown: unknown;
let log: EventLog;
let logger: LogRecorder;

beforeEach(() => {
  log = new EventLog();
  logger = new LogRecorder();
});

@Injectable()
class ThrowingGuard implements CanActivate {
  canActivate(): boolean {
    throw thrown;
  }
}

@Injectable()
class RefusingGuard implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

@Injectable()
class ThrowingPipe implements PipeTransform {
  transform(): never {
    throw thrown;
  }
}

@Injectable()
class ThrowingInterceptor implements NestInterceptor {
  intercept(): Observable<never> {
    throw thrown;
  }
}

@Injectable()
class LateInterceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<never> {
    return next.handle().pipe(mergeMap(() => throwError(() => thrown)));
  }
}

class Order {
  @IsString()
  id!: string;

  @IsInt()
  @Min(1)
  count!: number;
}

@Controller()
class FailingController {
  @MessagePattern('guard')
  @UseGuards(ThrowingGuard)
  guarded(): string {
    return 'never';
  }

  @MessagePattern('pipe')
  @UsePipes(ThrowingPipe)
  piped(@Payload() value: unknown): unknown {
    return value;
  }

  @MessagePattern('interceptor')
  @UseInterceptors(ThrowingInterceptor)
  intercepted(): string {
    return 'never';
  }

  @MessagePattern('interceptor, late')
  @UseInterceptors(LateInterceptor)
  interceptedLate(): string {
    return 'never';
  }

  @MessagePattern('method')
  method(): never {
    throw thrown;
  }

  @MessagePattern('promise')
  async promise(): Promise<never> {
    throw thrown;
  }

  @MessagePattern('observable')
  observable(): Observable<never> {
    return throwError(() => thrown);
  }

  @MessagePattern('request stream')
  requestStream(@DrpcStream() values: Observable<number>): Observable<unknown> {
    return values.pipe(
      map(() => {
        throw thrown;
      }),
    );
  }

  @MessagePattern('after a value')
  afterAValue(): Observable<string> {
    return concat(
      of('first'),
      throwError(() => thrown),
    );
  }

  @MessagePattern('generator after a value')
  async *generatorAfterAValue(): AsyncGenerator<string> {
    yield 'first';
    throw thrown;
  }

  @MessagePattern('loop after a value')
  async *loopAfterAValue(
    @DrpcStream({ as: 'iterable' }) values: AsyncIterable<number>,
  ): AsyncGenerator<string> {
    for await (const _value of values) {
      yield 'first';
      throw thrown;
    }
  }

  @MessagePattern('refused')
  @UseGuards(RefusingGuard)
  refused(): string {
    return 'never';
  }

  @EventPattern<string>('event')
  onEvent(_data: unknown): void {
    log.add('event');
    throw thrown;
  }

  @MessagePattern('order')
  order(@Payload() order: Order): string {
    return `${order.count} of ${order.id}, ${order instanceof Order ? 'an Order' : 'not an Order'}`;
  }

  @MessagePattern('orders')
  orders(@DrpcStream(Order) orders: Observable<Order>): Observable<number> {
    return orders.pipe(
      map(({ count }) => count),
      toArray(),
      map((counts) => counts.length),
    );
  }

  @MessagePattern('what came')
  async whatCame(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<unknown>): Promise<void> {
    try {
      for await (const value of values) log.add(`got ${JSON.stringify(value)}`);
    } catch (error) {
      const { name, code, message } = error as DrpcError;
      log.add(`failed: ${name} ${code} ${message}`);
    }
  }

  @MessagePattern('what came, pushed')
  whatCamePushed(
    @DrpcStream() values: Observable<unknown>,
    @DrpcSignal() signal: AbortSignal,
  ): Observable<unknown> {
    signal.addEventListener('abort', () => log.add(`aborted: ${(signal.reason as Error).message}`));
    return values.pipe(
      tap((value) => log.add(`got ${JSON.stringify(value)}`)),
      finalize(() => log.add('unsubscribed')),
      ignoreElements(),
    );
  }

  @MessagePattern('bytes only', { encoding: 'bytes' })
  bytes(@Payload() data: Buffer): Buffer {
    return data;
  }
}

const PLACES = [
  'guard',
  'pipe',
  'interceptor',
  'interceptor, late',
  'method',
  'promise',
  'observable',
  'request stream',
];
const AFTER_A_VALUE = ['after a value', 'generator after a value', 'loop after a value'];

async function start(options: JoinedAppsOptions = {}): Promise<JoinedApps> {
  return JoinedApps.start([FailingController], { logger, ...options });
}

/** The request that a place takes. */
function requestFor(place: string): unknown {
  return ['request stream', 'loop after a value'].includes(place) ? of(1) : {};
}

/** What the caller got, and the error at the end. */
async function outcome(
  client: DrpcClient,
  pattern: string,
  data: unknown = requestFor(pattern),
): Promise<{ values: unknown[]; error: unknown }> {
  const values: unknown[] = [];
  const error = await new Promise<unknown>((resolve) => {
    client.send(pattern, data).subscribe({
      next: (value) => values.push(value),
      error: resolve,
      complete: () => resolve(undefined),
    });
  });
  return { values, error };
}

const SECRET = 'the secret of the house';

type Thrown = [what: string, error: unknown, code: DrpcCode, message: string];

/** Meant for the caller. */
const MEANT: Thrown[] = [
  ['DrpcException', DrpcException.notFound('no such row'), DrpcCode.NotFound, 'no such row'],
  ['RpcException of text', new RpcException('a text'), DrpcCode.Unknown, 'a text'],
  [
    'RpcException of code and message',
    new RpcException({ code: 9, message: 'not now', [SECRET]: SECRET }),
    DrpcCode.FailedPrecondition,
    'not now',
  ],
  ['RpcException of a message', new RpcException({ message: 'a text' }), DrpcCode.Unknown, 'a text'],
  ['HttpException', new NotFoundException('no such row'), DrpcCode.NotFound, 'no such row'],
  [
    'HttpException of messages',
    new BadRequestException(['a is missing', 'b is wrong']),
    DrpcCode.InvalidArgument,
    'a is missing; b is wrong',
  ],
];

/** A fault of the service, of which its caller learns nothing. */
const FAULTS: [what: string, error: unknown][] = [
  ['Error', new Error(SECRET)],
  ['Error with a code', Object.assign(new Error(SECRET), { code: 5 })],
  ['rejection with text', SECRET],
  ['rejection with an object', { code: 5, message: SECRET }],
  ['rejection with a number', 5],
  ['rejection with undefined', undefined],
  ['rejection with null', null],
  ['DrpcError of its own call', new DrpcError(DrpcCode.NotFound, SECRET)],
];

describe.each(PLACES)('thrown in %s', (place) => {
  it.each(MEANT)('%s is told to the caller, and not logged', async (_what, error, code, message) => {
    const { client, tap } = await start();
    thrown = error;
    const failure = (await outcome(client, place)).error;
    expect(failure).toBeInstanceOf(DrpcError);
    expect(failure).toMatchObject({ code, message });
    expect((failure as Error).stack).toContain('Error');
    expect(logger.with('error |')).toEqual([]);
    expect(tap.receivedText).not.toContain(SECRET);
  });

  it.each(FAULTS)('%s is code 2 without its text, and logged once', async (_what, error) => {
    const { client, tap } = await start();
    thrown = error;
    const failure = (await outcome(client, place)).error;
    expect(failure).toBeInstanceOf(DrpcError);
    expect(failure).toMatchObject({ code: DrpcCode.Unknown, message: 'Internal server error' });
    expect(logger.with('error |')).toHaveLength(1);
    expect(tap.receivedText).not.toContain(SECRET);
  });
});

describe.each(AFTER_A_VALUE)('thrown %s', (place) => {
  it.each(MEANT)('%s comes behind the value', async (_what, error, code, message) => {
    const { client, tap } = await start();
    thrown = error;
    expect(await outcome(client, place)).toMatchObject({ values: ['first'], error: { code, message } });
    expect(tap.received(place)).toEqual(['Message "first"', `Error ${code} ${message}`]);
  });

  it.each(FAULTS)('%s comes behind the value, without its text', async (_what, error) => {
    const { client, tap } = await start();
    thrown = error;
    expect(await outcome(client, place)).toMatchObject({
      values: ['first'],
      error: { code: DrpcCode.Unknown, message: 'Internal server error' },
    });
    expect(logger.with('error |')).toHaveLength(1);
    expect(tap.receivedText).not.toContain(SECRET);
  });
});

describe('errors of the service', () => {
  it.each<[status: number, code: DrpcCode]>([
    [400, DrpcCode.InvalidArgument],
    [401, DrpcCode.Unauthenticated],
    [403, DrpcCode.PermissionDenied],
    [404, DrpcCode.NotFound],
    [408, DrpcCode.DeadlineExceeded],
    [409, DrpcCode.AlreadyExists],
    [412, DrpcCode.FailedPrecondition],
    [413, DrpcCode.ResourceExhausted],
    [418, DrpcCode.Unknown],
    [422, DrpcCode.InvalidArgument],
    [429, DrpcCode.ResourceExhausted],
    [500, DrpcCode.Internal],
    [501, DrpcCode.Unimplemented],
    [503, DrpcCode.Unavailable],
    [504, DrpcCode.DeadlineExceeded],
  ])('an HttpException of status %i has code %i', async (status, code) => {
    const { client } = await start();
    thrown = new HttpException('said so', status);
    expect((await outcome(client, 'method')).error).toMatchObject({ code, message: 'said so' });
  });

  it('come in every way a call is made', async () => {
    const { client } = await start();
    thrown = DrpcException.aborted('no more');
    const expected = { code: DrpcCode.Aborted, message: 'no more' };
    await expect(client.call('method')).rejects.toMatchObject(expected);
    await expect(firstValueFrom(client.send('method', {}))).rejects.toMatchObject(expected);
    await expect(lastValueFrom(client.emit('method', {}))).rejects.toMatchObject(expected);
    const loop = client.stream('method')[Symbol.asyncIterator]();
    await expect(loop.next()).rejects.toMatchObject(expected);
    expect(await loop.next()).toEqual({ done: true, value: undefined });
  });

  it('bring their details', async () => {
    const { client } = await start();
    const detail = { typeUrl: 'type.example/x', value: new Uint8Array([1, 2]) };
    thrown = new DrpcException(DrpcCode.Aborted, 'no more', { details: [detail] });
    const { error } = await outcome(client, 'method');
    expect((error as DrpcError).details).toEqual([
      { typeUrl: 'type.example/x', value: expect.objectContaining({ length: 2 }) as Uint8Array },
    ]);
    expect([...(error as DrpcError).details[0]!.value]).toEqual([1, 2]);
  });

  it('are code 7 where a guard says no', async () => {
    const { client } = await start();
    expect((await outcome(client, 'refused')).error).toMatchObject({
      code: DrpcCode.PermissionDenied,
      message: 'Forbidden resource',
    });
  });

  it.each<[what: string, error: DrpcError, code: DrpcCode]>([
    ['a cancel', new CanceledError(SECRET), DrpcCode.Canceled],
    ['a deadline', new DeadlineError(SECRET), DrpcCode.DeadlineExceeded],
  ])('of its own calls: %s is passed on without its text', async (_what, error, code) => {
    const { client, tap } = await start();
    thrown = error;
    expect((await outcome(client, 'promise')).error).toMatchObject({ code });
    expect(tap.receivedText).not.toContain(SECRET);
  });

  it('of its own calls are passed on whole with forwardErrors', async () => {
    const { client } = await start({ server: { forwardErrors: true } });
    thrown = new DrpcError(DrpcCode.NotFound, 'told by another service');
    expect((await outcome(client, 'promise')).error).toMatchObject({
      code: DrpcCode.NotFound,
      message: 'told by another service',
    });
  });

  it('of an event are logged once, and its sender is told nothing', async () => {
    const apps = await start();
    thrown = new Error(SECRET);
    await lastValueFrom(apps.client.emit('event', 1));
    await log.seen('event');
    await apps.fence();
    expect(logger.with(SECRET)).toHaveLength(1);
  });
});

describe('validation', () => {
  it('of the ValidationPipe arrives as code 3 with its messages', async () => {
    const { client } = await start({
      prepare: (app) => app.useGlobalPipes(new ValidationPipe({ transform: true })),
    });
    expect(await client.call('order', { id: 'a', count: 2 })).toBe('2 of a, an Order');
    await expect(client.call('order', { id: 1, count: 0 })).rejects.toMatchObject({
      code: DrpcCode.InvalidArgument,
      message: 'id must be a string; count must not be less than 1',
    });
  });

  it('of each message of a stream ends the call at the first that is wrong', async () => {
    const { client } = await start();
    const good = { id: 'a', count: 1 };
    expect(await client.call('orders', of(good, good))).toBe(2);
    await expect(client.call('orders', of(good, { id: 'b' }, good))).rejects.toMatchObject({
      code: DrpcCode.InvalidArgument,
      message: expect.stringContaining('count must be an integer number') as string,
    });
  });
});

describe('filters', () => {
  @Catch(NotFoundException)
  class ControllerFilter implements ExceptionFilter {
    catch(exception: NotFoundException): Observable<never> {
      return throwError(() => DrpcException.failedPrecondition(`controller: ${exception.message}`));
    }
  }

  @Catch()
  class GlobalFilter implements ExceptionFilter {
    catch(exception: Error, host: ArgumentsHost): ObservableInput<unknown> {
      log.add(host.getType());
      if (exception instanceof ForbiddenException) return of('a value instead');
      return throwError(() => ({ code: DrpcCode.DataLoss, message: `global: ${exception.message}` }));
    }
  }

  @Controller()
  @UseFilters(ControllerFilter)
  class FilteredController {
    @MessagePattern('filtered')
    filtered(): never {
      throw thrown;
    }

    @MessagePattern('filtered stream')
    filteredStream(): Observable<string> {
      return concat(
        of('first'),
        throwError(() => thrown),
      );
    }
  }

  async function startFiltered(): Promise<JoinedApps> {
    return JoinedApps.start([FilteredController, FailingController], {
      logger,
      prepare: (app) => app.useGlobalFilters(new GlobalFilter()),
    });
  }

  it.each(['filtered', 'filtered stream'])('of the controller come first: %s', async (pattern) => {
    const { client } = await startFiltered();
    thrown = new NotFoundException('x');
    expect((await outcome(client, pattern)).error).toMatchObject({
      code: DrpcCode.FailedPrecondition,
      message: 'controller: x',
    });
    expect(log.entries).toEqual([]);
  });

  it.each([...PLACES, 'filtered', 'filtered stream'])(
    'of the application take the rest: %s',
    async (pattern) => {
      const { client } = await startFiltered();
      thrown = new Error('x');
      expect((await outcome(client, pattern)).error).toMatchObject({
        code: DrpcCode.DataLoss,
        message: 'global: x',
      });
      expect(log.entries).toEqual(['rpc']);
    },
  );

  it('may give a value instead', async () => {
    const { client } = await startFiltered();
    thrown = new ForbiddenException();
    expect(await client.call('method')).toBe('a value instead');
  });
});

describe('errors of the caller', () => {
  it('in its source of requests: the caller hears them, the service a code without their text', async () => {
    const { client, tap } = await start();
    const error = new Error(SECRET);
    const requests = concat(
      of(1),
      throwError(() => error),
    );
    expect(await outcome(client, 'what came', requests)).toEqual({ values: [], error });
    await log.seen('failed: DrpcError 2 the request stream failed');
    expect(log.entries).toEqual(['got 1', 'failed: DrpcError 2 the request stream failed']);
    expect(tap.sent('what came')).toEqual([
      'Invoke what came',
      'Message 1',
      'Error 2 the request stream failed',
    ]);
  });

  it('in its source of requests: a handler that is pushed is unsubscribed', async () => {
    const { client } = await start();
    const error = new Error(SECRET);
    const requests = concat(of(1), from(log.seen('got 1')).pipe(map(() => raise(error))));
    expect(await outcome(client, 'what came, pushed', requests)).toEqual({ values: [], error });
    await log.seen('unsubscribed');
    expect(log.entries).toEqual(['got 1', 'aborted: the request stream failed', 'unsubscribed']);
  });

  it('in its loop of requests: the same', async () => {
    const { client } = await start();
    const error = new Error(SECRET);
    async function* requests(): AsyncGenerator<number> {
      yield 1;
      throw error;
    }
    expect(await outcome(client, 'what came', requests())).toEqual({ values: [], error });
    await log.seen('failed: DrpcError 2 the request stream failed');
    expect(log.entries[0]).toBe('got 1');
  });

  it('that are meant for the service arrive with code and text', async () => {
    const { client } = await start();
    const error = new DrpcError(DrpcCode.OutOfRange, 'no more rows');
    const requests = throwError(() => error);
    expect(await outcome(client, 'what came', requests)).toEqual({ values: [], error });
    await log.seen('failed: DrpcError 11 no more rows');
    expect(log.entries).toHaveLength(1);
  });

  it('that can not be encoded never leave, or end the call behind what left', async () => {
    const { client, tap } = await start();
    await expect(client.call('method', 1n)).rejects.toMatchObject({
      code: DrpcCode.InvalidArgument,
      message:
        'the request of rpc "method" can not be encoded as json: Do not know how to serialize a BigInt',
    });
    expect(tap.duplexes).toHaveLength(0);
    expect((await outcome(client, 'what came', of(1, 1n))).error).toMatchObject({
      code: DrpcCode.InvalidArgument,
    });
    await log.seen('got 1');
    // What the encoding said stays here.
    await log.seen('failed: DrpcError 3 the request of rpc "what came" can not be encoded as json');
  });

  it('that can not be decoded: code 3, naming rpc and encoding, for this call only', async () => {
    const { client } = await start();
    await expect(client.call('order', Buffer.from('{'), { encoding: 'bytes' })).rejects.toMatchObject({
      code: DrpcCode.InvalidArgument,
      message: 'a message of "order" is not valid json',
    });
    expect(await client.call('bytes only', Buffer.from('{'), { encoding: 'bytes' })).toEqual(
      Buffer.from('{'),
    );
  });

  it('about answers that can not be decoded: code 13, naming rpc and encoding, and a Cancel', async () => {
    const { client, tap } = await start();
    await expect(client.call('bytes only', '{')).resolves.toBe('{');
    await expect(
      client.call('bytes only', '{', { encoding: { ...answersInJson, name: 'json' } }),
    ).rejects.toMatchObject({
      code: DrpcCode.Internal,
      message: 'an answer of "bytes only" is not valid json',
    });
    expect(tap.received('bytes only')).toContain('Message {');
  });

  it("are Nest's own for what it does not allow", async () => {
    const { client } = await start();
    await expect(firstValueFrom(client.send('order', undefined))).rejects.toThrow(
      'The invalid data or message pattern',
    );
    await expect(firstValueFrom(client.send(undefined as never, {}))).rejects.toThrow(
      'The invalid data or message pattern',
    );
    await expect(client.call('x'.repeat(5000))).rejects.toMatchObject({ code: DrpcCode.InvalidArgument });
  });
});

function raise(error: Error): never {
  throw error;
}

/** Sends text as it is and reads JSON. */
const answersInJson = {
  name: 'json',
  marshal: (value: unknown) => Buffer.from(String(value)),
  unmarshal: (bytes: Uint8Array): unknown => JSON.parse(Buffer.from(bytes).toString()),
};
