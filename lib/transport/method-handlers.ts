import type { MessageHandler } from '@nestjs/microservices';
import { escapeName } from '../errors/escape.js';
import { bindMethods, type MethodRef } from '../service/bind-methods.js';
import type { MethodDefinition } from '../service/service-definition.js';
import type { ServiceOptions } from '../service/service-options.js';
import { RequestShape } from './route.js';
import { readStreamExtra, STREAM_EXTRA, type StreamExtra } from './stream-extras.js';

interface MethodHandler {
  readonly callback: MessageHandler;
  readonly extras: Readonly<Record<string, unknown>>;
}

/** A handler of a protobuf method as the routes take it. */
export interface BoundHandler extends MethodHandler {
  readonly rpc: string;
  readonly answersOnce: boolean;
}

const GIVE_OBSERVABLE: StreamExtra = { shape: RequestShape.Observable, rule: undefined };

/** The handlers of `@DrpcMethod()`, whose rpcs are not known before their definitions are loaded. */
export class MethodHandlers {
  readonly #options: ServiceOptions;
  readonly #handlers: (readonly [MethodRef, MethodHandler])[] = [];

  constructor(options: ServiceOptions) {
    this.#options = options;
  }

  add(ref: MethodRef, callback: MessageHandler, extras: MethodHandler['extras']): void {
    this.#handlers.push([ref, { callback, extras }]);
  }

  /** Finds their rpcs. @throws as {@link bindMethods}; TypeError for a handler that takes what never comes. */
  async bind(): Promise<BoundHandler[]> {
    const bound = await bindMethods(this.#handlers, this.#options);
    return bound.map(({ method, handler: { callback, extras } }) => ({
      rpc: method.rpc,
      callback,
      extras: withDefinition(extras, method),
      answersOnce: !method.responseStream,
    }));
  }
}

function withDefinition(
  extras: MethodHandler['extras'],
  { rpc, requestStream, serverEncoding }: MethodDefinition,
): MethodHandler['extras'] {
  const stream = readStreamExtra(extras);
  if (stream && !requestStream) {
    throw new TypeError(`handler of "${escapeName(rpc)}" takes a stream: its request is one message`);
  }
  return {
    encoding: serverEncoding,
    [STREAM_EXTRA]: requestStream ? (stream ?? GIVE_OBSERVABLE) : undefined,
  };
}
