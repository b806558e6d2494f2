import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Metadata as GrpcMetadata } from '@grpc/grpc-js';
import { Controller, type Type } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { EMPTY, firstValueFrom, from, NEVER, of, reduce, type Observable } from 'rxjs';
import { describe, expect, it, onTestFinished } from 'vitest';

import {
  DrpcClient,
  DrpcContext,
  DrpcMethod,
  DrpcServer,
  DrpcStream,
  type DrpcServerOptions,
  type ProtoLoaderOptions,
} from '../../lib/index.js';
import { Greeter as GreeterService } from '../fixtures/gen/greeter_pb.js';
import { NamedGreeter } from './helpers/greeters.js';
import { collect, GreetingApp } from './helpers/greeting-app.js';
import { greeterProto } from './helpers/goldens.js';

const proto = { protoPath: greeterProto, package: 'interop.v1' };

type Call = (request: unknown, options?: unknown) => Observable<object>;

/** A service whose types do not stand in the way of mistakes. */
function untyped(service: unknown): Record<string, Call> {
  return service as Record<string, Call>;
}

describe('a server of protobuf services', () => {
  @Controller()
  class StreamOfOne {
    @DrpcMethod('Greeter', 'SayHello')
    sayHello(@DrpcStream() _requests: Observable<object>): void {}
  }

  @Controller()
  class Twice {
    @DrpcMethod('Greeter', 'SayHello')
    sayHello(): void {}

    @MessagePattern('/interop.v1.Greeter/SayHello')
    again(): void {}
  }

  @Controller()
  class Unknown {
    @DrpcMethod('Greeter', 'SayGoodbye')
    sayGoodbye(): void {}
  }

  it.each<[string, Type, DrpcServerOptions, string]>([
    ['a method without a definition', Unknown, proto, 'no definition of the method "SayGoodbye"'],
    ['definitions that nobody gave', NamedGreeter, {}, 'set package and protoPath, or services'],
    ['a file that is not there', NamedGreeter, { protoPath: 'no/such.proto' }, 'no/such.proto'],
    [
      'a stream of what is one message',
      StreamOfOne,
      proto,
      'handler of "/interop.v1.Greeter/SayHello" takes a stream: its request is one message',
    ],
    [
      'a pattern that is the rpc of a method',
      Twice,
      proto,
      'pattern "/interop.v1.Greeter/SayHello" has two message handlers',
    ],
  ])('does not start with %s', async (_what, controller, options, message) => {
    await expect(GreetingApp.start([controller], options)).rejects.toThrow(message);
  });

  it.each<[string, object, string]>([
    ['package', { package: 5 }, 'a number: must be text or an array of texts'],
    ['protoPath', { protoPath: [] }, 'an Array: must be text or an array of texts'],
    ['protoPath', { protoPath: ['a', 5] }, 'an Array: must be text or an array of texts'],
    ['loader', { loader: 'keepCase' }, 'a string: must be an object'],
    ['loader', { loader: [] }, 'an Array: must be an object'],
    ['packageDefinition', { packageDefinition: [] }, 'an Array: must be an object'],
    ['packageDefinition', { packageDefinition: null }, 'null: must be an object'],
    ['protoPath', { protoPath: '' }, '"": must be the path of a file'],
    ['protoPath', { protoPath: ['a.proto', ''] }, '"": must be the path of a file'],
    ['package', { package: 'a' }, 'given without protoPath or packageDefinition: must be beside one of them'],
    ['loader', { loader: {} }, 'given without protoPath or packageDefinition: must be beside one of them'],
    ['services', { services: GreeterService }, 'an Object: must be an array of services'],
    ['services', { services: [undefined] }, 'an Array: must be an array of services'],
  ])('refuses a wrong option %s', (name, options, message) => {
    expect(() => new DrpcServer(options as DrpcServerOptions)).toThrow(`option ${name} is ${message}`);
  });

  it.each([DrpcServer, DrpcClient])('refuses options of the loader that there are not: %o', (Made) => {
    const make = (loader: object) => () => new Made({ ...proto, loader: loader as ProtoLoaderOptions });
    expect(make({ keepcase: true })).toThrow(
      'loader option keepcase is not known, did you mean keepCase? There are alternateCommentMode, arrays, ',
    );
    expect(make({ protoPath: '' })).toThrow(/^loader option protoPath is not known: there are /);
    const all = { keepCase: true, alternateCommentMode: false, preferTrailingComment: false, longs: String };
    const more = { enums: String, bytes: String, defaults: true, arrays: true, objects: true, oneofs: true };
    expect(make({ ...all, ...more, json: true, includeDirs: [], unset: undefined })).toThrow(
      'loader option unset',
    );
    expect(make({ ...all, ...more, json: true, includeDirs: [] })).not.toThrow();
  });

  it.each([
    ['a file that is not there', undefined],
    ['a definition that is wrong', 'rpc Sum(Number) returns (Number);'],
  ])('serves all once it listens, after it could not because of %s', async (_what, wrong) => {
    @Controller()
    class Sums {
      @DrpcMethod('Sums', 'Echo')
      echo({ value }: { value: number }): object {
        return { value };
      }

      @DrpcMethod('Sums', 'Sum')
      sum(@DrpcStream() numbers: Observable<{ value: number }>): Observable<{ value: number }> {
        return numbers.pipe(reduce((sum, { value }) => ({ value: sum.value + value })));
      }
    }
    const folder = mkdtempSync(join(tmpdir(), 'drpc-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const protoPath = join(folder, 'sums.proto');
    const define = (sum: string) =>
      writeFileSync(
        protoPath,
        `syntax = "proto3"; package sums; message Number { int32 value = 1; }
        service Sums { rpc Echo(Number) returns (Number); ${sum} }`,
      );
    if (wrong !== undefined) define(wrong);
    const server = new DrpcServer({ port: 0, protoPath });
    const module = await Test.createTestingModule({ controllers: [Sums] }).compile();
    const app = module.createNestMicroservice({ strategy: server });
    app.useLogger(false);
    onTestFinished(() => app.close());
    await expect(app.listen()).rejects.toThrow(wrong === undefined ? 'sums.proto' : 'takes a stream');

    define('rpc Sum(stream Number) returns (Number);');
    await app.listen();

    const client = new DrpcClient({ port: (server.address() as AddressInfo).port, protoPath });
    onTestFinished(() => client.close());
    const sums = untyped(client.getService('Sums'));
    expect(await firstValueFrom(sums['echo']!({ value: 4 }))).toEqual({ value: 4 });
    expect(await firstValueFrom(sums['sum']!(from([{ value: 1 }, { value: 2 }])))).toEqual({ value: 3 });
  });

  it('takes an empty package beside files: it is every package', () => {
    expect(() => new DrpcServer({ package: '', protoPath: greeterProto })).not.toThrow();
  });

  it('may listen again', async () => {
    const server = new DrpcServer({ port: 0, services: [GreeterService] });
    addPing(server);
    for (let times = 0; times < 2; times++) {
      const error = await new Promise((resolve) => server.listen(resolve));
      expect(error).toBeUndefined();
      await server.close();
    }
  });
});

/** As Nest adds a decorated handler. */
function addPing(server: DrpcServer): Record<string, unknown> {
  class Handlers {
    @DrpcMethod(GreeterService.method.ping)
    ping(): void {}
  }
  // eslint-disable-next-line @typescript-eslint/unbound-method -- its metadata is looked up
  const { ping } = Handlers.prototype;
  const extras = Reflect.getMetadata('microservices:pattern_extras', ping) as Record<string, unknown>;
  server.addHandler('/interop.v1.Greeter/Ping', async () => undefined, false, extras);
  return extras;
}

describe('the extras of a handler', () => {
  it('show the rpc alone: a descriptor would lead to its whole file', () => {
    const extras = addPing(new DrpcServer({ port: 0 }));
    expect(JSON.parse(JSON.stringify(extras))).toEqual({
      drpcMethod: { name: '/interop.v1.Greeter/Ping' },
    });
  });
});

describe('a request that can not be read', () => {
  it.each([
    ['.proto files', proto],
    ['protoc-gen-es', { services: [GreeterService] }],
  ])('is the caller’s fault with %s: code 3, with rpc and encoding', async (_kind, options) => {
    const app = await GreetingApp.start([NamedGreeter], options);
    const call = app.client().call('/interop.v1.Greeter/SayHello', Buffer.of(0x0f), { encoding: 'bytes' });
    await expect(call).rejects.toMatchObject({
      code: 3,
      message: 'a message of "/interop.v1.Greeter/SayHello" is not valid protobuf',
    });
  });
});

describe('a handler of a unary method', () => {
  @Controller()
  class Greeter {
    @DrpcMethod(GreeterService.method.sayHello)
    sayHello(): Observable<{ message: string }> {
      return from([{ message: 'first' }, { message: 'last' }]);
    }

    @DrpcMethod('Greeter', 'CollectHellos')
    async *collectHellos(_requests: Observable<object>): AsyncGenerator<object> {
      yield { message: 'first' };
      yield { message: 'last' };
    }

    @DrpcMethod('Greeter', 'Ping')
    ping(): Observable<never> {
      return EMPTY;
    }

    @DrpcMethod('Greeter', 'Fail')
    fail(): object {
      return { index: 'none' };
    }
  }

  const start = async (): Promise<DrpcClient> =>
    (await GreetingApp.start([Greeter], { services: [GreeterService] })).client();

  it.each(['Observable', 'generator'])('that gives many values with an %s answers the last', async (form) => {
    const greeter = (await start()).service(GreeterService);
    const answer = form === 'Observable' ? greeter.sayHello({}) : greeter.collectHellos(of({}));
    expect(await answer).toMatchObject({ message: 'last' });
  });

  it('that gives none answers a message without fields', async () => {
    expect(await (await start()).service(GreeterService).ping({})).toEqual({
      $typeName: 'google.protobuf.Empty',
    });
  });

  it('that gives what is no message fails without a word of it', async () => {
    await expect((await start()).service(GreeterService).fail({})).rejects.toMatchObject({
      code: 2,
      message: 'Internal server error',
    });
  });
});

describe('a client of protobuf services', () => {
  const client = new DrpcClient({ ...proto });

  it('names the services there are', () => {
    expect(() => client.getService('Greter')).toThrow(
      'no definition of the service "Greter": the loaded services are interop.v1.Greeter',
    );
  });

  it('says which options there are', () => {
    expect(() => new DrpcClient().getService('Greeter')).toThrow(
      'no definition of the service "Greeter": set package and protoPath in the options of the client',
    );
  });

  it.each([
    [undefined, 'service is undefined: must be a name'],
    [GreeterService, 'service is an Object: must be a name'],
  ])('refuses a name that is none: %#', (name, message) => {
    expect(() => client.getService(name as unknown as string)).toThrow(new TypeError(message));
  });

  it.each<[unknown, object | undefined, string]>([
    [undefined, undefined, 'service is undefined: must be a service that protoc-gen-es made'],
    ['Greeter', undefined, 'service is a string: must be a service that protoc-gen-es made'],
    [
      GreeterService.method.chat,
      undefined,
      'service is an Object: must be a service that protoc-gen-es made',
    ],
    [GreeterService, { as: 'callback' }, `option as is "callback": must be 'promise' or 'observable'`],
  ])('refuses what is no service of protoc-gen-es: %#', (service, options, message) => {
    expect(() => client.service(service as typeof GreeterService, options)).toThrow(new TypeError(message));
  });

  it('knows a service by its full name, and methods by both of theirs', () => {
    const greeter = client.getService<Record<string, Call>>('interop.v1.Greeter');
    expect(greeter['sayHello']).toBeTypeOf('function');
    expect(greeter['SayHello']).toBe(greeter['sayHello']);
  });

  it('is not made without its files', () => {
    expect(() => new DrpcClient({ protoPath: 'no/such.proto' })).toThrow('no/such.proto');
  });

  const forms: [string, (name: string, request: unknown, options?: unknown) => Promise<unknown>][] = [
    [
      'getService()',
      (name, ...args) => firstValueFrom(untyped(client.getService('Greeter'))[name]!(...args)),
    ],
    [
      'service() with Observables',
      (name, ...args) =>
        firstValueFrom(untyped(client.service(GreeterService, { as: 'observable' }))[name]!(...args)),
    ],
    [
      'service() with promises',
      async (name, ...args) => {
        const result: unknown = untyped(client.service(GreeterService))[name]!(...args);
        return result instanceof Promise ? result : collect(result as AsyncIterable<unknown>);
      },
    ],
  ];
  const mistakes: [string, string, unknown, unknown, string][] = [
    ['a stream for one message', 'sayHello', of({}), undefined, 'must be one message'],
    ['one message for a stream', 'chat', {}, undefined, 'must be a stream of messages'],
    ['a stream for one message of many answers', 'listHellos', of({}), undefined, 'must be one message'],
    [
      'the metadata of gRPC',
      'sayHello',
      {},
      new GrpcMetadata(),
      'is not known: there are metadata, signal, timeout',
    ],
    ['an encoding', 'sayHello', {}, { encoding: 'json' }, 'call option encoding is not known'],
  ];

  describe.each(forms)('called by %s', (_form, call) => {
    it.each(mistakes)('refuses %s', async (_what, name, request, options, message) => {
      await expect(call(name, request, options)).rejects.toMatchObject({
        code: 3,
        message: expect.stringContaining(message) as string,
      });
    });
  });
});

describe('a call of a service of protoc-gen-es', () => {
  @Controller()
  class RawGreeter {
    @MessagePattern('/interop.v1.Greeter/SayHello', { encoding: 'bytes' })
    sayHello(): Buffer {
      return Buffer.of(0x0f);
    }

    @MessagePattern('/interop.v1.Greeter/Ping', { encoding: 'bytes' })
    ping(): Observable<never> {
      return EMPTY;
    }

    @MessagePattern('/interop.v1.Greeter/Fail', { encoding: 'bytes' })
    fail(): Observable<Buffer> {
      return from([Buffer.of(), Buffer.of()]);
    }
  }

  const start = async (): Promise<DrpcClient> => (await GreetingApp.start([RawGreeter])).client();

  it('fails when its answer can not be read', async () => {
    await expect((await start()).service(GreeterService).sayHello({})).rejects.toMatchObject({
      code: 13,
      message: expect.stringMatching('/interop.v1.Greeter/SayHello.*protobuf') as string,
    });
  });

  it('fails when there is no answer', async () => {
    await expect((await start()).service(GreeterService).ping({})).rejects.toMatchObject({
      code: 13,
      message: 'rpc "/interop.v1.Greeter/Ping" ended without an answer: it has to have one',
    });
  });

  it('fails when there are two answers', async () => {
    await expect((await start()).service(GreeterService).fail({})).rejects.toMatchObject({ code: 13 });
  });

  it('fails when its request can not be written', async () => {
    await expect((await start()).service(GreeterService).fail({ code: 2n ** 64n })).rejects.toMatchObject({
      code: 3,
      message: expect.stringContaining('protobuf') as string,
    });
  });
});

describe('the first call of a service of protoc-gen-es, before its library has been loaded', () => {
  let started: DrpcContext | undefined;

  @Controller()
  class Greeter {
    @DrpcMethod(GreeterService.method.listHellos)
    listHellos(_request: object, context: DrpcContext): Observable<never> {
      started = context;
      return NEVER;
    }
  }

  /** Leaves a call at once. Answers what the server saw of it; a later call would arrive after it. */
  async function leave(call: (client: DrpcClient) => unknown): Promise<DrpcContext | undefined> {
    started = undefined;
    const client = (await GreetingApp.start([Greeter])).client();
    await call(client);
    await expect(client.service(GreeterService).sayHello({})).rejects.toMatchObject({ code: 12 });
    return started;
  }

  it('is not made by a loop that is left at once', async () => {
    const seen = await leave(async (client) => {
      const answers = client.service(GreeterService).listHellos({})[Symbol.asyncIterator]();
      expect(await answers.return?.()).toEqual({ done: true, value: undefined });
      expect(await answers.next()).toEqual({ done: true, value: undefined });
    });
    expect(seen).toBeUndefined();
  });

  it('is not made by a subscription that is left at once', async () => {
    const seen = await leave((client) =>
      client.service(GreeterService, { as: 'observable' }).listHellos({}).subscribe().unsubscribe(),
    );
    expect(seen).toBeUndefined();
  });
});
