import { EventEmitter } from 'node:events';
import type { AddressInfo } from 'node:net';
import { Logger } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import { Server, type CustomTransportStrategy, type MessageHandler } from '@nestjs/microservices';
import { LimitedLog } from '../bridge/limited-log.js';
import { DrpcStatus } from '../bridge/status.js';
import { passUnhandledExceptions } from '../bridge/unhandled-exception.js';
import { DRPC_TRANSPORT } from '../bridge/transport-id.js';
import { ClosedError, ProtocolError, type DrpcError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';
import { MemoryBudget } from '../manager/memory-budget.js';
import { ConnectionSet } from './connection-set.js';
import { Dispatcher } from './dispatcher.js';
import type { DrpcContext } from './drpc.context.js';
import { assertServerEvent, type DrpcServerEvents } from './drpc-events.js';
import type { DrpcPeer } from './drpc-peer.js';
import {
  resolveServerOptions,
  type DrpcServerOptions,
  type ResolvedServerOptions,
} from './drpc-server.options.js';
import { FaultLog } from './fault-log.js';
import { HandlerPins } from './handler-pins.js';
import type { DrpcListener } from './listener.js';
import { giveModulesToStrategies, USE_MODULES } from './modules-access.js';
import { Routes } from './routes.js';
import type { DrpcServerStats } from './server-stats.js';
import { SocketListener, tooManyConnections } from './socket-listener.js';

/** So many handlers are named in a log line. */
const MAX_NAMES_SHOWN = 50;

/** How long clients may take to hear that they should go, in ms. */
const RETIRE_TIME = 1000;

/**
 * The strategy that serves a Nest microservice over DRPC:
 * `NestFactory.createMicroservice(AppModule, { strategy: new DrpcServer({ url: 'drpc://127.0.0.1:4000' }) })`.
 */
export class DrpcServer extends Server<DrpcServerEvents, DrpcStatus> implements CustomTransportStrategy {
  override transportId = DRPC_TRANSPORT;
  /** Faults of event handlers are logged here, once. */
  override readonly propagatesEventHandlerErrors = true;
  protected override readonly logger = new Logger(DrpcServer.name);

  readonly #options: ResolvedServerOptions;
  readonly #routes: Routes;
  readonly #dispatcher: Dispatcher;
  readonly #events = new EventEmitter();
  readonly #peerLog = new LimitedLog(this.logger);
  /** Apart from the other, so that a scanner of ports does not hide that the server is full. */
  readonly #overloadLog = new LimitedLog(this.logger);
  readonly #faultLog = new FaultLog(this.logger);
  readonly #receiveBudget: MemoryBudget;
  readonly #sendBudget: MemoryBudget;
  readonly #untracedStartHook = this.onProcessingStartHook;
  readonly #unpinned = new Set<string>();
  #pins: HandlerPins | undefined;
  #listener: DrpcListener | undefined;
  /** Settles when the listener has begun to listen, or could not. */
  #starting: Promise<void> | undefined;
  #connections: ConnectionSet | undefined;
  #closing: Promise<void> | undefined;
  #overloads = 0;

  /** @throws TypeError or RangeError naming option, value and what is allowed. */
  constructor(options: DrpcServerOptions = {}) {
    super();
    passUnhandledExceptions();
    giveModulesToStrategies();
    this.#options = resolveServerOptions(options);
    this.#routes = new Routes(this.#options);
    this.#receiveBudget = new MemoryBudget(this.#options.maxServerReceivedBytes);
    this.#sendBudget = new MemoryBudget(this.#options.maxServerQueuedBytes);
    this.#dispatcher = new Dispatcher(this.#routes, this.#options, {
      isTraced: () =>
        this.onProcessingEndHook !== undefined || this.onProcessingStartHook !== this.#untracedStartHook,
      trace: (context, task, failed) => this.#trace(context, task, failed),
      logFault: (rpc, fault) => this.#faultLog.error(`rpc "${escapeName(rpc)}" failed`, fault),
      overloaded: (error) => this.#overloaded(error, undefined),
    });
  }

  /** @internal Nest announces the server to the application's modules before it adds handlers. */
  [USE_MODULES](modules: ModulesContainer): void {
    this.#pins = new HandlerPins(modules);
  }

  /** @throws as {@link Routes.add}: a pattern that can not be served, or is served already. */
  override addHandler(
    pattern: unknown,
    callback: MessageHandler,
    isEventHandler = false,
    extras: Record<string, unknown> = {},
  ): void {
    const isPinned = this.#pins?.isPinned(extras);
    if (this.#options.strictTransport && !isPinned) {
      if (isPinned === false) return;
      throw new Error('strictTransport: this version of Nest does not tell which handlers are pinned');
    }
    const rpc = this.#routes.add(pattern, callback, isEventHandler, extras);
    if (isPinned === false) this.#unpinned.add(rpc);
    callback.isEventHandler = isEventHandler;
    callback.extras = extras;
    if (!this.messageHandlers.has(rpc)) this.messageHandlers.set(rpc, callback);
  }

  override getHandlerByPattern(pattern: string): MessageHandler | null {
    return this.messageHandlers.get(pattern) ?? null;
  }

  /** Calls back exactly once: without arguments when it listens, with the error when it can not. */
  listen(callback: (error?: unknown) => void): void {
    this.#listen().then(
      () => callback(),
      (error: unknown) => {
        if (!this.#listener) this._status$.next(DrpcStatus.Disconnected);
        callback(error);
      },
    );
  }

  /**
   * Stops accepting, tells the clients, lets calls and events in flight finish for `gracePeriod`, then cancels
   * them with code 14 and closes the connections. What has been answered and is not yet written has as long, and a
   * client 2 s to close its end. May be called again; the server may listen again afterwards.
   */
  close(): Promise<void> {
    if (!this.#listener) return this.#closing ?? Promise.resolve();
    this.#closing ??= this.#close(this.#listener).finally(() => {
      this.#closing = undefined;
    });
    return this.#closing;
  }

  /** @throws TypeError for an event that there is not. */
  on<
    EventKey extends keyof DrpcServerEvents = keyof DrpcServerEvents,
    EventCallback extends DrpcServerEvents[EventKey] = DrpcServerEvents[EventKey],
  >(event: EventKey, callback: EventCallback): this {
    assertServerEvent(event);
    this.#events.on(event, callback);
    return this;
  }

  /** Where it listens, with the real port; `null` while it does not, and for what has no address. */
  address(): AddressInfo | string | null {
    return this.#listener?.address() ?? null;
  }

  /** What the server has to do now, for whoever watches it. */
  get stats(): DrpcServerStats {
    return {
      connections: this.#connections?.size ?? 0,
      calls: this.#dispatcher.calls,
      handlers: this.#dispatcher.handlers,
      receivedBytes: this.#receiveBudget.used,
      queuedBytes: this.#sendBudget.used,
      overloads: this.#overloads,
    };
  }

  /** The `net.Server` or `tls.Server`, or whatever the `listener` option gives. */
  unwrap<T>(): T {
    if (!this.#listener) throw new Error('DrpcServer is not listening: call listen() before unwrap()');
    return (this.#listener.unwrap?.() ?? this.#listener) as T;
  }

  /**
   * Puts hooks around the processing hooks that are there.
   * @param start runs the handler by `run`, and gives back what that does
   * @param end told of each call for which `start` ran its handler, when it has ended
   * @internal
   */
  aroundProcessing(
    start: (context: DrpcContext, run: () => unknown) => unknown,
    end: (context: DrpcContext) => void,
  ): void {
    const { onProcessingStartHook: innerStart, onProcessingEndHook: innerEnd } = this;
    this.setOnProcessingStartHook((id, context, done) =>
      start(context as DrpcContext, (): unknown => innerStart(id, context as DrpcContext, done)),
    );
    this.setOnProcessingEndHook((id, context) => {
      end(context as DrpcContext);
      (innerEnd as typeof innerEnd | undefined)?.(id, context as DrpcContext);
    });
  }

  async #listen(): Promise<void> {
    if (this.#closing) await this.#closing;
    if (this.#listener) throw new Error('DrpcServer is listening already: close it before it listens again');
    const listener = this.#options.listener ?? new SocketListener(this.#options);
    this.#listener = listener;
    this.#starting = this.#start(listener);
    try {
      await this.#starting;
    } catch (error) {
      this.#listener = undefined;
      throw error;
    }
    if (this.#closing) throw new ClosedError('DrpcServer was closed while it began to listen');
    this.#tellUnpinned();
    this._status$.next(DrpcStatus.Connected);
    this.#emit('listening', listener.address());
  }

  async #start(listener: DrpcListener): Promise<void> {
    await this.#routes.load();
    const connections = this.#connectionSet();
    this.#connections = connections;
    await listener.listen({
      connection: (duplex) => connections.add(duplex),
      error: (error) => this.#report(error),
    });
  }

  async #close(listener: DrpcListener): Promise<void> {
    await this.#starting?.catch(() => undefined);
    // A listener of the application that throws is no reason to leave anything open: its error is told at the end.
    try {
      try {
        listener.stop();
      } finally {
        await this.#finishCalls();
      }
    } finally {
      try {
        await listener.close();
      } finally {
        this.#listener = undefined;
        this._status$.next(DrpcStatus.Disconnected);
        this.#emit('close');
        this.#peerLog.flush();
        this.#overloadLog.flush();
        this.#faultLog.flush();
      }
    }
  }

  async #finishCalls(): Promise<void> {
    const cause = new ClosedError('the server is shutting down');
    const { gracePeriod } = this.#options;
    const graceEnds = performance.now() + gracePeriod;
    const timeLeft = (): number => Math.max(graceEnds - performance.now(), 0);
    const connections = this.#connections;
    // Calls that are on their way while a client hears of it are taken: a request stream could not move.
    if (connections && gracePeriod > 0) {
      await within(Math.min(gracePeriod, RETIRE_TIME), connections.retire(cause.message));
    }
    connections?.drain(cause.message);
    await within(timeLeft(), this.#dispatcher.whenIdle());
    this.#dispatcher.cancel(cause);
    // An answer that is on its way is not there yet: a slow reader has the rest of the time to take it.
    await connections?.finish(cause, timeLeft());
  }

  /** Whoever adds this transport to an application may not think of the handlers it has already. */
  #tellUnpinned(): void {
    if (this.#unpinned.size === 0 || !this.#pins?.isHybrid) return;
    const names = [...this.#unpinned].map((rpc) => `"${escapeName(rpc)}"`);
    const more = names.length > MAX_NAMES_SHOWN ? ` and ${names.length - MAX_NAMES_SHOWN} more` : '';
    this.logger.log(
      `handlers that are not pinned to DRPC_TRANSPORT are reachable over DRPC: ${names.slice(0, MAX_NAMES_SHOWN).join(', ')}${more}`,
    );
  }

  #connectionSet(): ConnectionSet {
    const { maxConnections, maxPatternLength, preamble } = this.#options;
    const options = {
      ...this.#options,
      preamble: preamble === 'beforeTls' ? 'accept' : preamble,
      maxNameSize: maxPatternLength,
      receiveBudget: this.#receiveBudget,
      sendBudget: this.#sendBudget,
    };
    return new ConnectionSet(options, maxConnections, {
      opened: (peer) => this.#emit('connection', peer),
      accept: (stream, peer) => this.#dispatcher.accept(stream, peer),
      closed: (peer, cause) => {
        if (cause instanceof ProtocolError) {
          this.#report(new ProtocolError(`${peer.toString()}: ${cause.message}`, { cause }));
        }
        this.#emit('disconnect', peer, cause);
      },
      failed: ({ rpc }, error) => this.#faultLog.error(`rpc "${escapeName(rpc)}" failed inside`, error),
      overloaded: (error, peer) => this.#overloaded(error, peer),
      refused: () => this.#report(tooManyConnections(maxConnections)),
    });
  }

  /** Faults that peers can cause. */
  #report(error: Error): void {
    this.#peerLog.warn(error.message);
    if (this.#events.listenerCount('error') > 0) this.#emit('error', error);
  }

  /** A call that is refused is told so, and tries again: without a word here nobody sees that the server is full. */
  #overloaded(error: DrpcError, peer: DrpcPeer | undefined): void {
    this.#overloads++;
    const where = peer ? ` on ${peer.toString()}` : '';
    this.#overloadLog.warn(`a call was refused or ended${where}: ${error.message}`);
    this.#emit('overload', error, peer);
  }

  #emit<K extends keyof DrpcServerEvents>(event: K, ...args: Parameters<DrpcServerEvents[K]>): void {
    try {
      this.#events.emit(event, ...args);
    } catch (error) {
      this.#faultLog.error(`listener of "${event}" failed`, error);
    }
  }

  /** It runs wherever a call happens to end, also in code of the application that gave the last value. */
  #runEndHook({ pattern }: DrpcContext, endHook: () => void): void {
    try {
      endHook();
    } catch (error) {
      this.#faultLog.error(`processing end hook of rpc "${escapeName(pattern)}" failed`, error);
    }
  }

  #trace(
    context: DrpcContext,
    task: (endHook: () => void) => Promise<void>,
    failed: (error: unknown) => void,
  ): void {
    let hasBegun = false;
    try {
      // Typed void, but it gives back what the start hook does, which is a promise as a rule.
      const done: unknown = this.runWithProcessingHooks(context, async (endHook) => {
        // A hook that goes on twice has one call nevertheless.
        if (hasBegun) return;
        hasBegun = true;
        await task(() => this.#runEndHook(context, endHook));
      });
      if (done instanceof Promise) done.catch(failed);
    } catch (error) {
      failed(error);
    }
  }
}

/** Waits for `task`, but no longer than `ms`. */
async function within(ms: number, task: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const isOver = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([task, isOver]);
  clearTimeout(timer);
}
