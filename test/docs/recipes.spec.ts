import { AsyncLocalStorage } from 'node:async_hooks';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  Controller,
  Inject,
  Injectable,
  Module,
  ParseIntPipe,
  Scope,
  UseGuards,
  ValidationPipe,
  type CanActivate,
} from '@nestjs/common';
import {
  ClientsModule,
  CONTEXT,
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  type RequestContext,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { IsInt, IsPositive, IsString } from 'class-validator';
import {
  DRPC_TRANSPORT,
  DrpcClient,
  drpcClient,
  DrpcContext,
  DrpcMetadata,
  DrpcRecord,
  DrpcServer,
  DrpcStream,
  type DrpcClientOptions,
  type Encoding,
} from 'nestjs-drpc';
import { createInMemoryNetwork } from 'nestjs-drpc/testing';
import { from, isObservable, lastValueFrom, map, Observable, ReplaySubject, toArray } from 'rxjs';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { JoinedApps } from '../e2e/helpers/joined-apps.js';
import { describePage } from './docs-page.js';

describePage('recipes');

const seen: unknown[] = [];

beforeEach(() => {
  seen.length = 0;
});

@Controller()
class StockController {
  @MessagePattern('reserve')
  reserve(@Payload() item: string, @DrpcMetadata('authorization') token: string | undefined): string {
    seen.push(token);
    return `one ${item}`;
  }

  @MessagePattern('slow')
  slow(@Ctx() { signal }: DrpcContext): Promise<never> {
    seen.push('begun');
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => {
        seen.push('aborted');
        reject(signal.reason as Error);
      });
    });
  }
}

@Controller()
class OrderController {
  constructor(@Inject('STOCK') private readonly stock: DrpcClient) {}

  @MessagePattern('order')
  async order(@Payload() item: string, @Ctx() { signal, metadata }: DrpcContext): Promise<string> {
    const reserved = await this.stock.call<string>('reserve', item, { signal, metadata });
    return `ordered ${reserved}`;
  }

  @MessagePattern('slow')
  slow(@Ctx() { signal, metadata }: DrpcContext): Promise<unknown> {
    return this.stock.call('slow', {}, { signal, metadata });
  }
}

@Module({
  imports: [ClientsModule.register([drpcClient({ name: 'STOCK', url: 'drpc://stock:4000', timeout: 2000 })])],
  controllers: [OrderController],
})
class OrderModule {}

describe('the recipes for clients', () => {
  it('register by helper, at once and later', async () => {
    const url = 'drpc://127.0.0.1:4000';
    class Config {
      readonly stockUrl = url;
    }
    @Module({ providers: [Config], exports: [Config] })
    class ConfigModule {}
    const module = await Test.createTestingModule({
      imports: [
        ClientsModule.registerAsync([
          {
            name: 'STOCK',
            imports: [ConfigModule],
            inject: [Config],
            useFactory: (config: Config) => drpcClient({ url: config.stockUrl, timeout: 2000 }),
          },
        ]),
      ],
    }).compile();
    expect(module.get('STOCK')).toBeInstanceOf(DrpcClient);
    await module.close();
  });
});

async function startOrders() {
  // The service that OrderController calls, in memory. A fake controller does as well as the real one.
  const stockNetwork = createInMemoryNetwork();
  const stockModule = await Test.createTestingModule({ controllers: [StockController] }).compile();
  const stock = stockModule.createNestMicroservice({
    strategy: new DrpcServer({ listener: stockNetwork.listener }),
  });
  await stock.listen();
  const stockClient = new DrpcClient({ dial: stockNetwork.dial });

  const network = createInMemoryNetwork();
  const module = await Test.createTestingModule({ imports: [OrderModule] })
    .overrideProvider('STOCK')
    .useValue(stockClient)
    .compile();
  const app = module.createNestMicroservice({ strategy: new DrpcServer({ listener: network.listener }) });
  app.useLogger(false);
  await app.listen();
  const client = new DrpcClient({ dial: network.dial });

  onTestFinished(async () => {
    await client.close();
    await app.close();
    await stockClient.close();
    await stock.close();
  });
  return client;
}

describe('the recipe for a handler that calls a service', () => {
  it('hands on metadata', async () => {
    const client = await startOrders();
    const metadata = { authorization: 'Bearer secret' };
    expect(await client.call('order', 'tree', { metadata })).toBe('ordered one tree');
    expect(seen).toEqual(['Bearer secret']);
  });

  it('hands on a cancel', async () => {
    const client = await startOrders();
    const leave = new AbortController();
    const slow = client.call('slow', {}, { signal: leave.signal });
    const turnsUntil = async (count: number): Promise<void> => {
      while (seen.length < count) await new Promise((resolve) => void setImmediate(resolve));
    };
    await turnsUntil(1);
    leave.abort(new Error('the caller has left'));
    await expect(slow).rejects.toThrow('the caller has left');
    await turnsUntil(2);
    expect(seen).toEqual(['begun', 'aborted']);
  });
});

/** JSON in which a bigint survives. */
const bigJson: Encoding = {
  name: 'big-json',
  marshal: (value) =>
    JSON.stringify(value ?? null, (_key, each: unknown) =>
      typeof each === 'bigint' ? { $bigint: String(each) } : each,
    ),
  unmarshal: (bytes) =>
    JSON.parse(new TextDecoder().decode(bytes), (_key, each: { $bigint?: string } | null) =>
      each?.$bigint === undefined ? each : BigInt(each.$bigint),
    ),
};

function* counting(): Generator<number> {
  yield 1;
}

class Account {
  name = 'mine';
  #balance = 7;

  get balance(): number {
    return this.#balance;
  }
}

describe('the recipe for encodings', () => {
  @Controller()
  class FileController {
    @MessagePattern('file', { encoding: 'bytes' })
    file(@Payload() part: Buffer): Buffer {
      return part.subarray(1);
    }

    @MessagePattern('pinned', DRPC_TRANSPORT, { encoding: 'bytes' })
    pinned(@Payload() part: Buffer): Buffer {
      return part;
    }

    @MessagePattern('balance', { encoding: bigJson })
    balance(@Payload() amount: bigint): { total: bigint } {
      return { total: amount + 1n };
    }

    @MessagePattern('echo')
    echo(@Payload() value: unknown): unknown {
      return value;
    }
  }

  it('names them at both ends', async () => {
    const options: DrpcClientOptions = { encodings: { file: 'bytes', balance: bigJson } };
    const { client } = await JoinedApps.start([FileController], { client: options });
    expect(await client.call('file', Buffer.from('abc'))).toEqual(Buffer.from('bc'));
    const copy = await client.call<Buffer>('pinned', Buffer.from('abc'), { encoding: 'bytes' });
    expect(copy).toEqual(Buffer.from('abc'));
    expect(await client.call('balance', 2n ** 64n)).toEqual({ total: 2n ** 64n + 1n });
  });

  it.each<[string, unknown, unknown]>([
    ['Date', new Date(0), '1970-01-01T00:00:00.000Z'],
    ['Map', new Map([[1, 2]]), {}],
    ['Set', new Set([1]), {}],
    ['Error', new Error('lost'), {}],
    ['RegExp', /lost/, {}],
    ['a generator that is not async', counting(), {}],
    ['an object with private fields', new Account(), { name: 'mine' }],
    ['a Map in an object', { map: new Map([[1, 2]]) }, { map: {} }],
    ['Buffer', Buffer.from('a'), { type: 'Buffer', data: [97] }],
    ['Uint8Array', new Uint8Array([97]), { 0: 97 }],
    ['undefined', undefined, undefined],
    ['a property that is undefined', { a: undefined, b: 1 }, { b: 1 }],
    ['undefined in an array', [undefined], [null]],
    ['NaN', [NaN, Infinity], [null, null]],
  ])('JSON makes of %s', async (_what, value, arrives) => {
    const { client } = await JoinedApps.start([FileController]);
    expect(await client.call('echo', value)).toStrictEqual(arrives);
  });

  it('JSON has no bigint', async () => {
    const { client } = await JoinedApps.start([FileController]);
    await expect(client.call('echo', 1n)).rejects.toMatchObject({ code: 3 });
  });
});

describe('the recipe for request-scoped providers', () => {
  @Injectable({ scope: Scope.REQUEST })
  class Tenant {
    readonly name: string | undefined;

    constructor(@Inject(CONTEXT) request: RequestContext<unknown, DrpcContext>) {
      this.name = request.getContext().metadata['tenant'];
    }
  }

  @Injectable()
  class TenantGuard implements CanActivate {
    constructor(
      @Inject(Tenant) private readonly tenant: Tenant,
      @Inject(CONTEXT) request: RequestContext<unknown, DrpcContext>,
    ) {
      seen.push(isObservable(request.getData()) ? 'a stream' : request.getData());
    }

    canActivate(): boolean {
      seen.push(`guards ${this.tenant.name}`);
      return true;
    }
  }

  @Controller()
  @UseGuards(TenantGuard)
  class TenantController {
    constructor(@Inject(Tenant) private readonly tenant: Tenant) {}

    @MessagePattern('tenant')
    async *name(@Payload(ParseIntPipe) times: number): AsyncGenerator<string | undefined> {
      for (let i = 0; i < times; i++) yield this.tenant.name;
    }

    @MessagePattern('tenants')
    names(@DrpcStream() numbers: Observable<number>): Observable<string> {
      return numbers.pipe(map((number) => `${this.tenant.name}${number}`));
    }

    @EventPattern('moved')
    moved(_to: string): void {
      seen.push(this);
    }

    @EventPattern('moved')
    movedToo(_to: string): void {
      seen.push(this);
    }
  }

  it('makes one for each call, with its request before pipes', async () => {
    const { client } = await JoinedApps.start([TenantController], { module: { providers: [Tenant] } });
    const values = (pattern: string, data: unknown, tenant: string): Promise<unknown[]> =>
      lastValueFrom(client.send(pattern, new DrpcRecord(data, { metadata: { tenant } })).pipe(toArray()));
    expect(await Promise.all([values('tenant', '2', 'ann'), values('tenant', '1', 'bob')])).toEqual([
      ['ann', 'ann'],
      ['bob'],
    ]);
    expect(seen).toEqual(['2', '1', 'guards ann', 'guards bob']);
    seen.length = 0;
    expect(await values('tenants', from([1, 2]), 'ann')).toEqual(['ann1', 'ann2']);
    expect(seen).toEqual(['a stream', 'guards ann']);
  });

  it('makes one for each handler of an event', async () => {
    const { client } = await JoinedApps.start([TenantController], { module: { providers: [Tenant] } });
    client.emit('moved', 'here');
    const controllers = (): unknown[] => seen.filter((each) => each instanceof TenantController);
    while (controllers().length < 2) await new Promise((resolve) => void setImmediate(resolve));
    expect(new Set(controllers()).size).toBe(2);
  });
});

describe('what is said of events and messages', () => {
  @Controller()
  class BothController {
    @EventPattern('event')
    event(value: unknown): string {
      seen.push(['event', value]);
      return 'nobody gets it';
    }

    @MessagePattern('message')
    message(value: unknown): string {
      seen.push(['message', value]);
      return 'answer';
    }
  }

  it('holds', async () => {
    const apps = await JoinedApps.start([BothController]);
    const { client } = apps;
    expect(await client.call('event', 1)).toBeUndefined();
    expect(await lastValueFrom(client.send('event', 2), { defaultValue: 'none' })).toBe('none');
    expect(await lastValueFrom(client.emit('message', 3))).toBeUndefined();
    client.emit('event', 4);
    expect(await client.call('message', from([5, 6]))).toBe('answer');
    await apps.fence();
    expect(seen).toEqual([
      ['event', 1],
      ['event', 2],
      ['message', 3],
      ['event', 4],
      ['message', 5],
    ]);
  });
});

describe('the recipes for request streams', () => {
  const kept: string[] = [];

  @Controller()
  class UploadController {
    @MessagePattern('upload')
    upload(@DrpcStream() parts: Observable<string>): Observable<number> {
      const progress = new ReplaySubject<number>();
      parts.subscribe({
        next: (part) => progress.next(kept.push(part)),
        complete: () => progress.complete(),
        // Without this the handler never hears that its caller has left.
        error: () => kept.push('canceled'),
      });
      return progress;
    }

    @MessagePattern('loop')
    loop(@DrpcStream({ as: 'iterable' }) parts: AsyncIterable<string>): Observable<number> {
      const progress = new ReplaySubject<number>();
      const work = async (): Promise<void> => {
        for await (const part of parts) progress.next(kept.push(part));
        progress.complete();
      };
      // Nobody awaits this Promise, and a rejection that nobody catches ends the process.
      work().catch(() => kept.push('canceled'));
      return progress;
    }
  }

  it.each(['upload', 'loop'])('hear of a cancel: %s', async (pattern) => {
    kept.length = 0;
    const { client } = await JoinedApps.start([UploadController]);
    const parts = new Observable<string>((subscriber) => subscriber.next('a'));
    const answers = client.stream(pattern, parts)[Symbol.asyncIterator]();
    expect(await answers.next()).toEqual({ done: false, value: 1 });
    await answers.return!();
    while (kept.length < 2) await new Promise((resolve) => void setImmediate(resolve));
    expect(kept).toEqual(['a', 'canceled']);
  });
});

class Line {
  @IsString()
  item!: string;

  @IsInt()
  @IsPositive()
  count!: number;
}

describe('the recipe for checked request streams', () => {
  @Controller()
  class ImportController {
    @MessagePattern('import')
    async import(
      @DrpcStream({ as: 'iterable', type: Line, validation: { whitelist: true } }) lines: AsyncIterable<Line>,
    ): Promise<number> {
      let total = 0;
      for await (const line of lines) total += line.count;
      return total;
    }

    @MessagePattern('instances')
    instances(@DrpcStream(Line) lines: Observable<Line>): Observable<boolean> {
      return lines.pipe(map((line) => line instanceof Line));
    }
  }

  it('takes what is valid, and ends the call for what is not', async () => {
    const { client } = await JoinedApps.start([ImportController], {
      prepare: (app) => app.useGlobalPipes(new ValidationPipe({ transform: true })),
    });
    const line = { item: 'tree', count: 2 };
    expect(await client.call('import', from([line, line]))).toBe(4);
    expect(await client.call('instances', from([line]))).toBe(true);
    await expect(client.call('import', from([line, { item: 'tree', count: 0 }]))).rejects.toMatchObject({
      code: 3,
      message: 'count must be a positive number',
    });
  });
});

describe('the recipe for files', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'files-'));
    onTestFinished(() => rm(folder, { recursive: true }));
  });

  @Controller()
  class FilesController {
    @MessagePattern('store', { encoding: 'bytes' })
    async store(
      @DrpcStream({ as: 'iterable' }) parts: AsyncIterable<Buffer>,
      @DrpcMetadata('name') name: string,
    ): Promise<Buffer> {
      await pipeline(parts, createWriteStream(join(folder, basename(name))));
      return Buffer.alloc(0);
    }

    @MessagePattern('fetch', { encoding: 'bytes' })
    fetch(@Payload() name: Buffer): Readable {
      return createReadStream(join(folder, basename(name.toString())));
    }

    @MessagePattern('nothing', { encoding: 'bytes' })
    nothing(): void {}
  }

  it('stores and fetches them', async () => {
    const { client } = await JoinedApps.start([FilesController]);
    const [path, copy] = [join(folder, 'original'), join(folder, 'copy')];
    const content = Buffer.alloc(6 << 20, 'larger than a message may be');
    await writeFile(path, content);
    const bytes = { encoding: 'bytes' } as const;
    await client.call('store', createReadStream(path), { ...bytes, metadata: { name: 'a.txt' } });
    const parts = client.stream<Buffer>('fetch', Buffer.from('a.txt'), bytes);
    await pipeline(parts, createWriteStream(copy));
    expect((await readFile(join(folder, 'a.txt'))).equals(content)).toBe(true);
    expect((await readFile(copy)).equals(content)).toBe(true);
  });

  it('refuses what is no bytes, at either end', async () => {
    const { client } = await JoinedApps.start([FilesController]);
    const bytes = { encoding: 'bytes' } as const;
    await expect(client.call('nothing', Buffer.alloc(0), bytes)).rejects.toMatchObject({ code: 2 });
    await expect(client.call('fetch', undefined, bytes)).rejects.toMatchObject({ code: 3 });
    const text = Readable.from(['a text']);
    await expect(client.call('store', text, bytes)).rejects.toMatchObject({ code: 3 });
  });
});

describe('what is said of AsyncLocalStorage', () => {
  const requests = new AsyncLocalStorage<string>();

  it('holds', async () => {
    const { client } = await JoinedApps.start([StockController], { over: 'tcp' });
    await client.connect();
    await requests.run('request 1', async () => {
      const item = await client.call<string>('reserve', 'tree');
      seen.push([item, requests.getStore()]);

      const request = requests.getStore();
      const line$ = client.send<string>('reserve', 'tree').pipe(map((text) => `${request}: ${text}`));
      seen.push(await lastValueFrom(line$));

      await lastValueFrom(
        client
          .send<string>('reserve', 'tree')
          .pipe(map(() => seen.push(`in a pipe: ${requests.getStore()}`))),
      );
    });
    expect(seen.filter((each) => each !== undefined)).toEqual([
      ['one tree', 'request 1'],
      'request 1: one tree',
      'in a pipe: undefined',
    ]);
  });
});
