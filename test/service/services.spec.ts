import { create, createRegistry, toJson } from '@bufbuild/protobuf';
import { Controller, Scope, ValidationPipe, type Type } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { IsString } from 'class-validator';
import { firstValueFrom, from, lastValueFrom, map, of, toArray, Observable } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';

import {
  DrpcContext,
  DrpcMethod,
  DrpcService,
  type DrpcClientOptions,
  type DrpcServerOptions,
  type DrpcServiceClient,
} from '../../lib/index.js';
import {
  AllTypesSchema,
  Color,
  file_greeter,
  Greeter as GreeterService,
  type AllTypes,
  type HelloRequest,
} from '../fixtures/gen/greeter_pb.js';
import { Greeter, NamedGreeter, TypedGreeter } from './helpers/greeters.js';
import { collect, GreetingApp } from './helpers/greeting-app.js';
import { greeterProto } from './helpers/goldens.js';

const proto = {
  protoPath: greeterProto,
  package: 'interop.v1',
  loader: { longs: String, enums: String, defaults: true, oneofs: true },
};

/** A client's way to call the service, brought into one form. */
interface Calls {
  one(name: string, request: object): Promise<object>;
  many(name: string, request: object): Promise<object[]>;
}

type Method = (request: object) => Observable<object> & Promise<object> & AsyncIterable<object>;

const clients: [string, DrpcClientOptions, (app: GreetingApp, options: DrpcClientOptions) => Calls][] = [
  [
    'getService()',
    proto,
    (app, options) => {
      const service = app.client(options).getService<Record<string, Method>>('Greeter');
      return {
        one: (name, request) => firstValueFrom(service[name]!(request)),
        many: (name, request) => firstValueFrom(service[name]!(request).pipe(toArray())),
      };
    },
  ],
  [
    'service() with promises',
    {},
    (app, options) => {
      const service = app.client(options).service(GreeterService) as unknown as Record<string, Method>;
      return {
        one: (name, request) => service[name]!(request),
        many: (name, request) => collect(service[name]!(request)),
      };
    },
  ],
  [
    'service() with Observables',
    {},
    (app, options) => {
      const typed = app.client(options).service(GreeterService, { as: 'observable' });
      const service = typed as unknown as Record<string, Method>;
      return {
        one: (name, request) => firstValueFrom(service[name]!(request)),
        many: (name, request) => firstValueFrom(service[name]!(request).pipe(toArray())),
      };
    },
  ],
];

const servers: [string, Type, DrpcServerOptions][] = [
  ['names and .proto files', NamedGreeter, proto],
  ['derived names and .proto files', Greeter, proto],
  ['names and a service of protoc-gen-es', NamedGreeter, { services: [GreeterService] }],
  ['descriptors', TypedGreeter, {}],
];

const pairs = servers.flatMap(([how, controller, server]) =>
  clients.map(([what, client, open]) => [how, what, controller, server, client, open] as const),
);

describe.each(pairs)('a service by %s, called by %s', (_how, _what, controller, server, client, open) => {
  let calls: Calls;

  beforeEach(async () => {
    const app = await GreetingApp.start([controller], server);
    calls = open(app, client);
  });

  it('answers one request with one message', async () => {
    expect(await calls.one('sayHello', { name: 'Nest' })).toMatchObject({
      message: 'Hello, Nest!',
      index: 0,
    });
  });

  it('answers one request with a stream', async () => {
    const replies = await calls.many('listHellos', { name: 'Nest', count: 3 });
    expect(replies).toMatchObject([{ index: 0 }, { index: 1 }, { message: 'Hello, Nest!', index: 2 }]);
  });

  it('answers a stream with one message', async () => {
    const requests = from([{ name: 'Nest' }, { name: 'Go' }]);
    expect(await calls.one('collectHellos', requests)).toMatchObject({
      message: 'Hello, Nest and Go!',
      names: ['Nest', 'Go'],
    });
  });

  it('answers a stream with a stream', async () => {
    async function* requests(): AsyncGenerator<object> {
      yield { name: 'Nest' };
      yield { name: 'Go' };
    }
    expect(await calls.many('chat', requests())).toMatchObject([
      { message: 'Hello, Nest!', index: 0 },
      { message: 'Hello, Go!', index: 1 },
    ]);
  });

  it('answers an empty message for no result at all', async () => {
    expect(await calls.one('ping', {})).toMatchObject({});
  });
});

describe('a handler of @DrpcMethod()', () => {
  @Controller()
  class Greeters {
    @DrpcMethod(GreeterService.method.sayHello)
    sayHello({ name }: HelloRequest, context: DrpcContext): { message: string } {
      return { message: `${context.pattern} ${name} ${context.metadata['greeting']}` };
    }

    @DrpcMethod(GreeterService.method.chat)
    async *chat(requests: Observable<HelloRequest>, { metadata }: DrpcContext): AsyncGenerator<object> {
      yield {
        message: `${await lastValueFrom(requests.pipe(map(({ name }) => name)))} ${metadata['greeting']}`,
      };
    }

    @DrpcMethod('Greeter', 'ListHellos')
    listHellos(@Ctx() context: DrpcContext, @Payload('name') name: string): object {
      return { message: `${name} ${context.metadata['greeting']}` };
    }
  }

  it('takes the request and the context, or what its decorators say', async () => {
    const app = await GreetingApp.start([Greeters], { services: [GreeterService] });
    const greeter = app.client().service(GreeterService);
    const options = { metadata: { greeting: 'hi' } };
    expect((await greeter.sayHello({ name: 'Nest' }, options)).message).toBe(
      '/interop.v1.Greeter/SayHello Nest hi',
    );
    expect(await collect(greeter.chat(of({ name: 'Nest' }), options))).toMatchObject([
      { message: 'Nest hi' },
    ]);
    expect(await collect(greeter.listHellos({ name: 'Nest' }, options))).toMatchObject([
      { message: 'Nest hi' },
    ]);
  });
});

describe('handlers of @DrpcMethod()', () => {
  it('are pinned to this transport', async () => {
    const app = await GreetingApp.start([NamedGreeter], { ...proto, strictTransport: true });
    expect(await app.client().service(GreeterService).sayHello({ name: 'Nest' })).toMatchObject({
      message: 'Hello, Nest!',
    });
  });
});

describe('@DrpcService()', () => {
  let instances = 0;

  @DrpcService({ scope: Scope.REQUEST })
  class Greeters {
    readonly #index = ++instances;

    @DrpcMethod('Greeter', 'SayHello')
    sayHello({ name }: { name: string }, { pattern }: DrpcContext): object {
      return { message: `${pattern} ${name}`, index: this.#index };
    }
  }

  it('takes the options of @Controller(): an instance for each call', async () => {
    const app = await GreetingApp.start([Greeters], proto);
    const greeter = app.client().service(GreeterService);
    const answers = [await greeter.sayHello({ name: 'Nest' }), await greeter.sayHello({ name: 'Go' })];
    expect(answers).toMatchObject([
      { message: '/interop.v1.Greeter/SayHello Nest', index: 1 },
      { message: '/interop.v1.Greeter/SayHello Go', index: 2 },
    ]);
  });
});

describe('a handler of @DrpcMethod() behind a global ValidationPipe', () => {
  class HelloDto {
    @IsString() name!: string;
  }

  @Controller()
  class Greeters {
    @DrpcMethod('Greeter', 'SayHello')
    sayHello({ name }: HelloDto, context: DrpcContext): { message: string } {
      return { message: `${name} ${context.signal.aborted} ${context instanceof DrpcContext}` };
    }

    @DrpcMethod('Greeter', 'Chat')
    chat(requests: Observable<HelloDto>, context: DrpcContext): Observable<{ message: string }> {
      return requests.pipe(map(({ name }) => ({ message: `${name} ${context.signal.aborted}` })));
    }
  }

  // Fields that are not set are left out, so that there is something to miss.
  const strict = { ...proto, loader: {} };

  async function start(): Promise<DrpcServiceClient<typeof GreeterService>> {
    const pipe = new ValidationPipe({ whitelist: true, forbidNonWhitelisted: true, transform: true });
    const app = await GreetingApp.start([Greeters], strict, (nest) => nest.useGlobalPipes(pipe));
    return app.client().service(GreeterService);
  }

  it('gets its context and its stream as they are', async () => {
    const greeter = await start();
    expect((await greeter.sayHello({ name: 'Nest' })).message).toBe('Nest false true');
    expect(await collect(greeter.chat(of({ name: 'Nest' })))).toMatchObject([{ message: 'Nest false' }]);
  });

  it('has its request checked', async () => {
    const greeter = await start();
    await expect(greeter.sayHello({})).rejects.toMatchObject({ code: 3, message: 'name must be a string' });
    await expect(greeter.sayHello({ name: 'Nest', hang: true })).rejects.toMatchObject({
      code: 3,
      message: 'property hang should not exist',
    });
  });
});

describe('send() and call()', () => {
  it('reach the methods of .proto files by their rpcs', async () => {
    const client = (await GreetingApp.start([NamedGreeter], proto)).client(proto);
    const rpc = '/interop.v1.Greeter/SayHello';
    expect(await client.call(rpc, { name: 'Nest' })).toMatchObject({ message: 'Hello, Nest!' });
    expect(await firstValueFrom(client.send(rpc, { name: 'Nest' }))).toMatchObject({
      message: 'Hello, Nest!',
    });
  });

  it('use another encoding where one is named', async () => {
    const rpc = '/interop.v1.Greeter/SayHello';
    const encodings = { [rpc]: 'bytes' } as const;
    const client = (await GreetingApp.start([NamedGreeter], proto)).client({ ...proto, encodings });
    const answer = await client.call(rpc, Buffer.of());
    expect(String(answer)).toContain('Hello, !');
  });
});

describe('a message through client and server', () => {
  it('is the same at both ends, field for field', async () => {
    const app = await GreetingApp.start([NamedGreeter], proto);
    const greeter = app.client().service(GreeterService);
    const sent = create(AllTypesSchema, {
      fInt64: -(2n ** 63n),
      fUint64: 2n ** 64n - 1n,
      fColor: Color.NEGATIVE,
      oBool: false,
      fBytes: new Uint8Array([0, 255]),
      rString: ['', 'ü'],
      mUint64Bytes: { '18446744073709551615': new Uint8Array([1]) },
      mBoolColor: { false: Color.RED },
      choice: { case: 'cEmpty', value: {} },
      wTimestamp: { seconds: -1n, nanos: 5 },
      wInt64: 0n,
      renamed: 'r',
    });
    expect(json(await greeter.echoAll(sent))).toEqual(json(sent));
  });
});

function json(message: AllTypes): unknown {
  return toJson(AllTypesSchema, message, { registry: createRegistry(file_greeter) });
}
