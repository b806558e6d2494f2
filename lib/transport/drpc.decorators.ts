import { createParamDecorator, type ExecutionContext, type Type } from '@nestjs/common';
import { isObservable } from 'rxjs';
import { isStreamedValue } from '../bridge/streamed-value.js';
import { typeName } from '../errors/type-name.js';
import { unknownNameIn } from '../errors/unknown-name.js';
import { DrpcContext } from './drpc.context.js';
import { PATTERN_EXTRAS_METADATA } from './handler-pins.js';
import { RequestShape } from './route.js';
import { STREAM_EXTRA, type StreamExtra } from './stream-extras.js';

/** Where TypeScript leaves the types of a method's parameters. */
const PARAMTYPES_METADATA = 'design:paramtypes';

export interface DrpcStreamOptions {
  /**
   * `'observable'`: messages are pushed as they come. `'iterable'`: they are pulled, and the pace of the loop
   * reaches the sender. Default: `'observable'`.
   */
  as?: 'observable' | 'iterable' | undefined;
  /** A class with the decorators of class-validator: each message becomes an instance of it, or ends the call. */
  type?: Type<object> | undefined;
  /** class-validator's options, such as `{ whitelist: true }`. */
  validation?: Readonly<Record<string, unknown>> | undefined;
}

const STREAM_OPTIONS = Object.keys({
  as: true,
  type: true,
  validation: true,
} satisfies Record<keyof DrpcStreamOptions, true>);

const giveRequests = createParamDecorator((_data: unknown, execution: ExecutionContext) => {
  const requests: unknown = execution.switchToRpc().getData();
  if (isObservable(requests) || isStreamedValue(requests)) return requests;
  throw new TypeError(
    `${execution.getClass().name}.${execution.getHandler().name}: @DrpcStream got ${typeName(requests)}, no stream of ` +
      'messages: only DRPC brings one, and a decorator that replaces the method has to keep its metadata',
  );
});

/**
 * Gives a handler its request as a stream of messages: an Observable, or with `{ as: 'iterable' }` an
 * AsyncIterable. Pipes get the stream itself; to check each message, name its class.
 * @throws TypeError for an `as` that is neither, and for an option that there is not.
 */
export function DrpcStream(options: Type<object> | DrpcStreamOptions = {}): ParameterDecorator {
  const given: DrpcStreamOptions = typeof options === 'function' ? { type: options } : options;
  // A misspelt `type` would check no message.
  const unknown = unknownNameIn('@DrpcStream: option', given, STREAM_OPTIONS);
  if (unknown !== undefined) throw new TypeError(unknown);
  const { as = 'observable', type, validation } = given;
  const extra: StreamExtra = {
    shape: shapeOf(as),
    rule: type && { type, validation },
  };
  return (target, key, index) => {
    giveRequests()(target, key, index);
    hideType(target, key!, index);
    const method = (target as Record<string | symbol, object>)[key!]!;
    const extras: unknown = Reflect.getMetadata(PATTERN_EXTRAS_METADATA, method);
    // MessagePattern, which comes later, keeps what is there and adds its own.
    Reflect.defineMetadata(PATTERN_EXTRAS_METADATA, { ...(extras as object), [STREAM_EXTRA]: extra }, method);
  };
}

/** A pipe that transforms values by their type, as ValidationPipe may, would make a copy of the stream. */
function hideType(target: object, key: string | symbol, index: number): void {
  const types: unknown = Reflect.getMetadata(PARAMTYPES_METADATA, target, key);
  if (!Array.isArray(types)) return;
  Reflect.defineMetadata(PARAMTYPES_METADATA, types.with(index, Object), target, key);
}

function shapeOf(as: unknown): StreamExtra['shape'] {
  if (as === 'observable') return RequestShape.Observable;
  if (as === 'iterable') return RequestShape.Iterable;
  throw new TypeError(`@DrpcStream: as is ${String(as)}: must be 'observable' or 'iterable'`);
}

function contextOf(execution: ExecutionContext): DrpcContext | undefined {
  const context: unknown = execution.switchToRpc().getContext();
  return context instanceof DrpcContext ? context : undefined;
}

/** Gives a handler what the client sent with its call, or the value of one key. */
export const DrpcMetadata: (key?: string) => ParameterDecorator = createParamDecorator(
  (key: string | undefined, execution: ExecutionContext) => {
    const metadata = contextOf(execution)?.metadata;
    return key === undefined ? metadata : metadata?.[key.toLowerCase()];
  },
);

/** Gives a handler the AbortSignal of its call. */
export const DrpcSignal: () => ParameterDecorator = createParamDecorator(
  (_data: unknown, execution: ExecutionContext) => contextOf(execution)?.signal,
);
