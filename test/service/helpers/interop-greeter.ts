import type { AddressInfo } from 'node:net';
import { Inject, type INestMicroservice, type Type } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import {
  DrpcException,
  DrpcMethod,
  DrpcServer,
  DrpcService,
  type DrpcContext,
  type DrpcServerOptions,
} from 'nestjs-drpc';
import { concat, from, map, NEVER, of, reduce, throwError, type Observable } from 'rxjs';
import { Greeter } from '../../fixtures/gen/greeter_pb.js';
import { CallLog } from '../../interop/helpers/call-log.js';
import { greeterProto } from './goldens.js';

/** Requests as both kinds of definitions give them. */
interface HelloRequest {
  readonly name: string;
  readonly hang: boolean;
}

interface FailRequest {
  readonly code: bigint | string;
  readonly message: string;
  readonly details: readonly {
    readonly typeUrl?: string;
    readonly type_url?: string;
    readonly value: Uint8Array;
  }[];
}

interface ListHellosRequest extends HelloRequest {
  readonly count: number;
  readonly fail?: FailRequest | null;
}

interface HelloReply {
  message: string;
  index: number;
}

function hello(name: string, index = 0): HelloReply {
  return { message: `Hello, ${name}!`, index };
}

function failure({ code, message, details }: FailRequest): DrpcException {
  return new DrpcException(Number(code), message, {
    details: details.map(({ typeUrl, type_url, value }) => ({ typeUrl: typeUrl ?? type_url ?? '', value })),
  });
}

/** The Greeter of the Go servers; `method` decorates the handler of a method with the given name. */
function greeterWith(method: (name: keyof (typeof Greeter)['method']) => MethodDecorator): Type {
  @DrpcService()
  class InteropGreeter {
    readonly #log: CallLog;

    constructor(@Inject(CallLog) log: CallLog) {
      this.#log = log;
    }

    @method('sayHello')
    sayHello({ name, hang }: HelloRequest, context: DrpcContext): Observable<HelloReply> {
      const metadata = Object.entries(context.metadata).toSorted(([a], [b]) => (a < b ? -1 : 1));
      this.#log.note(`metadata ${JSON.stringify(Object.fromEntries(metadata))}`);
      return this.#log.watchObservable(context, hang ? NEVER : of(hello(name)));
    }

    @method('listHellos')
    listHellos({ name, count, hang, fail }: ListHellosRequest, context: DrpcContext): Observable<HelloReply> {
      const hellos = from(Array.from({ length: count }, (_, index) => hello(name, index)));
      const fails = fail !== undefined && fail !== null && Number(fail.code) !== 0;
      const last = hang ? NEVER : fails ? throwError(() => failure(fail)) : of();
      return this.#log.watchObservable(context, concat(hellos, last));
    }

    @method('collectHellos')
    collectHellos(requests: Observable<HelloRequest>, context: DrpcContext): Observable<object> {
      const reply = requests.pipe(
        reduce((names, { name }) => [...names, name], [] as string[]),
        map((names) => ({ message: hello(names.join(' and ')).message, names })),
      );
      return this.#log.watchObservable(context, reply);
    }

    @method('chat')
    chat(requests: Observable<HelloRequest>, context: DrpcContext): Observable<HelloReply> {
      return this.#log.watchObservable(context, requests.pipe(map(({ name }, index) => hello(name, index))));
    }

    @method('echoAll')
    echoAll(message: object): object {
      return message;
    }

    @method('fail')
    fail(request: FailRequest): never {
      throw failure(request);
    }

    @method('ping')
    ping(): void {}

    /** By which the Go clients see that a connection is still of use. */
    @MessagePattern('/interop.Interop/Echo', { encoding: 'bytes' })
    echo(bytes: Buffer): Buffer {
      return bytes;
    }
  }
  return InteropGreeter;
}

/** The two ways to serve it: by what names its handlers, and the options that this needs. */
export const GREETERS: readonly (readonly [string, Type, DrpcServerOptions])[] = [
  [
    '.proto files',
    greeterWith((name) => DrpcMethod('Greeter', name.charAt(0).toUpperCase() + name.slice(1))),
    // Lists have to be there: a handler reads the details of Fail.
    { package: 'interop.v1', protoPath: greeterProto, loader: { longs: String, arrays: true } },
  ],
  [
    'protoc-gen-es',
    // The handlers fit both kinds, so they are typed by neither.
    greeterWith((name) => DrpcMethod(Greeter.method[name]) as MethodDecorator),
    {},
  ],
];

/** A Nest application that serves the Greeter, with a log of its calls. */
export class GreeterService {
  readonly log: CallLog;
  readonly #app: INestMicroservice;
  readonly #server: DrpcServer;

  private constructor(app: INestMicroservice, server: DrpcServer, log: CallLog) {
    this.#app = app;
    this.#server = server;
    this.log = log;
  }

  static async start(controller: Type, options: DrpcServerOptions): Promise<GreeterService> {
    const server = new DrpcServer({ port: 0, gracePeriod: 0, ...options });
    const log = new CallLog();
    const module = await Test.createTestingModule({
      controllers: [controller],
      providers: [{ provide: CallLog, useValue: log }],
    }).compile();
    const app = module.createNestMicroservice({ strategy: server });
    app.useLogger(false);
    await app.listen();
    return new GreeterService(app, server, log);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  close(): Promise<void> {
    return this.#app.close();
  }
}
