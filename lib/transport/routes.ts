import type { MessageHandler } from '@nestjs/microservices';
import { resolveEncoding, type EncodingName } from '../bridge/encodings.js';
import { loadMessageValidator } from '../bridge/message-validator.js';
import { patternToRpc } from '../bridge/pattern.js';
import type { Encoding } from '../encoding/encoding.js';
import { escapeName } from '../errors/escape.js';
import type { ServiceOptions } from '../service/service-options.js';
import { readMethodExtra } from './method-extras.js';
import { MethodHandlers } from './method-handlers.js';
import { readStreamExtra } from './stream-extras.js';
import { RequestShape, type Route } from './route.js';

export interface RoutesOptions {
  maxPatternLength: number;
  encodings: Readonly<Record<string, EncodingName | Encoding>>;
  protobuf: ServiceOptions;
}

/**
 * What is served, by the name on the wire as it is. Nest's own look-up would read it as JSON first and so never
 * find patterns like `true` or `1e3`.
 */
export class Routes {
  readonly #options: RoutesOptions;
  #routes = new Map<string, Route>();
  /** Handlers whose rpcs are not known yet. */
  #methods: MethodHandlers;

  constructor(options: RoutesOptions) {
    this.#options = options;
    this.#methods = new MethodHandlers(options.protobuf);
  }

  get(rpc: string): Route | undefined {
    return this.#routes.get(rpc);
  }

  /**
   * Adds a handler; further ones of an event join the first. Answers the rpc name; that of a protobuf method is
   * known after {@link load}, and until then the text of its pattern stands for it.
   * @throws TypeError or RangeError for a pattern or extras that can not be served, Error for a second message
   *   handler of a pattern, or one of each kind.
   */
  add(
    pattern: unknown,
    handler: MessageHandler,
    isEvent: boolean,
    extras: Readonly<Record<string, unknown>>,
  ): string {
    const rpc = patternToRpc(pattern, this.#options.maxPatternLength);
    const method = readMethodExtra(extras);
    if (method) this.#methods.add(method, handler, extras);
    else addRoute(this.#routes, this.#route(rpc, handler, isEvent, extras));
    return rpc;
  }

  /**
   * Loads what the handlers need. It is all or nothing: once what was wrong is mended, it may be called again.
   * @throws Error that names a package or a definition that is missing.
   */
  async load(): Promise<void> {
    const methods = (await this.#methods.bind()).map(({ rpc, callback, extras, answersOnce }) => ({
      ...this.#route(rpc, callback, false, extras),
      answersOnce,
    }));
    for (const route of [...this.#routes.values(), ...methods]) {
      if (route.rule) route.validate ??= await loadMessageValidator(route.rpc, route.rule);
    }
    const routes = new Map(this.#routes);
    for (const route of methods) addRoute(routes, route);
    this.#routes = routes;
    this.#methods = new MethodHandlers(this.#options.protobuf);
  }

  #route(
    rpc: string,
    handler: MessageHandler,
    isEvent: boolean,
    extras: Readonly<Record<string, unknown>>,
  ): Route {
    const encoding = resolveEncoding(
      extras['encoding'] ?? this.#options.encodings[rpc] ?? 'json',
      `encoding of "${escapeName(rpc)}"`,
    );
    const stream = readStreamExtra(extras);
    if (isEvent && stream) {
      throw new TypeError(`event handler of "${escapeName(rpc)}" takes a stream: an event is one message`);
    }
    return {
      rpc,
      isEvent,
      handlers: [handler],
      request: stream?.shape ?? RequestShape.One,
      answersOnce: false,
      encoding,
      rule: stream?.rule,
      validate: undefined,
    };
  }
}

function addRoute(routes: Map<string, Route>, route: Route): void {
  const { rpc, isEvent } = route;
  const known = routes.get(rpc);
  if (!known) routes.set(rpc, route);
  else if (!known.isEvent || !isEvent) throw duplicate(rpc, known.isEvent, isEvent);
  else if (known.encoding.name !== route.encoding.name) {
    throw new Error(
      `event handlers of "${escapeName(rpc)}" have encodings ${known.encoding.name} and ${route.encoding.name}: all of a pattern have the same`,
    );
  } else known.handlers.push(...route.handlers);
}

function duplicate(rpc: string, isKnownEvent: boolean, isEvent: boolean): Error {
  return new Error(
    isKnownEvent || isEvent
      ? `pattern "${escapeName(rpc)}" is both a message and an event: it can be one of them`
      : `pattern "${escapeName(rpc)}" has two message handlers: it can have one`,
  );
}
