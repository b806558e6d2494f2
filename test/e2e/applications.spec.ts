import { AsyncLocalStorage } from 'node:async_hooks';
import type { AddressInfo } from 'node:net';
import {
  Body,
  Controller,
  Get,
  Header,
  Inject,
  Injectable,
  Module,
  Param,
  ParseIntPipe,
  Post,
  Scope,
  type CanActivate,
  type INestApplication,
  type Type,
} from '@nestjs/common';
import {
  ContextIdFactory,
  NestFactory,
  SerializedGraph,
  type ContextId,
  type HostComponentInfo,
} from '@nestjs/core';
import {
  ClientsModule,
  CONTEXT,
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  RpcException,
  Transport,
  type ClientProxy,
  type MicroserviceOptions,
  type RequestContext,
} from '@nestjs/microservices';
import {
  DRPC_TRANSPORT,
  drpcClient,
  DrpcClient,
  DrpcContext,
  DrpcServer,
  DrpcStream,
  type DrpcServerOptions,
} from 'nestjs-drpc';
import { createInMemoryNetwork } from 'nestjs-drpc/testing';
import { concat, firstValueFrom, map, NEVER, Observable, of, throwError } from 'rxjs';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { EventLog } from '../transport/helpers/event-log.js';
import { JoinedApps, startCaller } from './helpers/joined-apps.js';
import { LogRecorder } from './helpers/log-recorder.js';

let log: EventLog;

beforeEach(() => {
  log = new EventLog();
});

function drpc(options: DrpcServerOptions = {}): DrpcServer {
  return new DrpcServer({ port: 0, gracePeriod: 0, ...options });
}

const portOf = (server: DrpcServer): number => (server.address() as AddressInfo).port;

async function clientOf(server: DrpcServer): Promise<DrpcClient> {
  return (await startCaller({ port: portOf(server) })).get<DrpcClient>('SERVICE');
}

async function http(module: Type, logger: LogRecorder | false = false): Promise<INestApplication> {
  const app = await NestFactory.create(module, { logger });
  onTestFinished(() => app.close());
  return app;
}

/** What comes of a call: its answer, or the code of its error. */
async function outcome(call: Promise<unknown>): Promise<unknown> {
  return call.catch(({ code }: { code: unknown }) => code);
}

describe('a gateway that speaks HTTP outside and DRPC inside', () => {
  @Controller()
  class StockController {
    @MessagePattern('stock')
    stock(@Payload() id: number): { id: number; count: number } {
      if (id === 0) throw new RpcException({ code: 5, message: 'no such thing' });
      return { id, count: id * 10 };
    }

    @MessagePattern('stocks')
    async *stocks(@Payload() count: number, @Ctx() ctx: DrpcContext): AsyncGenerator<number> {
      ctx.signal.addEventListener('abort', () => log.add('stopped'));
      for (let id = 1; id <= count; id++) yield id;
    }

    @EventPattern<string>('sold')
    sold(@Payload() sale: { id: number }): void {
      log.add(`sold ${sale.id}`);
    }
  }

  @Module({ controllers: [StockController] })
  class StockModule {}

  /** One process can be both: it serves DRPC and calls itself by HTTP's side. */
  async function start(): Promise<string> {
    const network = createInMemoryNetwork();

    @Controller()
    class GatewayController {
      constructor(@Inject('STOCK') private readonly client: DrpcClient) {}

      @Get('stock/:id')
      stock(@Param('id', ParseIntPipe) id: number): Observable<unknown> {
        return this.client.send('stock', id);
      }

      @Get('stocks/:count')
      @Header('content-type', 'text/plain')
      async stocks(@Param('count', ParseIntPipe) count: number): Promise<string> {
        let text = '';
        for await (const id of this.client.stream<number>('stocks', count)) text += `${id} `;
        return text;
      }

      @Post('sold')
      sold(@Body() sale: object): Observable<unknown> {
        return this.client.emit('sold', sale);
      }
    }

    @Module({
      imports: [StockModule, ClientsModule.register([drpcClient({ name: 'STOCK', dial: network.dial })])],
      controllers: [GatewayController],
    })
    class GatewayModule {}
    const app = await http(GatewayModule);
    app.connectMicroservice<MicroserviceOptions>({
      strategy: drpc({ port: undefined, listener: network.listener }),
    });
    await app.init();
    await app.startAllMicroservices();
    await app.listen(0, '127.0.0.1');
    return `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}`;
  }

  it('answers with what the service says', async () => {
    const url = await start();
    expect(await (await fetch(`${url}/stock/2`)).json()).toEqual({ id: 2, count: 20 });
    expect(await (await fetch(`${url}/stocks/3`)).text()).toBe('1 2 3 ');
    expect((await fetch(`${url}/stock/0`)).status).toBe(500);
    expect(log.entries).toEqual([]);
  });

  it('passes events on', async () => {
    const url = await start();
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${url}/sold`, { method: 'POST', headers, body: '{"id":7}' });
    expect(response.status).toBe(201);
    await log.seen('sold 7');
    expect(log.entries).toEqual(['sold 7']);
  });
});

describe('a service that calls another', () => {
  @Controller()
  class FarController {
    @MessagePattern('rows')
    async *rows(@Ctx() ctx: DrpcContext): AsyncGenerator<number> {
      try {
        for (let row = 1; ; row++) {
          yield row;
          log.add(`far row ${row}`);
        }
      } finally {
        log.add(`far left, aborted: ${ctx.signal.aborted}`);
      }
    }

    @MessagePattern('fails')
    fails(): never {
      throw new RpcException({ code: 9, message: 'far away' });
    }

    @MessagePattern('slow')
    slow(): Observable<never> {
      return NEVER;
    }
  }

  @Controller()
  class NearController {
    constructor(@Inject('FAR') private readonly far: DrpcClient) {}

    @MessagePattern('rows')
    rows(): Observable<unknown> {
      return this.far.send('rows', {});
    }

    @MessagePattern('rows by loop')
    async *rowsByLoop(@Ctx() ctx: DrpcContext): AsyncGenerator<unknown> {
      yield* this.far.stream('rows', {}, { signal: ctx.signal });
    }

    @MessagePattern('rows as they are')
    rowsAsTheyAre(): AsyncIterable<unknown> {
      return this.far.stream('rows');
    }

    @MessagePattern('fails')
    fails(): Promise<unknown> {
      return this.far.call('fails');
    }

    @MessagePattern('too slow')
    tooSlow(): Promise<unknown> {
      return this.far.call('slow', {}, { timeout: 1 });
    }
  }

  async function start(server: DrpcServerOptions = {}): Promise<JoinedApps> {
    const far = await JoinedApps.start([FarController]);
    return JoinedApps.start([NearController], {
      server,
      module: { providers: [{ provide: 'FAR', useValue: far.client }] },
    });
  }

  it.each(['rows', 'rows by loop', 'rows as they are'])(
    'passes values and a cancel on: %s',
    async (pattern) => {
      const { client } = await start();
      const rows: unknown[] = [];
      for await (const row of client.stream(pattern)) {
        rows.push(row);
        if (rows.length === 3) break;
      }
      expect(rows).toEqual([1, 2, 3]);
      await log.seen('far left, aborted: true');
      expect(log.entries.filter((entry) => entry.startsWith('far left'))).toHaveLength(1);
    },
  );

  it('keeps the errors of the other to itself, but for a deadline', async () => {
    const { client } = await start();
    await expect(client.call('fails')).rejects.toMatchObject({ code: 2, message: 'Internal server error' });
    await expect(client.call('too slow')).rejects.toMatchObject({ code: 4, message: 'deadline exceeded' });
  });

  it('passes them on with forwardErrors', async () => {
    const { client } = await start({ forwardErrors: true });
    await expect(client.call('fails')).rejects.toMatchObject({ code: 9, message: 'far away' });
  });
});

describe('an application with several servers', () => {
  @Controller()
  class MixedController {
    @MessagePattern('pinned', DRPC_TRANSPORT)
    pinned(): string {
      return 'pinned';
    }

    @MessagePattern('open')
    open(): string {
      return 'open';
    }

    @MessagePattern('tcp only', Transport.TCP)
    tcpOnly(): string {
      return 'tcp only';
    }

    @MessagePattern('who')
    who(@Ctx() ctx: unknown): string {
      return ctx instanceof DrpcContext ? 'drpc' : 'another';
    }
  }

  @Module({ controllers: [MixedController] })
  class MixedModule {}

  it('serves each over its own, with its own rules', async () => {
    const logger = new LogRecorder();
    const app = await http(MixedModule, logger);
    const [open, strict] = [drpc(), drpc({ strictTransport: true })];
    app.connectMicroservice<MicroserviceOptions>({ strategy: open });
    app.connectMicroservice<MicroserviceOptions>({ strategy: strict });
    const tcp = app.connectMicroservice<MicroserviceOptions>({
      transport: Transport.TCP,
      options: { port: 0, host: '127.0.0.1' },
    });
    await app.init();
    await app.startAllMicroservices();
    const ask = async (server: DrpcServer) => {
      const client = await clientOf(server);
      return Promise.all(
        ['pinned', 'open', 'tcp only', 'who'].map((pattern) => outcome(client.call(pattern, {}))),
      );
    };
    expect(await ask(open)).toEqual(['pinned', 'open', 12, 'drpc']);
    expect(await ask(strict)).toEqual(['pinned', 12, 12, 12]);
    const nestClient = await startNestTcp(tcp.unwrap<import('node:net').Server>().address() as AddressInfo);
    expect(await firstValueFrom(nestClient.send('who', {}))).toBe('another');
    await expect(firstValueFrom(nestClient.send('pinned', {}))).rejects.toMatch(
      'no matching message handler',
    );
    expect(logger.with('not pinned')).toEqual([
      'log | handlers that are not pinned to DRPC_TRANSPORT are reachable over DRPC: "open", "who" | DrpcServer',
    ]);
  });

  it('closes them all', async () => {
    const app = await http(MixedModule);
    const servers = [drpc(), drpc()];
    for (const strategy of servers) app.connectMicroservice<MicroserviceOptions>({ strategy });
    await app.init();
    await app.startAllMicroservices();
    const clients = [await clientOf(servers[0]!), await clientOf(servers[1]!)];
    for (const client of clients) expect(await client.call('open')).toBe('open');
    await app.close();
    for (const client of clients) expect(await outcome(client.call('open'))).toBe(14);
    expect(servers.map((server) => server.address())).toEqual([null, null]);
  });

  it.each([
    [true, 7],
    [false, 'open'],
  ])('has the global guards of HTTP with inheritAppConfig %s: %s', async (inheritAppConfig, expected) => {
    const app = await http(MixedModule);
    app.useGlobalGuards({ canActivate: () => false } satisfies CanActivate);
    const server = drpc();
    app.connectMicroservice<MicroserviceOptions>({ strategy: server }, { inheritAppConfig });
    await app.init();
    await app.startAllMicroservices();
    expect(await outcome((await clientOf(server)).call('open'))).toBe(expected);
  });
});

describe('tracing as an agent does it', () => {
  const storage = new AsyncLocalStorage<string>();

  @Controller()
  class TracedController {
    @MessagePattern('unary')
    unary(): string | undefined {
      return storage.getStore();
    }

    @MessagePattern('server')
    async *server(): AsyncGenerator<string | undefined> {
      yield storage.getStore();
    }

    @MessagePattern('client')
    async client(
      @DrpcStream({ as: 'iterable' }) values: AsyncIterable<unknown>,
    ): Promise<string | undefined> {
      for await (const value of values) log.add(`got ${String(value)}`);
      return storage.getStore();
    }

    @MessagePattern('bidi')
    bidi(@DrpcStream() values: Observable<unknown>): Observable<string | undefined> {
      const id = storage.getStore();
      return values.pipe(map(() => id));
    }

    @MessagePattern('fails')
    fails(): Observable<string> {
      return concat(
        of('first'),
        throwError(() => new Error('any')),
      );
    }

    @MessagePattern('endless')
    endless(): Observable<never> {
      log.add('endless');
      return NEVER;
    }

    @EventPattern<string>('event')
    onEvent(_data: unknown): void {
      log.add(`event ${storage.getStore()}`);
    }
  }

  /** What such an agent does: an id goes out with each packet, and is taken up around the handler. */
  async function start(): Promise<JoinedApps> {
    const apps = await JoinedApps.start([TracedController], {
      prepare: (_app, server) => {
        server.setOnProcessingStartHook((transport, context, done) => {
          const id = (context as DrpcContext).getMetadata()['x-request-id'];
          log.add(`start ${(transport as symbol).description} ${id}`);
          void storage.run(id!, () => done());
        });
        server.setOnProcessingEndHook((_transport, context) =>
          log.add(`end ${(context as DrpcContext).getMetadata()['x-request-id']}`),
        );
      },
    });
    let last = 0;
    apps.client.setOnDispatchHook((packet) => {
      (packet as { metadata?: Record<string, string> }).metadata = { 'x-request-id': `id-${++last}` };
    });
    return apps;
  }

  it.each(['unary', 'server', 'client', 'bidi'])('follows a call: %s', async (pattern) => {
    const { client } = await start();
    const data = pattern === 'client' || pattern === 'bidi' ? of(1) : {};
    expect(await firstValueFrom(client.send(pattern, data))).toBe('id-1');
    expect(await client.call(pattern, data)).toBe('id-2');
    await log.seen('end id-2');
    const hooks = log.entries.filter((entry) => !entry.startsWith('got'));
    expect(hooks).toEqual(['start nestjs-drpc id-1', 'end id-1', 'start nestjs-drpc id-2', 'end id-2']);
  });

  it('follows an event', async () => {
    const { client } = await start();
    client.emit('event', 1);
    await log.seen('end id-1');
    expect(log.entries).toEqual(['start nestjs-drpc id-1', 'event id-1', 'end id-1']);
  });

  it('sees the end of a call that fails behind its first value, and of one that is given up', async () => {
    const { client } = await start();
    expect(await outcome(client.call('fails'))).toBe(2);
    await log.seen('end id-1');
    const subscription = client.send('endless', {}).subscribe();
    await log.seen('endless');
    subscription.unsubscribe();
    await log.seen('end id-2');
    expect(log.entries.filter((entry) => entry.startsWith('end id'))).toEqual(['end id-1', 'end id-2']);
  });
});

describe('providers of a call', () => {
  it('are made for each call, and know it', async () => {
    let made = 0;
    @Injectable({ scope: Scope.REQUEST })
    class Basket {
      readonly number = ++made;
      constructor(@Inject(CONTEXT) readonly request: RequestContext<unknown, DrpcContext>) {}
    }
    @Controller()
    class BasketController {
      constructor(@Inject(Basket) private readonly basket: Basket) {}

      @MessagePattern('one')
      one(): unknown {
        const { number, request } = this.basket;
        return [number, request.getPattern(), request.getContext().metadata['user']];
      }

      @MessagePattern('many')
      many(@DrpcStream() values: Observable<number>): Observable<unknown> {
        return values.pipe(map((value) => [this.basket.number, value]));
      }
    }
    const { client } = await JoinedApps.start([BasketController], { module: { providers: [Basket] } });
    expect(await client.call('one', {}, { metadata: { user: 'a' } })).toEqual([1, 'one', 'a']);
    expect(await client.call('one', {}, { metadata: { user: 'b' } })).toEqual([2, 'one', 'b']);
    const answers: unknown[] = [];
    for await (const answer of client.stream('many', of(5, 6))) answers.push(answer);
    expect(answers).toEqual([
      [3, 5],
      [3, 6],
    ]);
    expect(made).toBe(3);
  });

  it('are kept for a tenant that the metadata names, where they are durable', async () => {
    let made = 0;
    @Injectable({ scope: Scope.REQUEST, durable: true })
    class Ledger {
      readonly number = ++made;
    }
    @Controller()
    class LedgerController {
      constructor(@Inject(Ledger) private readonly ledger: Ledger) {}

      @MessagePattern('ledger')
      number(): number {
        return this.ledger.number;
      }
    }
    const tenants = new Map<string, ContextId>();
    ContextIdFactory.apply({
      attach: (contextId: ContextId, request: RequestContext<unknown, DrpcContext>) => {
        const tenant = request.getContext().getMetadata()['tenant'] ?? '';
        const tenantId = tenants.get(tenant) ?? ContextIdFactory.create();
        tenants.set(tenant, tenantId);
        return (info: HostComponentInfo) => (info.isTreeDurable ? tenantId : contextId);
      },
    });
    onTestFinished(() => ContextIdFactory.apply(undefined as never));
    const { client } = await JoinedApps.start([LedgerController], { module: { providers: [Ledger] } });
    const call = (tenant: string) => client.call('ledger', {}, { metadata: { tenant } });
    expect([await call('a'), await call('b'), await call('a'), await call('b')]).toEqual([1, 2, 1, 2]);
  });
});

describe('the graph of an application', () => {
  it('names patterns and kind of each handler, and can be written as JSON', async () => {
    @Controller()
    class GraphController {
      @MessagePattern({ cmd: 'sum' }, DRPC_TRANSPORT)
      sum(@DrpcStream() values: Observable<number>): Observable<number> {
        return values;
      }

      @EventPattern<string>('ordered')
      onOrder(_order: unknown): void {
        // Taken.
      }
    }
    @Module({ controllers: [GraphController] })
    class GraphModule {}
    const server = drpc();
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(GraphModule, {
      strategy: server,
      logger: false,
      snapshot: true,
    });
    onTestFinished(() => app.close());
    await app.listen();
    const graph = JSON.parse(app.get(SerializedGraph).toString()) as {
      entrypoints: Record<string, { methodName: string; metadata: Record<string, unknown> }[]>;
    };
    const entrypoints = Object.values(graph.entrypoints).flat();
    expect(entrypoints.map(({ methodName, metadata }) => [methodName, metadata['patterns']])).toEqual([
      ['sum', [{ cmd: 'sum' }]],
      ['onOrder', ['ordered']],
    ]);
    expect(entrypoints.map(({ metadata }) => metadata['isEventHandler'])).toEqual([false, true]);
  });
});

async function startNestTcp(address: AddressInfo): Promise<ClientProxy> {
  const app = await NestFactory.createApplicationContext(
    {
      module: class NestTcpModule {},
      imports: [
        ClientsModule.register([
          { name: 'TCP', transport: Transport.TCP, options: { host: '127.0.0.1', port: address.port } },
        ]),
      ],
    } as never,
    { logger: false },
  );
  onTestFinished(() => app.close());
  return app.get<ClientProxy>('TCP');
}
