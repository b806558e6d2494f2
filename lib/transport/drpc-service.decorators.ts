import type { ReadableStream } from 'node:stream/web';
import { Controller, type ControllerOptions } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { Observable } from 'rxjs';
import { DRPC_TRANSPORT } from '../bridge/transport-id.js';
import type { MethodRef } from '../service/bind-methods.js';
import type { FieldsOf, IfRequestStream, IfResponseStream, MessageOf } from '../service/method-types.js';
import type { DescMessage, DescMethod } from '../service/protobuf-es.types.js';
import { rpcOf } from '../service/service-definition.js';
import { DrpcStream } from './drpc.decorators.js';
import { methodExtra } from './method-extras.js';

/** Where Nest's parameter decorators leave what a method takes. */
const PARAM_ARGS_METADATA = '__routeArguments__';

/**
 * What the handler of a protobuf method looks like. Behind the request comes the DrpcContext, or what parameter
 * decorators say.
 */
export type DrpcMethodHandler<Method extends DescMethod> = (
  request: HandlerRequest<Method>,
  ...rest: never[]
) => HandlerResult<Method>;

/** One message, or the messages of a stream; a handler may name either form that `@DrpcStream()` gives. */
type HandlerRequest<Method extends DescMethod> = IfRequestStream<
  Method,
  Observable<MessageOf<Method['input']>> & AsyncIterable<MessageOf<Method['input']>>,
  MessageOf<Method['input']>
>;

type HandlerResult<Method extends DescMethod> = IfResponseStream<
  Method,
  Later<Values<FieldsOf<Method['output']>>>,
  Later<Answer<Method['output']> | Observable<Answer<Method['output']>>>
>;

type Later<T> = T | Promise<T>;

type Values<T> = Observable<T> | AsyncIterable<T> | ReadableStream<T>;

/** A message without fields needs no mention. */
type Answer<Desc extends DescMessage> =
  FieldsOf<Desc> | ([Exclude<keyof MessageOf<Desc>, `$${string}`>] extends [never] ? void : never);

/** The names that a handler gives and its message does not have: a literal in a `return` is not checked for them. */
type UnknownFields<Result, Desc extends DescMessage> =
  Result extends PromiseLike<infer T>
    ? UnknownFields<T, Desc>
    : Result extends Values<infer T>
      ? UnknownFields<T, Desc>
      : Exclude<keyof Result, keyof MessageOf<Desc>>;

/** `unknown`, or something that no method is where the handler gives fields that the message does not have. */
type NoUnknownFields<Handler extends (...args: never[]) => unknown, Method extends DescMethod> = [
  UnknownFields<ReturnType<Handler>, Method['output']>,
] extends [never]
  ? unknown
  : { noSuchField: UnknownFields<ReturnType<Handler>, Method['output']> };

/** Decorates a method that is a handler of `Method`. */
export type DrpcMethodDecorator<Method extends DescMethod> = <Handler extends DrpcMethodHandler<Method>>(
  target: object,
  key: string | symbol,
  descriptor: TypedPropertyDescriptor<Handler> & NoUnknownFields<Handler, Method>,
) => void;

/** A controller of protobuf services: `@Controller()` under the name of what it is. */
export function DrpcService(options: ControllerOptions = {}): ClassDecorator {
  return Controller(options);
}

/**
 * Serves a method of the services that the options of `DrpcServer` name. For DRPC alone.
 * Without parameter decorators a handler takes the request and the DrpcContext.
 * @param service with its package or without; default: the name of the class
 * @param method as the .proto file or as JavaScript has it; default: the name of the handler, its first letter a capital
 */
export function DrpcMethod(service?: string, method?: string): MethodDecorator;
/**
 * Serves a method that protoc-gen-es describes, otherwise the same; the handler is checked against its messages.
 */
export function DrpcMethod<Method extends DescMethod>(method: Method): DrpcMethodDecorator<Method>;
export function DrpcMethod(serviceOrMethod?: string | DescMethod, name?: string): MethodDecorator {
  return (target, key, descriptor) => {
    if (!Reflect.hasMetadata(PARAM_ARGS_METADATA, target.constructor, key))
      giveRequestAndContext(target, key);
    const ref: MethodRef =
      typeof serviceOrMethod === 'object'
        ? serviceOrMethod
        : {
            service: serviceOrMethod || target.constructor.name,
            method: name || capitalized(String(key)),
          };
    const pattern =
      'kind' in ref ? rpcOf(ref.parent.typeName, ref.name) : { service: ref.service, rpc: ref.method };
    return MessagePattern(pattern, DRPC_TRANSPORT, methodExtra(ref))(target, key, descriptor);
  };
}

/** As Nest does for gRPC; to handlers of other transports it gives the payload alone. */
function giveRequestAndContext(target: object, key: string | symbol): void {
  const types = Reflect.getMetadata('design:paramtypes', target, key) as readonly unknown[] | undefined;
  // A ValidationPipe would take the stream for a message of the class Observable.
  if (types?.[0] === Observable) DrpcStream()(target, key, 0);
  else Payload()(target, key, 0);
  Ctx()(target, key, 1);
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
