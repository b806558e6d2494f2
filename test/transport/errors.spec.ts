import {
  ArgumentsHost,
  BadRequestException,
  Catch,
  Controller,
  HttpException,
  Injectable,
  IntrinsicException,
  Logger,
  NotFoundException,
  Optional,
  ServiceUnavailableException,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  ValidationPipe,
  type CanActivate,
  type ExceptionFilter,
  type NestInterceptor,
  type PipeTransform,
} from '@nestjs/common';
import {
  BaseRpcExceptionFilter,
  EventPattern,
  GrpcNotFoundException,
  MessagePattern,
  Payload,
  RpcException,
} from '@nestjs/microservices';
import { Transform } from 'class-transformer';
import { IsInt, IsNotEmpty } from 'class-validator';
import { CanceledError, DrpcCode, DrpcError, DrpcException, DrpcStream } from 'nestjs-drpc';
import { concat, map, of, throwError, type Observable } from 'rxjs';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { Caller } from './helpers/caller.js';
import { EventLog } from './helpers/event-log.js';
import { TestService } from './helpers/test-service.js';

/** What the next call of the service throws. */
let thrown: unknown;
const log = new EventLog();

@Injectable()
class ThrowingGuard implements CanActivate {
  canActivate(): boolean {
    throw thrown;
  }
}

@Injectable()
class ClosedGuard implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

@Injectable()
class ThrowingPipe implements PipeTransform {
  transform(): unknown {
    throw thrown;
  }
}

@Injectable()
class ThrowingInterceptor implements NestInterceptor {
  intercept(): Observable<unknown> {
    throw thrown;
  }
}

class Ticket {
  @Transform(() => {
    throw thrown;
  })
  @IsInt()
  number!: number;
}

class Person {
  @IsNotEmpty() name!: string;
  @IsInt() age!: number;
}

@Catch(RangeError)
class RangeFilter implements ExceptionFilter {
  catch(exception: RangeError): Observable<never> {
    return throwError(() => ({ code: DrpcCode.OutOfRange, message: `filtered: ${exception.message}` }));
  }
}

@Catch(SyntaxError)
class TextFilter implements ExceptionFilter {
  catch(exception: SyntaxError): Observable<unknown> {
    return exception.message === 'as a value' ? of('a value') : throwError(() => 'a text');
  }
}

@Catch()
class DelegatingFilter extends BaseRpcExceptionFilter {
  override catch(exception: unknown, host: ArgumentsHost): Observable<unknown> {
    log.add('delegated');
    return super.catch(exception as RpcException, host);
  }
}

@Controller()
class FailingController {
  @MessagePattern('method')
  method(): void {
    throw thrown;
  }

  @MessagePattern('promise')
  async promise(): Promise<void> {
    throw thrown;
  }

  @MessagePattern('observable')
  observable(): Observable<never> {
    return throwError(() => thrown);
  }

  @MessagePattern('after a value')
  afterAValue(): Observable<unknown> {
    return concat(
      of('first'),
      throwError(() => thrown),
    );
  }

  @MessagePattern('generator')
  async *generator(): AsyncGenerator<unknown> {
    yield 'first';
    throw thrown;
  }

  @MessagePattern('guard')
  @UseGuards(ThrowingGuard)
  guard(): void {}

  @MessagePattern('closed guard')
  @UseGuards(ClosedGuard)
  closedGuard(): void {}

  @MessagePattern('pipe')
  pipe(@Payload(ThrowingPipe) _data: unknown): void {}

  @MessagePattern('interceptor')
  @UseInterceptors(ThrowingInterceptor)
  interceptor(): void {}

  @MessagePattern('request stream')
  requestStream(@DrpcStream() values: Observable<unknown>): Observable<unknown> {
    return values.pipe(
      map(() => {
        throw thrown;
      }),
    );
  }

  @MessagePattern('tickets')
  tickets(@DrpcStream(Ticket) tickets: Observable<Ticket>): Observable<number> {
    return tickets.pipe(map(({ number }) => number));
  }

  @MessagePattern('validated')
  @UsePipes(new ValidationPipe())
  validated(@Payload() person: Person): string {
    return person.name;
  }

  @MessagePattern('filtered')
  @UseFilters(RangeFilter)
  filtered(): void {
    throw thrown;
  }

  @MessagePattern('filtered observable')
  @UseFilters(RangeFilter)
  filteredObservable(): Observable<never> {
    return throwError(() => thrown);
  }

  @MessagePattern('text filter')
  @UseFilters(TextFilter)
  textFilter(): void {
    throw thrown;
  }

  @MessagePattern('delegated')
  @UseFilters(DelegatingFilter)
  delegated(): void {
    throw thrown;
  }

  @MessagePattern('not encodable')
  notEncodable(): unknown {
    return { count: 1n };
  }

  @MessagePattern('second not encodable')
  secondNotEncodable(): Observable<unknown> {
    return of(1, 1n, 3);
  }

  @MessagePattern('hostile value')
  hostileValue(): unknown {
    return {
      get [Symbol.asyncIterator](): never {
        throw new Error('secret text');
      },
    };
  }

  @MessagePattern('too large')
  tooLarge(): string {
    return 'x'.repeat(5000);
  }

  @EventPattern<string>('event')
  event(@Payload() _data: unknown): void {
    throw thrown;
  }
}

const EVERYWHERE = [
  'method',
  'promise',
  'observable',
  'guard',
  'pipe',
  'interceptor',
  'request stream',
] as const;

async function answer(caller: Caller, rpc: string, error: unknown): Promise<unknown> {
  thrown = error;
  return caller.call(rpc, 1).catch((failure: unknown) => failure);
}

describe('errors of a handler', () => {
  const errors = vi.spyOn(Logger.prototype, 'error');

  // Servers that close behind a test say what they left out.
  beforeEach(() => {
    errors.mockClear();
  });

  async function start(options?: Parameters<typeof TestService.start>[1]): Promise<Caller> {
    return (await TestService.start([FailingController], options)).connect();
  }

  it.each<[what: string, error: unknown, code: DrpcCode, message: string]>([
    ['a DrpcException', DrpcException.notFound('no such row'), DrpcCode.NotFound, 'no such row'],
    ['an RpcException of text', new RpcException('a text'), DrpcCode.Unknown, 'a text'],
    [
      'an RpcException of an object',
      new RpcException({ code: 9, message: 'not now', more: 'left out' }),
      DrpcCode.FailedPrecondition,
      'not now',
    ],
    [
      'an RpcException of an object without a code',
      new RpcException({ message: 'a text' }),
      DrpcCode.Unknown,
      'a text',
    ],
    ['an HttpException', new NotFoundException('no such row'), DrpcCode.NotFound, 'no such row'],
    [
      'an HttpException with messages',
      new BadRequestException(['a must be a number', 'b is missing']),
      DrpcCode.InvalidArgument,
      'a must be a number; b is missing',
    ],
    ['an HttpException of text', new HttpException('busy', 503), DrpcCode.Unavailable, 'busy'],
    [
      'an HttpException without a message',
      new ServiceUnavailableException(),
      DrpcCode.Unavailable,
      'Service Unavailable',
    ],
    [
      'an HttpException of nothing, as another service may answer',
      new HttpException(undefined as never, 404),
      DrpcCode.NotFound,
      'Http Exception',
    ],
    ['a GrpcException', new GrpcNotFoundException('no such row'), DrpcCode.NotFound, 'no such row'],
  ])('gives the caller %s wherever it is thrown, and logs nothing', async (_what, error, code, message) => {
    const caller = await start();
    for (const rpc of EVERYWHERE) {
      expect(await answer(caller, rpc, error)).toMatchObject({ code, message });
    }
    expect(errors).not.toHaveBeenCalled();
  });

  it.each<[what: string, error: unknown]>([
    ['an Error', new Error('secret text')],
    ['an Error with a code', Object.assign(new Error('secret text'), { code: 'EACCES' })],
    ['text', 'secret text'],
    ['an object', { code: 5, message: 'secret text' }],
    ['undefined', undefined],
    ['null', null],
    ['a DrpcError of a call to another service', new DrpcError(DrpcCode.NotFound, 'secret text')],
  ])('keeps %s to itself, with code 2, and logs it once', async (_what, error) => {
    const caller = await start();
    for (const rpc of EVERYWHERE) {
      errors.mockClear();
      expect(await answer(caller, rpc, error)).toMatchObject({
        code: DrpcCode.Unknown,
        message: 'Internal server error',
      });
      expect(errors).toHaveBeenCalledOnce();
    }
    errors.mockClear();
    await caller
      .open('generator', [1])
      .rest()
      .catch(() => undefined);
    expect(errors).toHaveBeenCalledOnce();
  });

  it('logs rpc and stack of what nobody meant', async () => {
    const caller = await start();
    const error = new Error('secret text');
    await answer(caller, 'method', error);
    expect(errors.mock.calls[0]![0]).toBe('rpc "method" failed');
    expect(errors.mock.calls[0]![1]).toContain(error.stack);
  });

  it('writes no more than ten faults of an rpc in ten seconds, and no line of its caller', async () => {
    const caller = await start();
    for (let i = 0; i < 12; i++) await answer(caller, 'method', new Error('no\n[Nest] user'));
    expect(errors).toHaveBeenCalledTimes(10);
    expect(errors.mock.calls[0]![1]).toContain('Error: no\\n[Nest] user\n    at ');
    await answer(caller, 'observable', new Error('any'));
    expect(errors).toHaveBeenCalledTimes(11);
  });

  it('logs no exception that Nest wants in no log', async () => {
    class Silent extends IntrinsicException {}
    const caller = await start();
    expect(await answer(caller, 'method', new Silent('quiet'))).toMatchObject({ code: 2 });
    expect(errors).not.toHaveBeenCalled();
  });

  it.each(['after a value', 'generator'])('sends the error behind the values: %s', async (rpc) => {
    const caller = await start();
    thrown = DrpcException.aborted('over');
    const call = caller.open(rpc, [1]);
    expect(await call.next()).toBe('first');
    await expect(call.next()).rejects.toMatchObject({ code: DrpcCode.Aborted, message: 'over' });
  });

  it('answers code 7 where a guard says no', async () => {
    const caller = await start();
    expect(await answer(caller, 'closed guard', undefined)).toMatchObject({
      code: DrpcCode.PermissionDenied,
      message: 'Forbidden resource',
    });
  });

  it('gives validation messages with code 3', async () => {
    const caller = await start();
    expect(await caller.call('validated', { name: 'Ada', age: 36 })).toBe('Ada');
    await expect(caller.call('validated', { name: '', age: 1.5 })).rejects.toMatchObject({
      code: DrpcCode.InvalidArgument,
      message: 'name should not be empty; age must be an integer number',
    });
  });

  it('passes a cancel and a deadline of a call to another service on, without their text', async () => {
    const caller = await start();
    expect(await answer(caller, 'method', new CanceledError('secret text'))).toMatchObject({
      code: DrpcCode.Canceled,
      message: 'canceled',
    });
    const deadline = new DrpcError(DrpcCode.DeadlineExceeded, 'secret text');
    expect(await answer(caller, 'method', deadline)).toMatchObject({
      code: DrpcCode.DeadlineExceeded,
      message: 'deadline exceeded',
    });
  });

  it('passes errors of a call to another service on as they are with forwardErrors', async () => {
    const caller = await start({ server: { forwardErrors: true } });
    expect(await answer(caller, 'method', new DrpcError(DrpcCode.NotFound, 'a text'))).toMatchObject({
      code: DrpcCode.NotFound,
      message: 'a text',
    });
    expect(await answer(caller, 'method', new Error('secret text'))).toMatchObject({
      code: DrpcCode.Unknown,
    });
  });

  it.each(['filtered', 'filtered observable'])('lets a filter of the method come first: %s', async (rpc) => {
    const caller = await start();
    expect(await answer(caller, rpc, new RangeError('5'))).toMatchObject({
      code: DrpcCode.OutOfRange,
      message: 'filtered: 5',
    });
    expect(errors).not.toHaveBeenCalled();
    expect(await answer(caller, rpc, DrpcException.notFound('no filter'))).toMatchObject({ code: 5 });
  });

  it('lets a global filter come before the mapping, and a filter of the method before that', async () => {
    @Catch()
    class GlobalFilter implements ExceptionFilter {
      catch(): Observable<never> {
        return throwError(() => ({ code: DrpcCode.DataLoss, message: 'global' }));
      }
    }
    const caller = await start({ prepare: (app) => void app.useGlobalFilters(new GlobalFilter()) });
    expect(await answer(caller, 'method', new Error('any'))).toMatchObject({ code: 15, message: 'global' });
    expect(await answer(caller, 'method', new NotFoundException())).toMatchObject({ code: 15 });
    expect(await answer(caller, 'filtered', new RangeError('5'))).toMatchObject({ code: 11 });
  });

  it('sends what a filter throws as text, and what it gives as a value as a value', async () => {
    const caller = await start();
    expect(await answer(caller, 'text filter', new SyntaxError('x'))).toMatchObject({
      code: DrpcCode.Unknown,
      message: 'a text',
    });
    expect(await answer(caller, 'text filter', new SyntaxError('as a value'))).toBe('a value');
  });

  it("maps what a filter hands on to Nest's own last filter", async () => {
    const caller = await start();
    expect(await answer(caller, 'delegated', new NotFoundException('no such row'))).toMatchObject({
      code: DrpcCode.NotFound,
      message: 'no such row',
    });
    expect(log.entries).toEqual(['delegated']);
  });

  it('keeps the fault of a value that can not be encoded to itself', async () => {
    const caller = await start();
    expect(await answer(caller, 'not encodable', undefined)).toMatchObject({
      code: 2,
      message: 'Internal server error',
    });
    expect(errors).toHaveBeenCalledOnce();
    const call = caller.open('second not encodable', [1]);
    expect(await call.next()).toBe(1);
    await expect(call.next()).rejects.toMatchObject({ code: 2 });
    expect(caller.frames(call)).toEqual(['Message', 'Error']);
  });

  it('survives a value that throws when it is looked at', async () => {
    const caller = await start();
    expect(await answer(caller, 'hostile value', undefined)).toMatchObject({
      code: 2,
      message: 'Internal server error',
    });
    expect(errors).toHaveBeenCalledOnce();
  });

  it.each([
    ['details that are none', new DrpcException(3, 'any', { details: [{ reason: 'any' } as never] })],
    [
      'getters that throw',
      Object.defineProperty(new Error('secret text'), 'stack', {
        get() {
          throw new Error('secret text');
        },
      }),
    ],
  ])('answers though an exception has %s, and logs it', async (_what, error) => {
    const caller = await start({ server: { plainClients: 'cockroach' } });
    for (const rpc of EVERYWHERE) {
      errors.mockClear();
      expect(await answer(caller, rpc, error)).toMatchObject({ code: 2, message: 'Internal server error' });
      expect(errors).toHaveBeenCalledOnce();
    }
  });

  it('answers though the logger of the application throws', async () => {
    const caller = await start();
    errors.mockImplementationOnce(() => {
      throw new Error('disk full');
    });
    expect(await answer(caller, 'method', new Error('any'))).toMatchObject({ code: 2 });
    expect(errors).toHaveBeenCalledOnce();
  });

  it('keeps what a class for messages throws by mistake to itself, and passes on what it means', async () => {
    const caller = await start();
    thrown = new Error('secret text');
    expect(await caller.all('tickets', { number: 1 }).catch((failure: unknown) => failure)).toMatchObject({
      code: 2,
      message: 'Internal server error',
    });
    expect(errors).toHaveBeenCalledOnce();
    thrown = new BadRequestException('no such ticket');
    expect(await caller.all('tickets', { number: 1 }).catch((failure: unknown) => failure)).toMatchObject({
      code: 3,
      message: 'no such ticket',
    });
    expect(errors).toHaveBeenCalledOnce();
  });

  it('says that an answer is over the limit', async () => {
    const caller = await start({ server: { maxSendSize: 4096 } });
    expect(await answer(caller, 'too large', undefined)).toMatchObject({
      code: DrpcCode.ResourceExhausted,
      message: 'message of 5002 bytes exceeds the limit of 4096',
    });
  });

  it('logs the fault of an event handler once, and tells the sender nothing', async () => {
    const caller = await start();
    for (const error of [new Error('any'), new RpcException('meant'), new NotFoundException()]) {
      errors.mockClear();
      thrown = error;
      expect(await caller.all('event', 1)).toEqual([]);
      await caller.fence();
      expect(errors).toHaveBeenCalledOnce();
      expect(errors.mock.calls[0]![0]).toBe('rpc "event" failed');
    }
  });

  it('maps what fails while a request-scoped controller is made', async () => {
    @Injectable({ scope: 2 })
    class Broken {
      constructor(@Optional() _nothing: string) {
        throw new NotFoundException('no tenant');
      }
    }
    @Controller()
    class ScopedController {
      constructor(readonly broken: Broken) {}

      @MessagePattern('scoped')
      scoped(): void {}
    }
    const service = await TestService.start([ScopedController], { module: { providers: [Broken] } });
    const caller = await service.connect();
    await expect(caller.call('scoped', 1)).rejects.toMatchObject({ code: 5, message: 'no tenant' });
  });
});
