import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import {
  Controller,
  Inject,
  Injectable,
  Logger,
  Module,
  Scope,
  UseGuards,
  UseInterceptors,
  UsePipes,
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  type NestInterceptor,
  type PipeTransform,
} from '@nestjs/common';
import {
  ContextIdFactory,
  NestFactory,
  ModulesContainer,
  SerializedGraph,
  type ContextId,
  type HostComponentInfo,
} from '@nestjs/core';
import {
  CONTEXT,
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  type MicroserviceOptions,
  type RequestContext,
} from '@nestjs/microservices';
import { DRPC_TRANSPORT, DrpcContext, DrpcMetadata, DrpcServer, DrpcStream } from 'nestjs-drpc';
import { concat, defer, finalize, map, NEVER, of, Observable, throwError } from 'rxjs';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { EventLog } from './helpers/event-log.js';
import { TestService } from './helpers/test-service.js';

let log: EventLog;

beforeEach(() => {
  log = new EventLog();
});

@Injectable()
class LoggingGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const rpc = context.switchToRpc();
    log.add(`guard ${context.getType()} ${rpc.getContext<DrpcContext>().pattern} ${String(rpc.getData())}`);
    return true;
  }
}

@Injectable()
class LoggingInterceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    log.add('interceptor before');
    return next.handle().pipe(map((value) => `intercepted ${String(value)}`));
  }
}

@Injectable()
class LoggingPipe implements PipeTransform {
  transform(value: unknown, { type }: { type: string }): unknown {
    log.add(`pipe ${type}`);
    return type === 'body' ? `piped ${String(value)}` : value;
  }
}

@Controller()
class PipelineController {
  @MessagePattern('pipeline')
  @UseGuards(LoggingGuard)
  @UseInterceptors(LoggingInterceptor)
  @UsePipes(LoggingPipe)
  pipeline(@Payload() data: string, @Ctx() ctx: DrpcContext): string {
    log.add('method');
    return `${data} ${ctx.getPattern()}`;
  }

  @MessagePattern('stream pipeline')
  @UseGuards(LoggingGuard)
  @UseInterceptors(LoggingInterceptor)
  @UsePipes(LoggingPipe)
  streamPipeline(@DrpcStream() values: Observable<number>): Observable<number> {
    log.add('method');
    return values;
  }

  @MessagePattern('property')
  property(@Payload('name') name: string): string {
    return name;
  }

  @MessagePattern(['one name', 'another name', 7])
  severalNames(@Ctx() ctx: DrpcContext): string {
    return ctx.pattern;
  }

  @MessagePattern('undecorated')
  undecorated(data: unknown): unknown {
    return data;
  }
}

describe("Nest's pipeline", () => {
  it('runs guards, interceptors, pipes and the method in their order', async () => {
    const caller = await (await TestService.start([PipelineController])).connect();
    expect(await caller.call('pipeline', 'x')).toBe('intercepted piped x pipeline');
    expect(log.entries.slice(0, 2)).toEqual(['guard rpc pipeline x', 'interceptor before']);
    // Those of one method run side by side.
    expect(log.entries.slice(2, 4).toSorted()).toEqual(['pipe body', 'pipe custom']);
    expect(log.entries.slice(4)).toEqual(['method']);
  });

  it('runs them once for a request stream', async () => {
    const caller = await (await TestService.start([PipelineController])).connect();
    expect(await caller.all('stream pipeline', 1, 2)).toEqual(['intercepted 1', 'intercepted 2']);
    expect(log.entries).toEqual([
      'guard rpc stream pipeline [object Object]',
      'interceptor before',
      'pipe custom',
      'method',
    ]);
  });

  it('gives parts of the payload, and the payload where nothing is decorated', async () => {
    const caller = await (await TestService.start([PipelineController])).connect();
    expect(await caller.call('property', { name: 'Ada' })).toBe('Ada');
    expect(await caller.call('undecorated', 'x')).toBe('x');
  });

  it('serves a handler under each of its patterns', async () => {
    const caller = await (await TestService.start([PipelineController])).connect();
    for (const name of ['one name', 'another name', '7']) expect(await caller.call(name, 1)).toBe(name);
  });

  it('runs pre-request hooks around it, in whose storage the handler runs', async () => {
    const storage = new AsyncLocalStorage<string>();
    @Controller()
    class StorageController {
      @MessagePattern('stored')
      stored(): string | undefined {
        return storage.getStore();
      }
    }
    const service = await TestService.start([StorageController], {
      prepare: (app) => {
        app.registerPreRequestHook((context, next) => {
          log.add(`hook ${context.getType()}`);
          // The pipeline runs when it is subscribed to.
          return new Observable((subscriber) =>
            storage.run('in the hook', () => next().subscribe(subscriber)),
          );
        });
      },
    });
    const caller = await service.connect();
    expect(await caller.call('stored', 1)).toBe('in the hook');
    expect(log.entries).toEqual(['hook rpc']);
  });
});

describe('scopes', () => {
  it('makes a request-scoped controller for each call, with the call as its CONTEXT', async () => {
    let made = 0;
    @Injectable({ scope: Scope.REQUEST })
    class Tenant {
      readonly number = ++made;
      constructor(@Inject(CONTEXT) readonly context: RequestContext<string, DrpcContext>) {}
    }
    @Controller()
    class TenantController {
      constructor(readonly tenant: Tenant) {}

      @MessagePattern('tenant')
      get(): unknown {
        const { context, number } = this.tenant;
        return [number, context.getData(), context.getPattern(), context.getContext().metadata['tenant']];
      }
    }
    const service = await TestService.start([TenantController], { module: { providers: [Tenant] } });
    const caller = await service.connect();
    expect(await caller.call('tenant', 'a', { metadata: { tenant: 'x' } })).toEqual([1, 'a', 'tenant', 'x']);
    expect(await caller.call('tenant', 'b', { metadata: { tenant: 'y' } })).toEqual([2, 'b', 'tenant', 'y']);
  });

  it('keeps durable providers by the metadata of the call', async () => {
    let made = 0;
    @Injectable({ scope: Scope.REQUEST, durable: true })
    class Tenant {
      readonly number = ++made;
    }
    @Controller()
    class TenantController {
      constructor(readonly tenant: Tenant) {}

      @MessagePattern('tenant')
      get(): number {
        return this.tenant.number;
      }
    }
    const tenants = new Map<string, ContextId>();
    ContextIdFactory.apply({
      attach: (contextId: ContextId, request: RequestContext<unknown, DrpcContext>) => {
        const name = request.getContext().metadata['tenant']!;
        const tenantId = tenants.get(name) ?? ContextIdFactory.create();
        tenants.set(name, tenantId);
        return (info: HostComponentInfo) => (info.isTreeDurable ? tenantId : contextId);
      },
    });
    const service = await TestService.start([TenantController], { module: { providers: [Tenant] } });
    const caller = await service.connect();
    const call = (tenant: string) => caller.call('tenant', 1, { metadata: { tenant } });
    expect([await call('x'), await call('y'), await call('x')]).toEqual([1, 2, 1]);
    ContextIdFactory.apply(undefined as never);
  });
});

describe('processing hooks', () => {
  @Controller()
  class TracedController {
    @MessagePattern('value')
    value(): number {
      log.add('method');
      return 1;
    }

    @MessagePattern('values')
    values(): Observable<number> {
      return concat(
        of(1),
        defer(() => {
          log.add('last value');
          return of(2);
        }),
      );
    }

    @MessagePattern('error')
    error(): Observable<never> {
      return throwError(() => new Error('any'));
    }

    @MessagePattern('endless')
    endless(): Observable<never> {
      log.add('method');
      return NEVER;
    }

    @MessagePattern('watched')
    watched(): Observable<never> {
      return defer(() => {
        log.add('method');
        return NEVER;
      }).pipe(finalize(() => log.add('stopped')));
    }

    @MessagePattern('waits')
    async waits(@Ctx() { signal }: DrpcContext): Promise<void> {
      log.add('method');
      await once(signal, 'abort');
      log.add('stopped');
    }

    @MessagePattern('generator')
    async *generator(): AsyncGenerator<number> {
      yield* [1, 2];
    }

    @EventPattern('event')
    async event(@Payload() _data: unknown): Promise<void> {
      log.add('event');
    }

    @MessagePattern('later')
    later(): Observable<string> {
      return new Observable((subscriber) => {
        setImmediate(() => {
          subscriber.next('later');
          subscriber.complete();
        });
      });
    }

    @MessagePattern('storage')
    storage(): string | undefined {
      return storage.getStore();
    }
  }

  const storage = new AsyncLocalStorage<string>();

  async function startTraced() {
    const service = await TestService.start([TracedController], {
      prepare: (_app, server) => {
        server.setOnProcessingStartHook((transportId, context, done) => {
          const { pattern } = context as DrpcContext;
          if (pattern === 'no such rpc') return;
          log.add(`start ${String(transportId)} ${pattern}`);
          void storage.run('traced', () => done());
        });
        server.setOnProcessingEndHook((_transportId, context) =>
          log.add(`end ${(context as DrpcContext).pattern}`),
        );
      },
    });
    return service.connect();
  }

  it.each([
    ['value', ['start Symbol(nestjs-drpc) value', 'method', 'end value']],
    ['values', ['start Symbol(nestjs-drpc) values', 'last value', 'end values']],
    ['error', ['start Symbol(nestjs-drpc) error', 'end error']],
    ['generator', ['start Symbol(nestjs-drpc) generator', 'end generator']],
    ['event', ['start Symbol(nestjs-drpc) event', 'event', 'end event']],
  ])('enclose a call: %s', async (rpc, entries) => {
    const caller = await startTraced();
    await caller
      .open(rpc, [1])
      .rest()
      .catch(() => undefined);
    await caller.fence();
    expect(log.entries).toEqual(entries);
  });

  it('enclose a call that is canceled', async () => {
    const caller = await startTraced();
    const call = caller.open('endless', [1]);
    await log.seen('method');
    call.cancel();
    await log.seen('end endless');
    await caller.fence();
    expect(log.entries).toEqual(['start Symbol(nestjs-drpc) endless', 'method', 'end endless']);
  });

  it('may run the handler in a storage of their own', async () => {
    const caller = await startTraced();
    expect(await caller.call('storage', 1)).toBe('traced');
  });

  it.each<[what: string, hook: () => unknown]>([
    [
      'throws',
      () => {
        throw new Error('any');
      },
    ],
    ['rejects', () => Promise.reject(new Error('any'))],
  ])('answer with code 2 when the start hook %s', async (_what, hook) => {
    const service = await TestService.start([TracedController], {
      prepare: (_app, server) => server.setOnProcessingStartHook(hook as () => void),
    });
    const caller = await service.connect();
    await expect(caller.call('value', 1)).rejects.toMatchObject({
      code: 2,
      message: 'Internal server error',
    });
    expect(await caller.all('event', 1)).toEqual([]);
    expect(log.entries).toEqual([]);
  });

  it('do no harm when the end hook throws, which is logged', async () => {
    const errors = vi.spyOn(Logger.prototype, 'error');
    onTestFinished(() => errors.mockRestore());
    const service = await TestService.start([TracedController], {
      prepare: (_app, server) =>
        server.setOnProcessingEndHook(() => {
          throw new Error('any');
        }),
    });
    const caller = await service.connect();
    expect(await caller.call('value', 1)).toBe(1);
    expect(await caller.call('later', 1)).toBe('later');
    expect(errors.mock.calls.map(([line]) => line as string)).toEqual([
      'processing end hook of rpc "value" failed',
      'processing end hook of rpc "later" failed',
    ]);
  });

  it.each([
    ['value', ['method', 'end value']],
    ['event', ['event', 'end event']],
    ['values', ['last value', 'end values']],
  ])('run the handler once, whatever the start hook does: %s', async (rpc, entries) => {
    const service = await TestService.start([TracedController], {
      prepare: (_app, server) => {
        server.setOnProcessingStartHook((_transportId, _context, done) => {
          // At once, and once more when that is over.
          void done();
          void done()
            .then(done)
            .then(() => log.add('again'));
        });
        server.setOnProcessingEndHook((_transportId, context) =>
          log.add(`end ${(context as DrpcContext).pattern}`),
        );
      },
    });
    const caller = await service.connect();
    await caller.open(rpc, [1]).rest();
    await log.seen('again');
    await caller.fence();
    expect(log.entries.filter((entry) => entry !== 'again')).toEqual(entries);
  });

  it.each(['watched', 'waits'])(
    'stop a handler that has begun when the start hook fails: %s',
    async (rpc) => {
      const hook = (_transportId: unknown, _context: unknown, done: () => Promise<unknown>): unknown => {
        void done();
        return log.seen('method').then(() => Promise.reject(new Error('any')));
      };
      const service = await TestService.start([TracedController], {
        prepare: (_app, server) => server.setOnProcessingStartHook(hook),
      });
      const caller = await service.connect();
      await expect(caller.call(rpc, 1)).rejects.toMatchObject({ code: 2, message: 'Internal server error' });
      await caller.fence();
      expect(log.entries).toEqual(['method', 'stopped']);
    },
  );

  it('may hold a call back: one that is canceled meanwhile never begins', async () => {
    let begin!: () => void;
    const held = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const service = await TestService.start([TracedController], {
      server: { maxHandlers: 1 },
      prepare: (_app, server) => {
        server.setOnProcessingStartHook((_transportId, context, done) => {
          const { pattern } = context as DrpcContext;
          log.add(`start ${pattern}`);
          const begins = pattern === 'value' ? held : Promise.resolve();
          void begins.then(done).then(() => log.add(`done ${pattern}`));
        });
        server.setOnProcessingEndHook((_id, context) => log.add(`end ${(context as DrpcContext).pattern}`));
      },
    });
    const caller = await service.connect();
    const call = caller.open('value', [1]);
    await log.seen('start value');
    call.cancel();
    // Its place is free: there is but one.
    expect(await caller.call('storage', 1)).toBeUndefined();
    begin();
    await log.seen('done value');
    expect(log.entries).toEqual([
      ...['start value', 'start storage', 'end storage', 'done storage'],
      ...['end value', 'done value'],
    ]);
  });

  it('may hold an event back, until the server closes', async () => {
    const service = await TestService.start([TracedController], {
      prepare: (_app, server) => server.setOnProcessingStartHook((_id, _context, _done) => log.add('held')),
    });
    const caller = await service.connect();
    expect(await caller.all('event', 1)).toEqual([]);
    await service.app.close();
    expect(log.entries).toEqual(['held']);
  });

  it('may let an event begin too late: it has ended when the server closes', async () => {
    let begin!: () => void;
    const held = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const service = await TestService.start([TracedController], {
      prepare: (_app, server) => {
        server.setOnProcessingStartHook(
          (_id, _context, done) => void held.then(done).then(() => log.add('done')),
        );
        server.setOnProcessingEndHook((_id, context) => log.add(`end ${(context as DrpcContext).pattern}`));
      },
    });
    const caller = await service.connect();
    expect(await caller.all('event', 1)).toEqual([]);
    await service.server.close();
    begin();
    await log.seen('done');
    expect(log.entries).toEqual(['end event', 'done']);
  });

  it('find the request id that a client sends where tracing agents look', async () => {
    const seen: unknown[] = [];
    const service = await TestService.start([TracedController], {
      prepare: (_app, server) =>
        server.setOnProcessingStartHook((_transportId, context, done) => {
          seen.push((context as DrpcContext).getMetadata()['x-request-id']);
          return void done();
        }),
    });
    const caller = await service.connect();
    await caller.call('value', 1, { metadata: { 'X-Request-Id': '42' } });
    expect(seen).toEqual(['42']);
  });
});

describe('the graph of an application', () => {
  it('names our entry points', async () => {
    @Module({ controllers: [PipelineController] })
    class AppModule {}
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(AppModule, {
      strategy: new DrpcServer({ port: 0 }),
      snapshot: true,
      logger: false,
    });
    await app.listen();
    const targets: unknown[] = [];
    app
      .get(ModulesContainer)
      .getRpcTargetRegistry()
      .subscribe((target) => targets.push(target));
    expect(targets).toEqual([app.getTransportServer()]);
    expect((app.getTransportServer() as DrpcServer).transportId).toBe(DRPC_TRANSPORT);
    expect(app.get(SerializedGraph).toString()).toContain('pipeline');
    await app.close();
  });
});

describe('metadata and payload decorators', () => {
  it('give what the client sent, or one key of it in any case', async () => {
    @Controller()
    class MetadataController {
      @MessagePattern('all')
      all(@DrpcMetadata() metadata: Record<string, string>): unknown {
        return { ...metadata, hasPrototype: Object.getPrototypeOf(metadata) !== null };
      }

      @MessagePattern('one')
      one(@DrpcMetadata('User-Id') id: string | undefined): unknown {
        return [id ?? null];
      }
    }
    const caller = await (await TestService.start([MetadataController])).connect();
    const metadata = { 'User-Id': '5', ['__proto__x']: 'y' };
    expect(await caller.call('all', 1, { metadata })).toEqual({
      'user-id': '5',
      __proto__x: 'y',
      hasPrototype: false,
    });
    expect(await caller.call('all', 1)).toEqual({ hasPrototype: false });
    expect(await caller.call('one', 1, { metadata })).toEqual(['5']);
    expect(await caller.call('one', 1)).toEqual([null]);
  });
});
