import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ControllerOptions } from '@nestjs/common';
import {
  ClientProxyFactory,
  GrpcMethod,
  GrpcService,
  GrpcStreamMethod,
  RpcException,
  Transport,
  type ClientGrpc,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import {
  catchError,
  concat,
  EMPTY,
  finalize,
  firstValueFrom,
  from,
  map,
  materialize,
  NEVER,
  of,
  reduce,
  Subject,
  take,
  throwError,
  toArray,
  type Observable,
} from 'rxjs';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { DrpcMethod, DrpcService } from '../../lib/index.js';
import { GreetingApp } from './helpers/greeting-app.js';
import { greeterProto } from './helpers/goldens.js';

const proto = {
  package: 'interop.v1',
  protoPath: greeterProto,
  loader: { longs: String, enums: String, defaults: true, oneofs: true },
};

interface HelloRequest {
  name: string;
}

interface HelloReply {
  message: string;
  index: number;
}

/** The decorators of one transport. */
interface Decorators {
  Service: (options?: ControllerOptions) => ClassDecorator;
  Method: (service?: string, method?: string) => MethodDecorator;
  StreamMethod: (service?: string, method?: string) => MethodDecorator;
}

interface ListRequest {
  name: string;
  count: number;
  hang?: boolean;
  fail?: { code: number | string; message: string } | null;
}

/** What the streams of the controllers have come to, in their order. */
const endings = new Subject<string>();

/** A controller as applications have it for gRPC; nothing but its decorators is of a transport. */
function greeterOf({ Service, Method, StreamMethod }: Decorators): new () => object {
  @Service()
  class Greeter {
    readonly #greeting = 'Hello';

    @Method('Greeter', 'SayHello')
    async sayHello({ name }: HelloRequest): Promise<Partial<HelloReply>> {
      return { message: this.#hello(name) };
    }

    @Method()
    listHellos({ name, count, hang, fail }: ListRequest): Observable<Partial<HelloReply>> {
      const hellos = from(
        Array.from({ length: count }, (_, index) => ({ message: this.#hello(name), index })),
      );
      const fails = throwError(() => new RpcException({ code: Number(fail?.code), message: fail?.message }));
      return concat(hellos, hang ? NEVER : fail ? fails : EMPTY).pipe(finalize(() => endings.next('list')));
    }

    @StreamMethod('Greeter')
    collectHellos(requests: Observable<HelloRequest>): Observable<{ message: string; names: string[] }> {
      return requests.pipe(
        reduce((names, { name }) => [...names, name], [] as string[]),
        map((names) => ({ message: this.#hello(names.join(' and ')), names })),
      );
    }

    @StreamMethod('interop.v1.Greeter', 'Chat')
    async talk(requests: Observable<HelloRequest>): Promise<Observable<Partial<HelloReply>>> {
      return requests.pipe(map(({ name }, index) => ({ message: this.#hello(name), index })));
    }

    // A name as JavaScript has it.
    @Method('Greeter', 'echoAll')
    echo(message: object): Observable<object> {
      return of(message);
    }

    @Method('Greeter', 'Fail')
    fail({ code, message }: { code: string; message: string }): never {
      throw new RpcException({ code: Number(code), message });
    }

    @Method('Greeter', 'Ping')
    ping(): object {
      return {};
    }

    #hello(name: string): string {
      return `${this.#greeting}, ${name}!`;
    }
  }
  return Greeter;
}

/** What an application declares of the service to call it. */
interface GreeterClient {
  sayHello(request: HelloRequest): Observable<HelloReply>;
  listHellos(request: ListRequest): Observable<HelloReply>;
  collectHellos(requests: Observable<HelloRequest>): Observable<{ message: string; names: string[] }>;
  chat(requests: Observable<HelloRequest>): Observable<HelloReply>;
  echoAll(message: object): Observable<object>;
  fail(request: { code: number; message: string }): Observable<never>;
  ping(request: object): Observable<object>;
  SayHello(request: HelloRequest): Observable<HelloReply>;
}

async function overGrpc(): Promise<GreeterClient> {
  const folder = await mkdtemp(join(tmpdir(), 'nestjs-drpc-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const transport = { transport: Transport.GRPC, options: { ...proto, url: `unix:${folder}/grpc` } } as const;
  const Controller = greeterOf({ Service: GrpcService, Method: GrpcMethod, StreamMethod: GrpcStreamMethod });
  const module = await Test.createTestingModule({ controllers: [Controller] }).compile();
  const app = module.createNestMicroservice(transport);
  app.useLogger(false);
  onTestFinished(() => app.close());
  await app.listen();
  const client = ClientProxyFactory.create(transport);
  onTestFinished(() => client.close());
  return (client as unknown as ClientGrpc).getService<GreeterClient>('Greeter');
}

async function overDrpc(): Promise<GreeterClient> {
  const Controller = greeterOf({ Service: DrpcService, Method: DrpcMethod, StreamMethod: DrpcMethod });
  const app = await GreetingApp.start([Controller], proto);
  return app.client(proto).getService<GreeterClient>('Greeter');
}

describe.each([
  ['@GrpcMethod()', overGrpc],
  ['@DrpcMethod()', overDrpc],
])('a controller of gRPC with %s', (_decorator, start) => {
  let greeter: GreeterClient;

  beforeEach(async () => {
    greeter = await start();
  });

  it('answers one message', async () => {
    expect(await firstValueFrom(greeter.sayHello({ name: 'Nest' }))).toEqual({
      message: 'Hello, Nest!',
      index: 0,
    });
    expect(await firstValueFrom(greeter.SayHello({ name: 'Nest' }))).toMatchObject({
      message: 'Hello, Nest!',
    });
  });

  it('answers a stream', async () => {
    expect(await firstValueFrom(greeter.listHellos({ name: 'Nest', count: 3 }).pipe(toArray()))).toEqual(
      [0, 1, 2].map((index) => ({ message: 'Hello, Nest!', index })),
    );
  });

  it('takes a stream', async () => {
    const requests = from([{ name: 'Nest' }, { name: 'Go' }]);
    expect(await firstValueFrom(greeter.collectHellos(requests))).toEqual({
      message: 'Hello, Nest and Go!',
      names: ['Nest', 'Go'],
    });
  });

  it('answers a stream with a stream', async () => {
    const requests = from([{ name: 'Nest' }, { name: 'Go' }]);
    expect(await firstValueFrom(greeter.chat(requests).pipe(toArray()))).toEqual([
      { message: 'Hello, Nest!', index: 0 },
      { message: 'Hello, Go!', index: 1 },
    ]);
  });

  it('has messages of the same form', async () => {
    const message = {
      fInt64: '-9223372036854775808',
      fColor: 'COLOR_GREEN',
      fBytes: Buffer.of(1, 2),
      cNested: { name: 'n' },
      mStringInt64: { a: '1' },
      wTimestamp: { seconds: '1', nanos: 2 },
    };
    expect(await firstValueFrom(greeter.echoAll(message))).toMatchObject({
      ...message,
      cNested: { name: 'n', number: '0', inner: 'INNER_ZERO' },
      choice: 'cNested',
      fString: '',
      rInt32: [],
      wDuration: null,
    });
  });

  it('answers an empty message', async () => {
    expect(await firstValueFrom(greeter.ping({}))).toEqual({});
  });

  it('fails with a code and a message', async () => {
    const error = await firstValueFrom(
      greeter.fail({ code: 5, message: 'no such hero' }).pipe(catchError((thrown: unknown) => of(thrown))),
    );
    expect(error).toMatchObject({ code: 5, message: expect.stringContaining('no such hero') as string });
  });

  it('fails behind messages of a stream', async () => {
    const replies = greeter.listHellos({ name: 'Nest', count: 2, fail: { code: 9, message: 'no more' } });
    const notes = await firstValueFrom(replies.pipe(materialize(), toArray()));
    expect(notes.map(({ kind }) => kind)).toEqual(['N', 'N', 'E']);
    expect(notes[2]).toMatchObject({
      error: { code: 9, message: expect.stringContaining('no more') as string },
    });
  });

  it('stops a stream that is left', async () => {
    const ended = firstValueFrom(endings);
    const replies = greeter.listHellos({ name: 'Nest', count: 3, hang: true });
    expect(await firstValueFrom(replies.pipe(take(3), toArray()))).toHaveLength(3);
    expect(await ended).toBe('list');
  });
});
