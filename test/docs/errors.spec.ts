import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import {
  Catch,
  ClassSerializerInterceptor,
  Controller,
  Get,
  HttpException,
  Inject,
  Module,
  Param,
  UseFilters,
  UseInterceptors,
  type ArgumentsHost,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { APP_FILTER, BaseExceptionFilter, NestFactory } from '@nestjs/core';
import {
  BaseRpcExceptionFilter,
  ClientsModule,
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
} from '@nestjs/microservices';
import { Exclude, instanceToPlain } from 'class-transformer';
import {
  DrpcClient,
  drpcClient,
  DrpcCode,
  DrpcContext,
  DrpcError,
  DrpcException,
  type DrpcClientInterceptor,
} from 'nestjs-drpc';
import { of, retry, tap, throwError, timer, type Observable } from 'rxjs';
import { describe, expect, it, onTestFinished } from 'vitest';
import { codeOfHttpStatus } from '../../lib/bridge/http-status.js';
import { JoinedApps } from '../e2e/helpers/joined-apps.js';
import { TestClock } from '../pool/helpers/test-clock.js';
import { pem, TestService } from '../transport/helpers/test-service.js';
import { describePage } from './docs-page.js';

describePage('errors');

const page = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');

/** The rows of the table behind a heading, cell by cell. */
function tableBehind(heading: string): string[][] {
  const [, part] = page.split(`## ${heading}\n`);
  const [section] = part!.split('\n## ');
  return section!
    .split('\n')
    .filter((line) => /^\| *[`\d]/.test(line))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

describe('the tables of docs/errors.md', () => {
  it('have every code by its name', () => {
    const rows = tableBehind('The codes').map(([code, name]) => [Number(code), name]);
    const codes = Object.values(DrpcCode).filter((code) => typeof code === 'number' && code !== 0);
    expect(rows).toEqual(codes.map((code) => [code, `\`${DrpcCode[code as DrpcCode]}\``]));
  });

  it('have the code of every HTTP status', () => {
    const rows = tableBehind('HttpException in a handler').flatMap(([statuses, code]) =>
      statuses!.split(', ').map((status) => [Number(status), Number.parseInt(code!, 10)] as const),
    );
    const all = new Map(rows);
    for (let status = 400; status < 600; status++) {
      expect([status, all.get(status) ?? 2]).toEqual([status, codeOfHttpStatus(status)]);
    }
  });
});

const HTTP_STATUS: { readonly [code in DrpcCode]?: number } = {
  [DrpcCode.InvalidArgument]: 400,
  [DrpcCode.Unauthenticated]: 401,
  [DrpcCode.PermissionDenied]: 403,
  [DrpcCode.NotFound]: 404,
  [DrpcCode.AlreadyExists]: 409,
  [DrpcCode.Aborted]: 409,
  [DrpcCode.FailedPrecondition]: 412,
  [DrpcCode.ResourceExhausted]: 429,
  [DrpcCode.Unavailable]: 503,
  [DrpcCode.DeadlineExceeded]: 504,
};

@Catch(DrpcError)
class DrpcErrorFilter extends BaseExceptionFilter {
  override catch(error: DrpcError, host: ArgumentsHost): void {
    const status = HTTP_STATUS[error.code] ?? 500;
    // What is not the user's fault is not for the user to read: such messages name hosts and ports.
    const text = status < 500 ? error.message : 'The service is not available';
    super.catch(new HttpException(text, status, { cause: error }), host);
  }
}

@Controller()
class DoorController {
  @MessagePattern('door')
  door(@Payload() door: number): string {
    if (door > 3) throw new DrpcException(DrpcCode.NotFound, `there is no door ${door}`);
    return `door ${door}`;
  }

  @MessagePattern('slow')
  slow(): Promise<never> {
    return new Promise(() => undefined);
  }

  @MessagePattern('doors')
  doors(): Observable<number> {
    return of(1, 2);
  }

  @MessagePattern('broken')
  broken(): never {
    throw new TypeError('not meant for the caller');
  }
}

@Controller('doors')
class GatewayController {
  constructor(@Inject('DOORS') private readonly doors: DrpcClient) {}

  @Get(':door')
  door(@Param('door') door: string): Promise<string | undefined> {
    return this.doors.call<string>('door', Number(door));
  }
}

async function startGateway(options: Parameters<typeof drpcClient>[0]): Promise<string> {
  @Module({
    imports: [ClientsModule.register([drpcClient({ name: 'DOORS', ...options })])],
    controllers: [GatewayController],
    providers: [{ provide: APP_FILTER, useClass: DrpcErrorFilter }],
  })
  class GatewayModule {}

  const app = await NestFactory.create(GatewayModule, { logger: false });
  onTestFinished(() => app.close());
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  return `http://127.0.0.1:${port}`;
}

describe('the filter of a gateway', () => {
  it('answers HTTP with the status of a code', async () => {
    const { port } = await TestService.start([DoorController]);
    const gateway = await startGateway({ port });
    const good = await fetch(`${gateway}/doors/2`);
    expect([good.status, await good.text()]).toEqual([200, 'door 2']);
    const bad = await fetch(`${gateway}/doors/9`);
    expect([bad.status, await bad.json()]).toEqual([404, { statusCode: 404, message: 'there is no door 9' }]);
  });

  it('tells nothing of a service that is away', async () => {
    const gateway = await startGateway({ dial: () => Promise.reject(new Error('secret host')) });
    const away = await fetch(`${gateway}/doors/2`);
    expect([away.status, await away.json()]).toEqual([
      503,
      { statusCode: 503, message: 'The service is not available' },
    ]);
  });
});

/** The patterns that may run twice: they change nothing, or the same thing again. */
const REPEATABLE = new Set(['stock', 'price']);

const retried: DrpcClientInterceptor = (call, next) => {
  if (!REPEATABLE.has(call.rpc)) return next(call);
  const again = (error: unknown, attempt: number): Observable<unknown> =>
    error instanceof DrpcError && error.code === DrpcCode.Unavailable
      ? timer(50 * 2 ** attempt)
      : throwError(() => error);
  return next(call).pipe(retry({ count: 3, delay: again }));
};

describe('the interceptor that tries again', () => {
  const seen: string[] = [];

  @Controller()
  class StockController {
    @MessagePattern('stock')
    stock(): number {
      seen.push('stock');
      if (seen.length < 3) throw DrpcException.unavailable('not now');
      return 7;
    }

    @MessagePattern('price')
    price(): never {
      seen.push('price');
      throw DrpcException.notFound('no price');
    }

    @MessagePattern('order')
    order(): never {
      seen.push('order');
      throw DrpcException.unavailable('not now');
    }
  }

  it('calls what may run twice again, for code 14', async () => {
    const { client } = await JoinedApps.start([StockController], { client: { interceptors: [retried] } });
    expect(await client.call('stock')).toBe(7);
    expect(seen.splice(0)).toEqual(['stock', 'stock', 'stock']);
    await expect(client.call('price')).rejects.toMatchObject({ code: 5 });
    await expect(client.call('order')).rejects.toMatchObject({ code: 14 });
    expect(seen.splice(0)).toEqual(['price', 'order']);
  });
});

describe('what is said of @EventPattern', () => {
  it('holds: the compiler refuses all but one parameter, unless the type is named', async () => {
    const seen: string[] = [];

    @Controller()
    class EventController {
      // @ts-expect-error -- TS1241
      @EventPattern('none')
      none(): void {}

      // @ts-expect-error -- TS1241
      @EventPattern('two')
      two(@Payload() _data: unknown, @Ctx() _context: DrpcContext): void {}

      @EventPattern('one')
      one(@Payload() _data: unknown): void {}

      @EventPattern<string>('named none')
      namedNone(): void {
        seen.push('none');
      }

      @EventPattern<string>('named two')
      namedTwo(@Payload() data: unknown, @Ctx() { pattern }: DrpcContext): void {
        seen.push(`${pattern}: ${String(data)}`);
      }
    }

    const apps = await JoinedApps.start([EventController]);
    await apps.client.call('named none');
    await apps.client.call('named two', 2);
    await apps.fence();
    expect(seen).toEqual(['none', 'named two: 2']);
  });
});

describe('the time of a call that is tried again', () => {
  it.each<[string, number | undefined, number]>([
    ['is that of the whole, which its attempts share', undefined, 1000],
    ['is that of each attempt, where it is handed on with one', 500, 4 * 500],
  ])('%s', async (_what, timeout, expected) => {
    const clock = new TestClock();
    const again: DrpcClientInterceptor = (call, next) =>
      next(timeout === undefined ? call : { ...call, timeout }).pipe(retry(3));
    const dial = () => new Promise<never>(() => undefined);
    const client = new DrpcClient({ clock, dial, timeout: 1000, interceptors: [again] });
    onTestFinished(() => client.close());
    const begun = clock.now();
    let ended: number | undefined;
    void client.call('stock').catch(() => (ended = clock.now()));
    while (ended === undefined) {
      clock.advance(10);
      await new Promise((resolve) => void setImmediate(resolve));
    }
    expect(ended - begun).toBeGreaterThanOrEqual(expected);
    expect(ended - begun).toBeLessThanOrEqual(expected + 50);
  });
});

describe('what filters see', () => {
  const seen: string[] = [];

  @Catch()
  class Watching extends BaseRpcExceptionFilter {
    override catch(exception: Error, host: ArgumentsHost): Observable<unknown> {
      seen.push(exception.message);
      return super.catch(exception, host) as Observable<unknown>;
    }
  }

  @Controller()
  @UseFilters(Watching)
  class FailingController {
    @MessagePattern('generator')
    async *generator(): AsyncGenerator<number> {
      yield 1;
      throw DrpcException.notFound('in the generator');
    }

    @MessagePattern('observable')
    observable(): Observable<number> {
      return throwError(() => DrpcException.notFound('in the Observable'));
    }
  }

  it('is an Observable, and no generator; both have the codes of the table', async () => {
    const { client } = await JoinedApps.start([FailingController]);
    const all = async (pattern: string): Promise<void> => {
      for await (const _ of client.stream(pattern));
    };
    await expect(all('observable')).rejects.toMatchObject({ code: 5, message: 'in the Observable' });
    await expect(all('generator')).rejects.toMatchObject({ code: 5, message: 'in the generator' });
    expect(seen).toEqual(['in the Observable']);
  });
});

describe('what interceptors see', () => {
  class User {
    name = 'ann';

    @Exclude()
    password = 'secret';
  }

  const cache = new Map<unknown, unknown>();

  class CacheInterceptor implements NestInterceptor {
    intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
      const { pattern } = context.switchToRpc().getContext<DrpcContext>();
      if (cache.has(pattern)) return of(cache.get(pattern));
      return next.handle().pipe(tap((value) => cache.set(pattern, value)));
    }
  }

  @Controller()
  class UsersController {
    @UseInterceptors(ClassSerializerInterceptor)
    @MessagePattern('observable')
    observable(): Observable<User> {
      return of(new User());
    }

    @UseInterceptors(ClassSerializerInterceptor)
    @MessagePattern('generator')
    async *generator(): AsyncGenerator<User> {
      yield new User();
    }

    @MessagePattern('plain')
    async *plain(): AsyncGenerator<unknown> {
      const user = new User();
      yield instanceToPlain(user);
    }

    @UseInterceptors(CacheInterceptor)
    @MessagePattern('cached')
    async *cached(): AsyncGenerator<number> {
      yield 1;
    }
  }

  it('are the values of an Observable, and not those of a generator', async () => {
    const { client } = await JoinedApps.start([UsersController]);
    expect(await client.call('observable')).toEqual({ name: 'ann' });
    expect(await client.call('generator')).toEqual({ name: 'ann', password: 'secret' });
    expect(await client.call('plain')).toEqual({ name: 'ann' });
    expect(await client.call('cached')).toBe(1);
    expect(await client.call('cached')).toBeUndefined();
  });
});

describe('the messages of docs/errors.md', () => {
  const shown = tableBehind('What a message means').map(([cell]) => cell!.replaceAll('`', ''));

  /** The row whose texts, between the dots, all stand in the message. */
  function rowOf(message: string): string | undefined {
    return shown.find((row) =>
      row.split(' or ').some((text) => text.split('…').every((part) => message.includes(part.trim()))),
    );
  }

  async function failure(client: DrpcClient, pattern = 'door', data: unknown = 1): Promise<string> {
    onTestFinished(() => client.close());
    return client.call(pattern, data).then(
      () => 'none',
      ({ message }: Error) => message,
    );
  }

  it.each<[string, () => Promise<string>]>([
    ['nobody listens', () => failure(new DrpcClient({ port: 1 }))],
    [
      'the authority is unknown',
      async () => {
        const { port } = await TestService.start([DoorController], { over: 'tls' });
        return failure(new DrpcClient({ url: `drpcs://localhost:${port}` }));
      },
    ],
    [
      'the certificate has another name',
      async () => {
        const { port } = await TestService.start([DoorController], { over: 'tls' });
        const tls = { ca: pem('ca.crt'), servername: 'other.example' };
        return failure(new DrpcClient({ url: `drpcs://localhost:${port}`, tls }));
      },
    ],
    [
      'TLS is asked for',
      async () => {
        const { port } = await TestService.start([DoorController], { over: 'tls' });
        return failure(new DrpcClient({ port }));
      },
    ],
    [
      'there is no TLS',
      async () => {
        const { port } = await TestService.start([DoorController]);
        return failure(new DrpcClient({ url: `drpcs://127.0.0.1:${port}` }));
      },
    ],
    ['nobody handles it', async () => failure((await JoinedApps.start([DoorController])).client, 'window')],
    [
      'it takes too long',
      async () =>
        failure((await JoinedApps.start([DoorController], { client: { timeout: 1 } })).client, 'slow'),
    ],
    [
      'the payload has no form',
      async () => failure((await JoinedApps.start([DoorController])).client, 'door', 1n),
    ],
    [
      'there are two answers',
      async () => failure((await JoinedApps.start([DoorController])).client, 'doors'),
    ],
    ['a handler throws', async () => failure((await JoinedApps.start([DoorController])).client, 'broken')],
    [
      'the encodings differ',
      async () =>
        failure(
          (await JoinedApps.start([DoorController], { client: { encoding: 'bytes' } })).client,
          'door',
          Buffer.from('{'),
        ),
    ],
    [
      'TLS gets paths',
      () =>
        Promise.resolve()
          .then(() => failure(new DrpcClient({ tls: { cert: '/a.pem', key: '/a.key' } })))
          .catch(({ message }: Error) => message),
    ],
    [
      'the message is too large',
      async () =>
        failure(
          (await JoinedApps.start([DoorController], { client: { maxSendSize: 4096 } })).client,
          'door',
          'x'.repeat(5000),
        ),
    ],
  ])('have one for when %s', async (_what, fail) => {
    const message = await fail();
    expect([message, rowOf(message)]).toEqual([message, expect.any(String)]);
  });
});
