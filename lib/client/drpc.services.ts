import { isObservable, type Observable } from 'rxjs';
import { isStreamedValue } from '../bridge/streamed-value.js';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';
import { unknownNameIn } from '../errors/unknown-name.js';
import type { FieldsOf, IfRequestStream, IfResponseStream, MessageOf } from '../service/method-types.js';
import type { DescMethod, DescService } from '../service/protobuf-es.types.js';
import type { MethodShape } from '../service/service-definition.js';
import type { DrpcCallOptions, DrpcRecord } from './drpc.record.js';

/** What a call of a protobuf service may bring along; the encoding is the service's. */
export type DrpcServiceCallOptions = Omit<DrpcCallOptions, 'encoding'>;

/**
 * `'promise'`: one answer is a Promise, a stream of answers an AsyncIterable. `'observable'`: both are cold
 * Observables.
 */
export type DrpcServiceForm = 'promise' | 'observable';

export interface DrpcServiceOptions<Form extends DrpcServiceForm = DrpcServiceForm> {
  /** How answers come. Default: `'promise'`. */
  as?: Form | undefined;
}

/** The methods of a service of protoc-gen-es, typed by its messages; `then$` is one that is named `then`. */
export type DrpcServiceClient<Service extends DescService, Form extends DrpcServiceForm = 'promise'> = {
  readonly [Name in keyof Service['method'] as Name extends 'then' ? 'then$' : Name]: DrpcServiceMethod<
    Service['method'][Name],
    Form
  >;
};

/** One of them: a request, or a stream of requests, becomes an answer or a stream of answers. */
export type DrpcServiceMethod<Method extends DescMethod, Form extends DrpcServiceForm = 'promise'> = (
  request: IfRequestStream<
    Method,
    Observable<FieldsOf<Method['input']>> | AsyncIterable<FieldsOf<Method['input']>>,
    FieldsOf<Method['input']>
  >,
  options?: DrpcServiceCallOptions,
) => Form extends 'observable'
  ? Observable<MessageOf<Method['output']>>
  : IfResponseStream<
      Method,
      AsyncIterable<MessageOf<Method['output']>>,
      Promise<MessageOf<Method['output']>>
    >;

/** The part of a client through which services are called. */
export interface ServiceCaller {
  send(pattern: string, data: DrpcRecord): Observable<unknown>;
  call(pattern: string, data: unknown, options: DrpcCallOptions): Promise<unknown>;
  stream(pattern: string, data: unknown, options: DrpcCallOptions): AsyncIterable<unknown>;
}

/**
 * The name of a method in the object that stands for its service: with a `then` the object would be taken for a
 * promise, and whoever awaits it, or returns it from an async function, would wait for ever.
 */
export function memberName(name: string): string {
  return name === 'then' ? 'then$' : name;
}

const CALL_OPTIONS: readonly string[] = [
  'metadata',
  'timeout',
  'signal',
] satisfies (keyof DrpcServiceCallOptions)[];

/** What is wrong with a call before it leaves: code 3. `undefined` where nothing is. */
export function faultOf(
  { rpc, requestStream }: MethodShape,
  data: unknown,
  options: DrpcServiceCallOptions | undefined,
): DrpcError | undefined {
  if ((isObservable(data) || isStreamedValue(data)) !== requestStream) {
    const rule = requestStream ? 'a stream of messages: an Observable or AsyncIterable' : 'one message';
    return invalid(`the request of "${escapeName(rpc)}" must be ${rule}`);
  }
  // A Metadata of gRPC would be taken for options that say nothing.
  const unknown = unknownNameIn('call option', options, CALL_OPTIONS);
  return unknown === undefined ? undefined : invalid(unknown);
}

function invalid(message: string): DrpcError {
  return new DrpcError(DrpcCode.InvalidArgument, message);
}
