import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Controller,
  Injectable,
  Logger,
  NotFoundException,
  UseGuards,
  UseInterceptors,
  UsePipes,
  ValidationPipe,
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  type NestInterceptor,
  type PipeTransform,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  Server,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import {
  PATTERN_EXTRAS_METADATA as NEST_PATTERN_EXTRAS,
  TRANSPORT_METADATA as NEST_TRANSPORT,
} from '@nestjs/microservices/constants.js';
import { Test } from '@nestjs/testing';
import { DRPC_TRANSPORT, DrpcContext, DrpcServer, DrpcStatus, DrpcStream } from 'nestjs-drpc';
import { isObservable, Observable, of, toArray } from 'rxjs';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { PATTERN_EXTRAS_METADATA, TRANSPORT_METADATA } from '../../lib/transport/handler-pins.js';
import { EventLog, Gate } from './helpers/event-log.js';
import { TestService } from './helpers/test-service.js';

let log: EventLog;
let gate: Gate;

beforeEach(() => {
  log = new EventLog();
  gate = new Gate();
});

@Injectable()
class GateGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    log.add('guard');
    await gate.opened;
    return true;
  }
}

@Injectable()
class KindPipe implements PipeTransform {
  transform(value: unknown): unknown {
    log.add(`pipe: ${isObservable(value) ? 'the stream' : 'a message'}`);
    return value;
  }
}

@Injectable()
class KindInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    log.add(`interceptor: ${isObservable(context.switchToRpc().getData()) ? 'the stream' : 'a message'}`);
    return next.handle();
  }
}

/** What Nest tells strategies apart by, seen as a user may write it. */
const THENABLE = {
  // oxlint-disable-next-line unicorn/no-thenable -- a promise of another library
  then(resolve: (value: unknown) => void): void {
    resolve(of('from a thenable'));
  },
};

@Controller()
class PitfallController {
  @MessagePattern('endless')
  endless(): Observable<never> {
    return new Observable(() => {
      log.add('subscribed');
      return () => log.add('torn down');
    });
  }

  @MessagePattern('guarded endless')
  @UseGuards(GateGuard)
  guardedEndless(): Observable<never> {
    log.add('method');
    return new Observable(() => log.add('subscribed'));
  }

  @MessagePattern('guarded stream')
  @UseGuards(GateGuard)
  guardedStream(@DrpcStream() values: Observable<unknown>): Observable<unknown[]> {
    return values.pipe(toArray());
  }

  @MessagePattern('seen stream')
  @UsePipes(KindPipe)
  @UseInterceptors(KindInterceptor)
  seenStream(@DrpcStream() values: Observable<unknown>): Observable<unknown> {
    return values;
  }

  @MessagePattern('stuck generator')
  async *stuckGenerator(@Ctx() ctx: DrpcContext): AsyncGenerator<number> {
    log.add('pulled');
    try {
      await once(ctx.signal, 'abort');
      yield 1;
    } finally {
      log.add('generator left');
    }
  }

  @MessagePattern('not found')
  notFound(): void {
    throw new NotFoundException('no such row');
  }

  @MessagePattern('second parameter')
  secondParameter(data: unknown, context: unknown): unknown {
    return [data, context === undefined];
  }

  @MessagePattern('thenable')
  thenable(): unknown {
    return THENABLE;
  }

  @MessagePattern(['true', 'null', '1e3', '"q"', '{"b":1,"a":2}', '[1]', '{'])
  awkward(@Ctx() ctx: DrpcContext): string {
    return ctx.pattern;
  }

  @EventPattern('endless event')
  endlessEvent(@Payload() _data: unknown): Observable<never> {
    return new Observable(() => {
      log.add('event subscribed');
      return () => log.add('event torn down');
    });
  }
}

const start = (options?: Parameters<typeof TestService.start>[1]) =>
  TestService.start([PitfallController], options);

describe('pitfalls of a Nest transport', () => {
  it('1: a cancel unsubscribes the handler, though Nest loses the Subscription', async () => {
    const caller = await (await start()).connect();
    const call = caller.open('endless', [1]);
    await log.seen('subscribed');
    call.cancel();
    await log.seen('torn down');
    expect(log.entries).toEqual(['subscribed', 'torn down']);
  });

  it('2: the end of a handler that was canceled is not written', async () => {
    const caller = await (await start()).connect();
    const call = caller.open('endless', [1]);
    await log.seen('subscribed');
    call.cancel();
    await caller.fence();
    expect(caller.frames(call)).toEqual([]);
  });

  it('4: a cancel before there is a Subscription is remembered', async () => {
    const caller = await (await start()).connect();
    const call = caller.open('guarded endless', [1]);
    await log.seen('guard');
    call.cancel();
    await caller.fence();
    gate.open();
    await log.seen('method');
    await caller.fence();
    expect(log.entries).toEqual(['guard', 'method']);
  });

  it('5: messages that arrive while a guard is at work are not lost', async () => {
    const caller = await (await start()).connect();
    const call = caller.open('guarded stream', [1, 2, 3]);
    await log.seen('guard');
    await caller.fence();
    gate.open();
    expect(await call.rest()).toEqual([[1, 2, 3]]);
  });

  it('6: a global ValidationPipe does not destroy a request stream', async () => {
    const service = await start({
      prepare: (app) => void app.useGlobalPipes(new ValidationPipe({ whitelist: true })),
    });
    gate.open();
    expect(await (await service.connect()).all('guarded stream', 1, 2)).toEqual([[1, 2]]);
  });

  it('7: pipes and interceptors get the stream itself, once', async () => {
    const caller = await (await start()).connect();
    expect(await caller.all('seen stream', 1, 2)).toEqual([1, 2]);
    expect(log.entries).toEqual(['interceptor: the stream', 'pipe: the stream']);
  });

  it('8: an async generator is left when it is canceled, before its next value', async () => {
    const caller = await (await start()).connect();
    const call = caller.open('stuck generator', [1]);
    await log.seen('pulled');
    call.cancel();
    await log.seen('generator left');
    expect(caller.frames(call)).toEqual([]);
  });

  it('9: listen() that fails in any way rejects app.listen()', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void taken.close());
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    for (const [options, code] of [
      [{ port }, 'EADDRINUSE'],
      [{ path: join(tmpdir(), 'no-such-folder', 'socket') }, 'EACCES'],
    ] as const) {
      const module = await Test.createTestingModule({}).compile();
      const app = module.createNestMicroservice({ strategy: new DrpcServer(options) });
      app.useLogger(false);
      await expect(app.listen()).rejects.toMatchObject({ code });
      await app.close();
    }
    // What can never work is said before.
    expect(() => new DrpcServer({ port: 0, tls: { key: 'no key' } })).toThrow(
      /^option tls.key has no "-----BEGIN/,
    );
  });

  it('11: an HttpException keeps its status and text', async () => {
    const caller = await (await start()).connect();
    await expect(caller.call('not found', 1)).rejects.toMatchObject({ code: 5, message: 'no such row' });
  });

  it('13: a second parameter needs its decorator, as on all transports but gRPC', async () => {
    const caller = await (await start()).connect();
    expect(await caller.call('second parameter', 1)).toEqual([1, true]);
  });

  it('14: a second message handler of a pattern is an error, not a replacement', async () => {
    @Controller()
    class SecondController {
      @MessagePattern('endless')
      endless(): void {}
    }
    await expect(TestService.start([PitfallController, SecondController])).rejects.toThrow(
      'pattern "endless" has two message handlers',
    );
  });

  it('15: what is pinned is told apart although Nest does not say so, by names that Nest may change', () => {
    expect(TRANSPORT_METADATA).toBe(NEST_TRANSPORT);
    expect(PATTERN_EXTRAS_METADATA).toBe(NEST_PATTERN_EXTRAS);
  });

  it('16: close() may come twice, from the application and from a signal', async () => {
    const { app, server } = await start();
    await Promise.all([server.close(), app.close()]);
    await server.close();
    expect(server.address()).toBeNull();
  });

  it('17: status outlives a close', async () => {
    const { server } = await start();
    const seen: string[] = [];
    let isComplete = false;
    server.status.subscribe({
      next: (status) => seen.push(status),
      complete: () => {
        isComplete = true;
      },
    });
    await server.close();
    await new Promise<void>((resolve, reject) =>
      server.listen((error) => (error ? reject(error) : resolve())),
    );
    expect(seen).toEqual([DrpcStatus.Connected, DrpcStatus.Disconnected, DrpcStatus.Connected]);
    expect(isComplete).toBe(false);
  });

  it('18: log lines stand under DrpcServer', () => {
    expect(Reflect.get(new DrpcServer(), 'logger')).toMatchObject({ context: 'DrpcServer' });
  });

  it('19: an explicit undefined is the default', async () => {
    const server = new DrpcServer({
      url: undefined,
      host: undefined,
      port: 0,
      tls: undefined,
      maxStreams: undefined,
    });
    onTestFinished(() => server.close());
    await new Promise((resolve) => server.listen(resolve));
    expect(server.address()).toMatchObject({ address: '127.0.0.1' });
  });

  it('20: a promise of another library is awaited', async () => {
    const caller = await (await start()).connect();
    expect(await caller.call('thenable', 1)).toBe('from a thenable');
  });

  it('22: patterns that Nest would mix up are refused', async () => {
    @Controller()
    class WideController {
      @MessagePattern(Object.fromEntries(Array.from({ length: 21 }, (_, i) => [`key${i}`, i])))
      wide(): void {}
    }
    await expect(TestService.start([WideController])).rejects.toThrow('pattern has 21 keys');
  });

  it.each(['true', 'null', '1e3', '"q"', '{"b":1,"a":2}', '[1]', '{'])(
    '23: a text that looks like JSON is found under its own name: %s',
    async (pattern) => {
      const service = await start();
      expect(await (await service.connect()).call(pattern, 1)).toBe(pattern);
      expect(service.server.getHandlerByPattern(pattern)).toBeTypeOf('function');
      expect(service.server.getHandlerByPattern('no such pattern')).toBeNull();
    },
  );

  it('24: events can be given up, when the server goes down', async () => {
    const service = await start();
    await (await service.connect()).call('endless event', 1);
    await log.seen('event subscribed');
    await service.app.close();
    expect(log.entries).toEqual(['event subscribed', 'event torn down']);
  });

  it('25: the id of the transport is the same in every copy of the library', () => {
    expect(DRPC_TRANSPORT).toBe(Symbol.for('nestjs-drpc'));
  });

  it('26: a socket that fails at once hurts nobody', async () => {
    const service = await start();
    const caller = await service.connect();
    const connected = new Promise((resolve) => service.server.on('connection', resolve));
    await caller.fence();
    await connected;
    const gone = new Promise((resolve) => service.server.on('disconnect', resolve));
    const socket = connect((service.server.address() as AddressInfo).port, '127.0.0.1');
    socket.write('x');
    await once(socket, 'connect');
    socket.resetAndDestroy();
    await gone;
    expect(await caller.call('true', 1)).toBe('true');
  });

  it("28: the strategy fits into Nest's own options, and is a Server", async () => {
    const strategy = new DrpcServer({ port: 0 });
    expect(strategy).toBeInstanceOf(Server);
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(class AppModule {}, {
      strategy,
      logger: false,
    });
    await app.listen();
    await app.close();
  });

  it('leaves the exceptions of other transports to Nest', async () => {
    const errors = vi.spyOn(Logger.prototype, 'error');
    onTestFinished(() => errors.mockRestore());
    const { BaseRpcExceptionFilter } = await import('@nestjs/microservices');
    const host = { getArgs: () => [1, {}] } as never;
    const outcome = await new Promise((resolve) =>
      new BaseRpcExceptionFilter().catch(new Error('any') as never, host).subscribe({ error: resolve }),
    );
    expect(outcome).toEqual({ status: 'error', message: 'Internal server error' });
    expect(errors).toHaveBeenCalledOnce();
  });
});
