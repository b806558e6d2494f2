import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { DrpcContext } from './drpc.context.js';
import { RequestShape } from './route.js';
import { STREAM_EXTRA, type StreamExtra } from './stream-extras.js';

/** Where Nest's MessagePattern looks for extras that a method has already, and merges them. */
const PATTERN_EXTRAS_METADATA = 'microservices:pattern_extras';

export interface DrpcStreamOptions {
  /**
   * `'observable'`: messages are pushed as they come. `'iterable'`: they are pulled, and the pace of the loop
   * reaches the sender. Default: `'observable'`.
   */
  as?: 'observable' | 'iterable';
}

const giveRequests = createParamDecorator((_data: unknown, execution: ExecutionContext) =>
  execution.switchToRpc().getData<unknown>(),
);

/**
 * Gives a handler its request as a stream of messages: an Observable, or with `{ as: 'iterable' }` an
 * AsyncIterable. Pipes do not look inside.
 */
export function DrpcStream({ as = 'observable' }: DrpcStreamOptions = {}): ParameterDecorator {
  const extra: StreamExtra = {
    shape: as === 'iterable' ? RequestShape.Iterable : RequestShape.Observable,
  };
  return (target, key, index) => {
    giveRequests()(target, key, index);
    const method = (target as Record<string | symbol, object>)[key!]!;
    const extras: unknown = Reflect.getMetadata(PATTERN_EXTRAS_METADATA, method);
    Reflect.defineMetadata(PATTERN_EXTRAS_METADATA, { ...(extras as object), [STREAM_EXTRA]: extra }, method);
  };
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
