import { unknownRpc } from '../conn/serve-one.js';
import type { DrpcError } from '../errors/drpc-error.js';
import { LinkedList } from '../pool/linked-list.js';
import type { Stream } from '../stream/stream.js';
import type { Call, CallHost } from './call-host.js';
import { DrpcContext } from './drpc.context.js';
import type { DrpcPeer } from './drpc-peer.js';
import { EventCall } from './event-call.js';
import { MessageCall } from './message-call.js';
import { tooManyHandlers } from './request-errors.js';
import type { Routes } from './routes.js';

/** What the strategy does for its calls. */
export interface DispatcherHooks {
  isTraced(): boolean;
  trace: CallHost['trace'];
  logFault: CallHost['logFault'];
  /** A handler did not begin, because too many run. */
  overloaded(error: DrpcError): void;
}

export interface DispatcherOptions {
  maxHandlers: number;
  forwardErrors: boolean;
}

/** Starts a call for each rpc that arrives, and knows which are under way. */
export class Dispatcher implements CallHost {
  readonly forwardErrors: boolean;
  readonly #routes: Routes;
  readonly #hooks: DispatcherHooks;
  readonly #maxHandlers: number;
  #handlers = 0;
  /** Accepted and not over. An event is among them when its stream has long ended. */
  readonly #calls = new LinkedList<Call>();
  #idle: { promise: Promise<void>; resolve: () => void } | undefined;

  constructor(routes: Routes, { maxHandlers, forwardErrors }: DispatcherOptions, hooks: DispatcherHooks) {
    this.#routes = routes;
    this.#hooks = hooks;
    this.#maxHandlers = maxHandlers;
    this.forwardErrors = forwardErrors;
  }

  /** Handlers that run now, of all connections, of ended ones as well. */
  get handlers(): number {
    return this.#handlers;
  }

  /** Calls and events that were accepted and are not over. */
  get calls(): number {
    return this.#calls.size;
  }

  get isTraced(): boolean {
    return this.#hooks.isTraced();
  }

  /** Serves the rpc of a new stream. */
  accept(stream: Stream, peer: DrpcPeer): void {
    const route = this.#routes.get(stream.rpc);
    if (!route) {
      stream.sendError(unknownRpc(stream.rpc));
      stream.handlerEnded();
      stream.discard();
      return;
    }
    const context = new DrpcContext(stream, peer, route.isEvent);
    const call: Call = route.isEvent
      ? new EventCall(this, route, stream, context)
      : new MessageCall(this, route, stream, context);
    this.#calls.add(call);
    call.start();
  }

  begin(): DrpcError | undefined {
    if (this.#handlers >= this.#maxHandlers) {
      const error = tooManyHandlers(this.#maxHandlers);
      this.#hooks.overloaded(error);
      return error;
    }
    this.#handlers++;
    return undefined;
  }

  ended(): void {
    this.#handlers--;
  }

  closed(call: Call): void {
    this.#calls.remove(call);
    if (this.#calls.size > 0 || !this.#idle) return;
    this.#idle.resolve();
    this.#idle = undefined;
  }

  trace(
    context: DrpcContext,
    task: (endHook: () => void) => Promise<void>,
    failed: (error: unknown) => void,
  ): void {
    this.#hooks.trace(context, task, failed);
  }

  logFault(rpc: string, fault: unknown): void {
    this.#hooks.logFault(rpc, fault);
  }

  /** Resolves when nothing is under way. */
  whenIdle(): Promise<void> {
    if (this.#calls.size === 0) return Promise.resolve();
    if (!this.#idle) {
      let resolve!: () => void;
      const promise = new Promise<void>((res) => {
        resolve = res;
      });
      this.#idle = { promise, resolve };
    }
    return this.#idle.promise;
  }

  /** Gives up what is under way. */
  cancel(cause: DrpcError): void {
    for (const call of this.#calls.toArray()) call.cancel(cause);
  }
}
