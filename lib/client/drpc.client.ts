import { Logger } from '@nestjs/common';
import { ClientProxy, type ReadPacket, type WritePacket } from '@nestjs/microservices';
import { AsyncSubject, Observable } from 'rxjs';
import { LimitedLog } from '../bridge/limited-log.js';
import { DrpcStatus } from '../bridge/status.js';
import { dropStream } from '../bridge/streamed-value.js';
import { ClosedError, DrpcError, messageWithCode } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';
import { assertUserMetadata, type Metadata } from '../metadata/metadata.js';
import { formatAddress, type Address } from '../pool/address.js';
import type { CallObserver } from '../pool/call.js';
import { ConnectionPool, type PoolStatus } from '../pool/connection-pool.js';
import { SentAwayError } from '../pool/sent-away-error.js';
import type { DescService } from '../service/protobuf-es.types.js';
import { Answer, AnswerIterator } from './call-observers.js';
import type { DrpcClientStats } from './client-stats.js';
import { ClientListeners, type DrpcClientEvents } from './client-listeners.js';
import { descService } from './desc-service.js';
import type {
  DrpcApiPattern,
  DrpcArguments,
  DrpcFreePattern,
  DrpcRequest,
  DrpcResponse,
} from './drpc-api.js';
import {
  InterceptedCall,
  type CallHandle,
  type DrpcOutgoingCall,
  type InterceptHost,
} from './drpc-client.interceptor.js';
import {
  resolveClientOptions,
  type DrpcClientOptions,
  type ResolvedClientOptions,
} from './drpc-client.options.js';
import { DrpcRecord, type DrpcCallOptions } from './drpc.record.js';
import type {
  DrpcServiceClient,
  DrpcServiceForm,
  DrpcServiceOptions,
  ServiceCaller,
} from './drpc.services.js';
import { callSpec, invalidCall, outgoingCall, showPattern } from './outgoing-call.js';
import { protoService } from './proto-service.js';

/** A packet that the dispatch hook has seen. */
type PacketWithMetadata = ReadPacket & { metadata?: Metadata };

const NO_OPTIONS: DrpcCallOptions = Object.freeze({});

/** A call that never began. */
const NO_CALL: CallHandle = { request() {}, cancel() {}, unsubscribe() {} };

/** The methods by which a subclass can take part in what goes over the wire. */
const PACKET_METHODS = ['createObserver', 'serializeError', 'serializeResponse'] as const;

/**
 * Calls DRPC services. Every call is a stream of its own on a shared connection, and whoever leaves a call
 * (unsubscribes, breaks, aborts, times out) cancels it at the server.
 *
 * With a map of patterns, `DrpcClient<MathApi>`, payloads and answers are typed.
 */
export class DrpcClient<Api extends object = object> extends ClientProxy<DrpcClientEvents, string> {
  protected readonly logger = new Logger(DrpcClient.name);
  readonly #options: ResolvedClientOptions;
  readonly #listeners = new ClientListeners((event, error) =>
    this.logger.error(`a listener of "${event}" threw`, error instanceof Error ? error.stack : error),
  );
  /** Whether a subclass wants to see packets, so that the short way past them is closed. */
  readonly #usesPackets: boolean;
  readonly #intercepted = new Set<InterceptedCall>();
  readonly #interceptHost: InterceptHost;
  #pool: ConnectionPool;
  readonly #connectionLog: LimitedLog;
  /** Apart from the other: a server that flaps does not hide that events are lost. */
  readonly #eventLog: LimitedLog;
  #isClosed = false;
  #isConnected = false;
  #wasConnected = false;
  /** Whether the log says that calls wait for a server that can not be reached. */
  #isWaitingTold = false;

  /** @throws TypeError or RangeError for a wrong option, naming it, its value and what is allowed. */
  constructor(options: DrpcClientOptions = {}) {
    super();
    this.#options = resolveClientOptions(options);
    const base = ClientProxy.prototype as unknown as Record<(typeof PACKET_METHODS)[number], unknown>;
    this.#usesPackets = PACKET_METHODS.some(
      (name) => (this as unknown as Record<typeof name, unknown>)[name] !== base[name],
    );
    this.#pool = this.#createPool();
    const { clock } = this.#pool;
    this.#connectionLog = new LimitedLog(this.logger, clock);
    this.#eventLog = new LimitedLog(this.logger, clock);
    this.#interceptHost = {
      clock,
      start: this.#startChecked,
      ended: (call) => this.#intercepted.delete(call),
    };
    this._status$.next(DrpcStatus.Disconnected);
  }

  /** Emits the status now and whenever it changes. */
  // The base class is given `string`: `customClass` of ClientsModule takes no narrower one.
  override get status(): Observable<DrpcStatus> {
    return super.status as Observable<DrpcStatus>;
  }

  /** Resolves once a server has been reached. Callers share one attempt. @throws DrpcError (code 14) */
  async connect(): Promise<void> {
    this.#reopen();
    await this.#pool.connect();
  }

  /**
   * @internal Nest calls it when an application starts. `ClientsModule.register()` makes a client once, for all
   * applications with that module, and the first of them that ends closes it.
   */
  onModuleInit(): void {
    this.#reopen();
  }

  /** Ends all calls with code 14 and closes all connections; `connect()` opens the client again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const closed = this.#pool.close();
    // Those that their interceptors have not let go yet.
    for (const call of this.#intercepted) call.fail(new ClosedError('the client is closed'));
    await closed;
    this.#connectionLog.flush();
    this.#eventLog.flush();
  }

  override on<
    E extends keyof DrpcClientEvents = keyof DrpcClientEvents,
    F extends DrpcClientEvents[E] = DrpcClientEvents[E],
  >(event: E, callback: F): void {
    this.#listeners.add(event, callback);
  }

  /** What the client has under way now, for whoever watches it. */
  get stats(): DrpcClientStats {
    const { connections, waiting, pausing } = this.#pool;
    return {
      connections: connections.length,
      calls: connections.reduce((sum, { calls }) => sum + calls, 0),
      waiting: waiting + pausing,
    };
  }

  /** @internal Where its servers are. */
  get addresses(): readonly Address[] {
    return this.#options.pool.addresses;
  }

  /** The connections behind the client. @throws Error before the first of them is open. */
  unwrap<T = ConnectionPool>(): T {
    if (!this.#wasConnected) throw new Error('the client has no connection yet: call connect() first');
    return this.#pool as T;
  }

  #reopen(): void {
    if (!this.#isClosed) return;
    this.#isClosed = false;
    this.#pool = this.#createPool();
    this._status$.next(DrpcStatus.Disconnected);
  }

  // ------------------------------------------------------------------- calls

  /**
   * A call whose answers come as an Observable. Cold: each subscription is a call of its own, and
   * unsubscribing cancels it. An Observable or AsyncIterable as payload is a stream of requests.
   */
  override send<P extends DrpcApiPattern<Api>>(
    pattern: P,
    data: DrpcRequest<Api, P>,
  ): Observable<DrpcResponse<Api, P>>;
  override send<TResult = unknown, TInput = unknown>(
    pattern: DrpcFreePattern<Api>,
    data: TInput,
  ): Observable<TResult>;
  override send(pattern: unknown, data: unknown): Observable<unknown> {
    // Nest's own error for what it does not allow.
    if (isNil(pattern) || isNil(data)) return super.send(pattern, data);
    return new Observable((subscriber) =>
      this.#usesPackets
        ? this.publish(this.createPacket(pattern, data), this.createObserver(subscriber))
        : this.#open('send', pattern, data, NO_OPTIONS, subscriber),
    );
  }

  /**
   * Sends an event, at once. The Observable emits `undefined` and completes when the server has accepted it;
   * a failure that nobody hears is logged.
   */
  override emit<P extends DrpcApiPattern<Api>>(pattern: P, data: DrpcRequest<Api, P>): Observable<undefined>;
  override emit<TResult = undefined, TInput = unknown>(
    pattern: DrpcFreePattern<Api>,
    data: TInput,
  ): Observable<TResult>;
  override emit(pattern: unknown, data: unknown): Observable<unknown> {
    if (isNil(pattern) || isNil(data)) return super.emit(pattern, data);
    const outcome = new AsyncSubject<unknown>();
    let isHeard = false;
    this.#open('emit', pattern, data, NO_OPTIONS, {
      next: () => undefined,
      error: (error) => {
        outcome.error(error);
        // Who subscribes in this turn is in time.
        queueMicrotask(() => {
          if (isHeard) return;
          // An interceptor may throw anything.
          const { message } = DrpcError.from(error);
          this.#eventLog.error(`event ${showPattern(pattern)} was not accepted: ${escapeName(message)}`);
        });
      },
      complete: () => {
        outcome.next(undefined);
        outcome.complete();
      },
    });
    return new Observable((subscriber) => {
      isHeard = true;
      return outcome.subscribe(subscriber);
    });
  }

  /**
   * A call with one answer; `undefined` if the server gives none.
   * @throws DrpcError, of code 13 when the server answers more than once; the reason of `signal` once it aborts.
   */
  call<P extends DrpcApiPattern<Api>>(
    pattern: P,
    ...args: DrpcArguments<Api, P, [options?: DrpcCallOptions]>
  ): Promise<DrpcResponse<Api, P> | undefined>;
  call<TResult = unknown, TInput = unknown>(
    pattern: DrpcFreePattern<Api>,
    data?: TInput,
    options?: DrpcCallOptions,
  ): Promise<TResult | undefined>;
  call(pattern: unknown, data?: unknown, options: DrpcCallOptions = NO_OPTIONS): Promise<unknown> {
    return Answer.to(pattern, (observer) => this.#open('call', pattern, data, options, observer));
  }

  /**
   * A call with many answers, for `for await`. Each loop is a call of its own that begins with its first turn;
   * its pace reaches the server, and leaving it cancels.
   */
  stream<P extends DrpcApiPattern<Api>>(
    pattern: P,
    ...args: DrpcArguments<Api, P, [options?: DrpcCallOptions]>
  ): AsyncIterable<DrpcResponse<Api, P>>;
  stream<TResult = unknown, TInput = unknown>(
    pattern: DrpcFreePattern<Api>,
    data?: TInput,
    options?: DrpcCallOptions,
  ): AsyncIterable<TResult>;
  stream(pattern: unknown, data?: unknown, options: DrpcCallOptions = NO_OPTIONS): AsyncIterable<unknown> {
    return {
      [Symbol.asyncIterator]: () =>
        new AnswerIterator((observer) => this.#open('stream', pattern, data, options, observer, 1)),
    };
  }

  // ---------------------------------------------------------------- services

  /**
   * A service of the .proto files that the options name, as Nest's ClientGrpc gives it: its methods take a
   * message, or an Observable or AsyncIterable of them, and give a cold Observable.
   * @param name with its package or without
   * @throws Error for a service that the files do not have.
   */
  getService<T extends object>(name: string): T {
    return protoService(this as ServiceCaller, this.#options.services, name) as T;
  }

  /**
   * A service of protoc-gen-es, typed from end to end. One answer is a Promise and a stream of answers an
   * AsyncIterable, or with `{ as: 'observable' }` both are Observables.
   */
  service<Service extends DescService, Form extends DrpcServiceForm = 'promise'>(
    service: Service,
    options: DrpcServiceOptions<Form> = {},
  ): DrpcServiceClient<Service, Form> {
    return descService(this as ServiceCaller, service, options);
  }

  // ----------------------------------------------------------- ClientProxy's own

  protected publish(packet: ReadPacket, callback: (packet: WritePacket) => void): () => void {
    const observer: CallObserver<unknown> = {
      next: (response) => callback({ response }),
      error: (err) => callback({ err }),
      complete: () => callback({ isDisposed: true }),
    };
    const call = this.#openPacket('send', packet, observer);
    return () => call.unsubscribe();
  }

  protected dispatchEvent<T = unknown>(packet: ReadPacket): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#openPacket('emit', packet, {
        next: () => undefined,
        error: reject,
        complete: () => resolve(undefined as T),
      });
    });
  }

  // --------------------------------------------------------------------- inside

  #openPacket(kind: 'send' | 'emit', packet: ReadPacket, observer: CallObserver<unknown>): CallHandle {
    const { pattern, data } = packet as ReadPacket<unknown>;
    return this.#open(kind, pattern, data, NO_OPTIONS, observer, Infinity, packet);
  }

  /** Starts a call. All that is wrong with it goes to the observer. */
  #open(
    kind: DrpcOutgoingCall['kind'],
    pattern: unknown,
    data: unknown,
    options: DrpcCallOptions,
    observer: CallObserver<unknown>,
    demand = Infinity,
    packet?: ReadPacket,
  ): CallHandle {
    try {
      const { metadata: hooked }: PacketWithMetadata = packet ?? this.createPacket(pattern, data);
      const call = outgoingCall(this.#options, kind, pattern, data, options, hooked);
      const { interceptors } = this.#options;
      if (interceptors.length === 0) return this.#start(call, observer, demand);
      const intercepted = new InterceptedCall(interceptors, this.#interceptHost, call, observer, demand);
      if (!intercepted.isOver) this.#intercepted.add(intercepted);
      return intercepted;
    } catch (error) {
      return failSoon(observer, error, data);
    }
  }

  /** Starts a call as an interceptor left it. */
  readonly #startChecked = (
    call: DrpcOutgoingCall,
    observer: CallObserver<unknown>,
    demand: number,
  ): CallHandle => {
    try {
      assertUserMetadata(call.metadata);
      return this.#start(call, observer, demand);
    } catch (error) {
      return failSoon(observer, error, call.data);
    }
  };

  #start(call: DrpcOutgoingCall, observer: CallObserver<unknown>, demand: number): CallHandle {
    return this.#pool.call(callSpec(call), observer, demand);
  }

  #createPool(): ConnectionPool {
    return new ConnectionPool(this.#options.pool, {
      status: (status, cause, address) => this.#statusChanged(status, cause, address),
      error: (error) => {
        this.#logWaiting(error);
        this.#listeners.tell('error', error);
      },
      unreachable: (_address, error) => this.#logUnreachable(error),
      plainPeer: (address, isSilent) => this.#logPlainPeer(address, isSilent),
    });
  }

  #statusChanged(status: PoolStatus, cause: Error | undefined, address: Address | undefined): void {
    const wasConnected = this.#isConnected;
    this.#isConnected = status === 'connected';
    this._status$.next(status as DrpcStatus);
    switch (status) {
      case 'connected':
        this.#wasConnected = true;
        this.#isWaitingTold = false;
        return this.#listeners.tell('connect');
      case 'reconnecting':
        return this.#listeners.tell('reconnecting');
      case 'disconnected':
        if (cause) this.#logLost(cause, address);
        return this.#listeners.tell('disconnect', cause && DrpcError.from(cause));
      case 'closed':
        if (wasConnected) this.#listeners.tell('disconnect', undefined);
        return;
      default:
        status satisfies never;
    }
  }

  #logLost(cause: Error, address: Address | undefined): void {
    const server = address ? formatAddress(address) : 'the server';
    const reason = escapeName(messageWithCode(cause));
    // A deployment is nothing to be warned of.
    if (cause instanceof SentAwayError) this.#connectionLog.log(`disconnected from ${server}: ${reason}`);
    else this.#connectionLog.warn(`disconnected from ${server}: ${reason}`);
  }

  #logUnreachable(error: DrpcError): void {
    this.#connectionLog.warn(
      `${escapeName(error.message)}: calls go over the other connections until it answers`,
    );
  }

  /** Where calls do not fail at once, nothing else would tell why they hang. */
  #logWaiting(error: DrpcError): void {
    const { waiting } = this.#pool;
    if (this.#options.pool.failFast || this.#isConnected || this.#isWaitingTold || waiting === 0) return;
    this.#isWaitingTold = true;
    this.#connectionLog.warn(`${escapeName(error.message)}: calls wait until a server can be reached`);
  }

  #logPlainPeer(address: Address, isSilent: boolean): void {
    const finding = isSilent
      ? 'did not say within handshakeTimeout who it is, and is taken for a plain DRPC server until it is asked again in a minute'
      : 'is not a server of this library';
    const line =
      `${formatAddress(address)} ${finding}: each connection carries one call at a time. ` +
      `The option peer names it beforehand: 'storj' for this, 'cockroach' or 'cockroach-fc' for many calls at once`;
    if (isSilent) this.#connectionLog.warn(line);
    else this.#connectionLog.log(line);
  }
}

/**
 * In another turn, as all that calls fail for: who tries again at once would never let the event loop go on.
 * @param data the payload, which nobody will read
 */
function failSoon(observer: CallObserver<unknown>, error: unknown, data: unknown): CallHandle {
  dropStream(data instanceof DrpcRecord ? data.data : data);
  setImmediate(() => observer.error(invalidCall(error)));
  return NO_CALL;
}

function isNil(value: unknown): value is null | undefined {
  return value === null || value === undefined;
}
