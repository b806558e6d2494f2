import type { Options as LoaderOptions } from '@grpc/proto-loader';
import { firstValueFrom, from, of, type Observable } from 'rxjs';
import { describe, expect, expectTypeOf, it } from 'vitest';

import {
  DrpcClient,
  DrpcMethod,
  DrpcStream,
  type DrpcContext,
  type DrpcServiceClient,
  type DrpcServiceMethod,
  type ProtoLoaderOptions,
} from '../../lib/index.js';
import {
  Greeter,
  type CollectHellosReply,
  type HelloReply,
  type HelloRequest,
  type ListHellosRequest,
} from '../fixtures/gen/greeter_pb.js';

// What stands here is checked by the compiler; nothing of it is called.

type Client = DrpcServiceClient<typeof Greeter>;
type RxClient = DrpcServiceClient<typeof Greeter, 'observable'>;

describe('the options of the loader', () => {
  it('are those of @grpc/proto-loader, as others are refused', () => {
    expectTypeOf<keyof ProtoLoaderOptions>().toEqualTypeOf<keyof LoaderOptions>();
  });
});

describe('the types of service()', () => {
  it('are those of the messages', () => {
    expectTypeOf<ReturnType<Client['sayHello']>>().toEqualTypeOf<Promise<HelloReply>>();
    expectTypeOf<ReturnType<Client['listHellos']>>().toEqualTypeOf<AsyncIterable<HelloReply>>();
    expectTypeOf<ReturnType<Client['collectHellos']>>().toEqualTypeOf<Promise<CollectHellosReply>>();
    expectTypeOf<ReturnType<Client['chat']>>().toEqualTypeOf<AsyncIterable<HelloReply>>();
    expectTypeOf<ReturnType<RxClient['sayHello']>>().toEqualTypeOf<Observable<HelloReply>>();
    expectTypeOf<ReturnType<RxClient['chat']>>().toEqualTypeOf<Observable<HelloReply>>();
    expectTypeOf<Client['sayHello']>().toEqualTypeOf<
      DrpcServiceMethod<(typeof Greeter)['method']['sayHello']>
    >();
  });

  it('come with the client', () => {
    const client = new DrpcClient();
    expectTypeOf(client.service(Greeter)).toEqualTypeOf<Client>();
    expectTypeOf(client.service(Greeter, {})).toEqualTypeOf<Client>();
    expectTypeOf(client.service(Greeter, { as: 'observable' })).toEqualTypeOf<RxClient>();
  });

  it('refuse what a message or the service does not have', () => {
    const wrong = (greeter: Client, rx: RxClient): unknown[] => [
      // @ts-expect-error no such field
      greeter.sayHello({ nam: 'Nest' }),
      // @ts-expect-error no such field beside one that is there
      greeter.sayHello({ name: 'Nest', age: 5 }),
      // @ts-expect-error a field of another type
      greeter.sayHello({ name: 5 }),
      // @ts-expect-error a number for a 64-bit field
      greeter.echoAll({ fInt64: 5 }),
      // @ts-expect-error no such case of the oneof
      greeter.echoAll({ choice: { case: 'cNothing', value: '' } }),
      // @ts-expect-error no request at all
      greeter.sayHello(),
      // @ts-expect-error one message for a stream
      greeter.collectHellos({ name: 'Nest' }),
      // @ts-expect-error a stream for one message
      greeter.sayHello(of({ name: 'Nest' })),
      // @ts-expect-error a stream of others
      greeter.chat(of({ count: 1 })),
      // @ts-expect-error no such method
      greeter.sayGoodbye({}),
      // @ts-expect-error no such call option
      greeter.sayHello({ name: 'Nest' }, { deadline: 5 }),
      // @ts-expect-error an Observable is no Promise
      firstValueFrom(greeter.sayHello({ name: 'Nest' })),
      // @ts-expect-error no such field in the answer
      rx.sayHello({ name: 'Nest' }).subscribe(({ text }) => text),
      // @ts-expect-error no such form
      new DrpcClient().service(Greeter, { as: 'callback' }),
      // @ts-expect-error a method is no service
      new DrpcClient().service(Greeter.method.chat),
    ];
    expect(wrong).toBeTypeOf('function');
  });

  it('take messages, some of their fields, and streams of either', () => {
    const right = (greeter: Client, request: HelloRequest): unknown[] => [
      greeter.sayHello(request),
      greeter.sayHello({}),
      greeter.sayHello({ name: 'Nest' }, { timeout: 5, metadata: { a: 'b' }, signal: AbortSignal.abort() }),
      greeter.chat(of(request)),
      greeter.chat(from([{ name: 'Nest' }])),
      greeter.collectHellos(
        (async function* () {
          yield { name: 'Nest' };
        })(),
      ),
      greeter.ping({}),
    ];
    expect(right).toBeTypeOf('function');
  });
});

describe('the types of @DrpcMethod()', () => {
  it('take handlers of the method', () => {
    class Right {
      @DrpcMethod(Greeter.method.sayHello)
      value(request: HelloRequest): { message: string } {
        return { message: request.name };
      }

      @DrpcMethod(Greeter.method.sayHello)
      promise(_request: HelloRequest, _context: DrpcContext): Promise<HelloReply> {
        return Promise.reject(new Error());
      }

      @DrpcMethod(Greeter.method.sayHello)
      observable(): Observable<{ index?: number }> {
        return of({});
      }

      @DrpcMethod(Greeter.method.sayHello)
      part({ name }: { name: string }): { message: string } {
        return { message: name };
      }

      @DrpcMethod(Greeter.method.listHellos)
      async *generator(_request: ListHellosRequest): AsyncGenerator<{ message: string }> {}

      @DrpcMethod(Greeter.method.listHellos)
      async later(): Promise<Observable<{ message: string }>> {
        return of();
      }

      @DrpcMethod(Greeter.method.chat)
      observables(requests: Observable<HelloRequest>): Observable<{ message: string }> {
        return requests as Observable<never>;
      }

      @DrpcMethod(Greeter.method.chat)
      async *iterables(
        @DrpcStream({ as: 'iterable' }) _requests: AsyncIterable<HelloRequest>,
      ): AsyncGenerator<{ message: string }> {}

      @DrpcMethod(Greeter.method.ping)
      nothing(): void {}

      @DrpcMethod(Greeter.method.ping)
      async nothingLater(): Promise<void> {}
    }
    expect(Right).toBeTypeOf('function');
  });

  it('refuse others', () => {
    class Wrong {
      // @ts-expect-error a request with another field
      @DrpcMethod(Greeter.method.sayHello)
      request(_request: { nam: string }): { message: string } {
        return { message: '' };
      }

      // @ts-expect-error a request with a field of another type
      @DrpcMethod(Greeter.method.sayHello)
      requestType(_request: { name: number }): { message: string } {
        return { message: '' };
      }

      // @ts-expect-error another request
      @DrpcMethod(Greeter.method.sayHello)
      otherRequest(_request: ListHellosRequest): { message: string } {
        return { message: '' };
      }

      // @ts-expect-error a stream for one message
      @DrpcMethod(Greeter.method.sayHello)
      stream(_requests: Observable<HelloRequest>): { message: string } {
        return { message: '' };
      }

      // @ts-expect-error one message for a stream
      @DrpcMethod(Greeter.method.chat)
      message(_request: HelloRequest): Observable<{ message: string }> {
        return of();
      }

      // @ts-expect-error an answer with another field alone
      @DrpcMethod(Greeter.method.sayHello)
      answer(): { mesage: string } {
        return { mesage: '' };
      }

      // @ts-expect-error an answer with one field too many
      @DrpcMethod(Greeter.method.sayHello)
      surplus(): { message: string; text: string } {
        return { message: '', text: '' };
      }

      // @ts-expect-error the same behind a Promise
      @DrpcMethod(Greeter.method.sayHello)
      async later(): Promise<{ message: string; text: string }> {
        return { message: '', text: '' };
      }

      // @ts-expect-error the same in a stream
      @DrpcMethod(Greeter.method.listHellos)
      async *generator(): AsyncGenerator<{ message: string; text: string }> {}

      // @ts-expect-error the same in an Observable
      @DrpcMethod(Greeter.method.listHellos)
      observable(): Observable<{ message: string; text: string }> {
        return of();
      }

      // @ts-expect-error an answer with a field of another type
      @DrpcMethod(Greeter.method.sayHello)
      answerType(): { message: number } {
        return { message: 5 };
      }

      // @ts-expect-error one message for a stream of answers
      @DrpcMethod(Greeter.method.listHellos)
      one(): { message: string } {
        return { message: '' };
      }

      // @ts-expect-error no answer at all
      @DrpcMethod(Greeter.method.sayHello)
      nothing(): void {}
    }
    expect(Wrong).toBeTypeOf('function');
  });
});
