import { Controller } from '@nestjs/common';
import { from, map, reduce, type Observable } from 'rxjs';

import { DrpcMethod, DrpcService, DrpcStream } from '../../../lib/index.js';
import {
  Greeter as GreeterService,
  type AllTypes,
  type HelloRequest,
  type ListHellosRequest,
} from '../../fixtures/gen/greeter_pb.js';

/** A reply as a handler gives it, with any of its fields. */
interface Reply {
  message?: string;
  index?: number;
}

function hello(name: string, index = 0): Reply {
  return { message: `Hello, ${name}!`, index };
}

/** Handlers that name service and method. */
@DrpcService()
export class NamedGreeter {
  @DrpcMethod('Greeter', 'SayHello')
  sayHello({ name }: { name: string }): Reply {
    return hello(name);
  }

  @DrpcMethod('interop.v1.Greeter', 'ListHellos')
  listHellos({ name, count }: { name: string; count: number }): Observable<Reply> {
    return from(Array.from({ length: count }, (_, index) => hello(name, index)));
  }

  @DrpcMethod('Greeter', 'CollectHellos')
  collectHellos(requests: Observable<{ name: string }>): Observable<object> {
    return requests.pipe(
      reduce((names, { name }) => [...names, name], [] as string[]),
      map((names) => ({ message: `Hello, ${names.join(' and ')}!`, names })),
    );
  }

  @DrpcMethod('Greeter')
  chat(requests: Observable<{ name: string }>): Observable<Reply> {
    return requests.pipe(map(({ name }, index) => hello(name, index)));
  }

  @DrpcMethod('Greeter')
  echoAll(message: object): object {
    return message;
  }

  @DrpcMethod('Greeter', 'Ping')
  ping(): void {}
}

/** Handlers whose service and method are the names of class and method. */
@Controller()
export class Greeter {
  @DrpcMethod()
  async sayHello({ name }: { name: string }): Promise<Reply> {
    return hello(name);
  }

  @DrpcMethod()
  async *listHellos({ name, count }: { name: string; count: number }): AsyncGenerator<Reply> {
    for (let index = 0; index < count; index++) yield hello(name, index);
  }

  @DrpcMethod()
  async collectHellos(
    @DrpcStream({ as: 'iterable' }) requests: AsyncIterable<{ name: string }>,
  ): Promise<object> {
    const names: string[] = [];
    for await (const { name } of requests) names.push(name);
    return { message: `Hello, ${names.join(' and ')}!`, names };
  }

  @DrpcMethod()
  async *chat(
    @DrpcStream({ as: 'iterable' }) requests: AsyncIterable<{ name: string }>,
  ): AsyncGenerator<Reply> {
    let index = 0;
    for await (const { name } of requests) yield hello(name, index++);
  }

  @DrpcMethod()
  echoAll(message: object): object {
    return message;
  }

  @DrpcMethod()
  async ping(): Promise<void> {}
}

/** Handlers that protoc-gen-es types. */
@DrpcService()
export class TypedGreeter {
  @DrpcMethod(GreeterService.method.sayHello)
  sayHello({ name }: HelloRequest): Reply {
    return hello(name);
  }

  @DrpcMethod(GreeterService.method.listHellos)
  listHellos({ name, count }: ListHellosRequest): Observable<Reply> {
    return from(Array.from({ length: count }, (_, index) => hello(name, index)));
  }

  @DrpcMethod(GreeterService.method.collectHellos)
  collectHellos(requests: Observable<HelloRequest>): Observable<{ message: string; names: string[] }> {
    return requests.pipe(
      reduce((names, { name }) => [...names, name], [] as string[]),
      map((names) => ({ message: `Hello, ${names.join(' and ')}!`, names })),
    );
  }

  @DrpcMethod(GreeterService.method.chat)
  async *chat(@DrpcStream({ as: 'iterable' }) requests: AsyncIterable<HelloRequest>): AsyncGenerator<Reply> {
    let index = 0;
    for await (const { name } of requests) yield hello(name, index++);
  }

  @DrpcMethod(GreeterService.method.echoAll)
  echoAll(message: AllTypes): AllTypes {
    return message;
  }

  @DrpcMethod(GreeterService.method.ping)
  ping(): void {}
}
