import { Logger } from '@nestjs/common';
import {
  ClientProxy,
  type Deserializer,
  type ReadPacket,
  type Serializer,
  type WritePacket,
} from '@nestjs/microservices';
import { AsyncSubject, isObservable, Observable } from 'rxjs';
import { resolveEncoding } from '../bridge/encodings.js';
import { patternToRpc, type DrpcPattern } from '../bridge/pattern.js';
import { DrpcStatus } from '../bridge/status.js';
import { isStreamedValue } from '../bridge/streamed-value.js';
import type { Encoding } from '../encoding/encoding.js';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';
import { typeName } from '../errors/type-name.js';
import { assertUserMetadata, type Metadata } from '../metadata/metadata.js';
import { formatAddress, type Address } from '../pool/address.js';
import type { CallObserver } from '../pool/call.js';
import { ConnectionPool, type PoolStatus } from '../pool/connection-pool.js';
import type { RequestFeed } from '../pool/outbox.js';
import type { DescService } from '../service/protobuf-es.types.js';
import type { Payload } from '../stream/stream.js';
import { Answer, AnswerIterator } from './call-observers.js';
import type {
  DrpcApiPattern,
  DrpcArguments,
  DrpcFreePattern,
  DrpcRequest,
  DrpcResponse,
} from './drpc-api.js';
import { InterceptedCall, type CallHandle, type DrpcOutgoingCall } from './drpc-client.interceptor.js';
import {
  resolveClientOptions,
  type DrpcClientOptions,
  type ResolvedClientOptions,
} from './drpc-client.options.js';
import { descService } from './desc-service.js';
import { DrpcRecord, type DrpcCallOptions } from './drpc.record.js';
import type {
  DrpcServiceClient,
  DrpcServiceForm,
  DrpcServiceOptions,
  ServiceCaller,
} from './drpc.services.js';
import { protoService } from './proto-service.js';
import { IterableRequest, ObservableRequest } from './request-streams.js';

/** What a client tells those who listen with `on()`. */
export interface DrpcClientEvents {
  /** A server has been reached. */
  connect: () => void;
  /** The last connection is gone. */
  disconnect: (error: DrpcError | undefined) => void;
  /** An attempt to connect again has begun. */
  reconnecting: () => void;
  /** A connection could not be made, or one of several was lost. */
  error: (error: DrpcError) => void;
}

type Listeners = { [E in keyof DrpcClientEvents]: Set<DrpcClientEvents[E]> };

/** A packet that the dispatch hook has seen. */
type PacketWithMetadata = ReadPacket & { metadata?: Metadata };

const NO_OPTIONS: DrpcCallOptions = Object.freeze({});

/** A call that never began. */
const NO_CALL: CallHandle = { request() {}, cancel() {}, unsubscribe() {} };

/**
 * Calls DRPC services. Every call is a stream of its own on a shared connection, and whoever leaves a call
 * (unsubscribes, breaks, aborts, times out) cancels it at the server.
 *
 * With a map of patterns, `DrpcClient<MathApi>`, payloads and answers are typed.
 */
export class DrpcClient<Api extends object = object> extends ClientProxy<DrpcClientEvents, string> {
  protected readonly logger = new Logger(DrpcClient.name);
  readonly #options: ResolvedClientOptions;
  readonly #listeners: Listeners = {
    connect: new Set(),
    disconnect: new Set(),
    reconnecting: new Set(),
    error: new Set(),
  };
  /** Whether a subclass wants to see packets, so that the short way past them is closed. */
  readonly #usesPackets: boolean;
  #pool: ConnectionPool;
  #isClosed = false;
  #wasConnected = false;

  /** @throws TypeError or RangeError for a wrong option, naming it, its value and what is allowed. */
  constructor(options: DrpcClientOptions = {}) {
    super();
    this.#options = resolveClientOptions(options);
    this.initializeSerializer(options as { serializer?: Serializer });
    this.initializeDeserializer(options as { deserializer?: Deserializer });
    const base = ClientProxy.prototype as unknown as Record<(typeof PACKET_METHODS)[number], unknown>;
    this.#usesPackets = PACKET_METHODS.some(
      (name) => (this as unknown as Record<typeof name, unknown>)[name] !== base[name],
    );
    this.#pool = this.#createPool();
    this._status$.next(DrpcStatus.Disconnected);
  }

  /** Emits the status now and whenever it changes. */
  // The base class is given `string`: `customClass` of ClientsModule takes no narrower one.
  override get status(): Observable<DrpcStatus> {
    return super.status as Observable<DrpcStatus>;
  }

  /** Resolves once a server has been reached. Callers share one attempt. @throws DrpcError (code 14) */
  async connect(): Promise<void> {
    if (this.#isClosed) {
      this.#isClosed = false;
      this.#pool = this.#createPool();
    }
    await this.#pool.connect();
  }

  /** Ends all calls with code 14 and closes all connections; `connect()` opens the client again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#pool.close();
  }

  override on<
    E extends keyof DrpcClientEvents = keyof DrpcClientEvents,
    F extends DrpcClientEvents[E] = DrpcClientEvents[E],
  >(event: E, callback: F): void {
    const listeners = this.#listeners[event] as Set<DrpcClientEvents[E]> | undefined;
    if (!listeners) {
      const known = Object.keys(this.#listeners).join(', ');
      throw new TypeError(`event "${escapeName(String(event))}" is not known: there are ${known}`);
    }
    listeners.add(callback);
  }

  /** The connections behind the client. @throws Error before the first of them is open. */
  unwrap<T = ConnectionPool>(): T {
    if (!this.#wasConnected) throw new Error('the client has no connection yet: call connect() first');
    return this.#pool as T;
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
          if (!isHeard)
            this.logger.error(`event ${shown(pattern)} was not accepted: ${escapeName(error.message)}`);
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
    return Answer.to(shown(pattern), (observer) => this.#open('call', pattern, data, options, observer));
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
        new AnswerIterator((observer) => this.#open('stream', pattern, data, options, observer, 0)),
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
      const rpc = patternToRpc(pattern);
      const own = data instanceof DrpcRecord ? { ...data.options, ...definedOf(options) } : options;
      const call: DrpcOutgoingCall = {
        kind,
        pattern: pattern as DrpcPattern,
        rpc,
        data: data instanceof DrpcRecord ? (data.data as unknown) : data,
        metadata: this.#metadata(hooked, own.metadata) ?? NO_METADATA,
        timeout: own.timeout === undefined ? this.#options.timeout : checkedTimeout(own.timeout),
        signal: own.signal === undefined ? undefined : checkedSignal(own.signal),
        encoding:
          own.encoding === undefined
            ? (this.#options.encodings.get(rpc) ?? this.#options.encoding)
            : resolveEncoding(own.encoding, 'encoding'),
      };
      const { interceptors } = this.#options;
      if (interceptors.length === 0) return this.#start(call, observer, demand);
      return new InterceptedCall(interceptors, this.#startChecked, call, observer, demand);
    } catch (error) {
      observer.error(invalid(error));
      return NO_CALL;
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
      observer.error(invalid(error));
      return NO_CALL;
    }
  };

  #start(call: DrpcOutgoingCall, observer: CallObserver<unknown>, demand: number): CallHandle {
    const { rpc, data, encoding, metadata, timeout, signal } = call;
    const source = requestSource(data, rpc, encoding);
    const payload = source ? undefined : marshal(data, rpc, encoding);
    return this.#pool.call({ rpc, encoding, payload, source, metadata, timeout, signal }, observer, demand);
  }

  /** What is sent with a call: the client's, the dispatch hook's and the call's own, the later before the earlier. */
  #metadata(
    hooked: Metadata | undefined,
    own: Readonly<Metadata> | undefined,
  ): Readonly<Metadata> | undefined {
    const { metadata } = this.#options;
    if (hooked === undefined && own === undefined) return metadata;
    if (hooked !== undefined) assertUserMetadata(hooked);
    if (own !== undefined) assertUserMetadata(own);
    return { ...metadata, ...hooked, ...own };
  }

  #createPool(): ConnectionPool {
    return new ConnectionPool(this.#options.pool, {
      status: (status, cause) => this.#statusChanged(status, cause),
      error: (error) => this.#tell('error', error),
      plainPeer: (address) => this.#logPlainPeer(address),
    });
  }

  #statusChanged(status: PoolStatus, cause: Error | undefined): void {
    this._status$.next(status as DrpcStatus);
    switch (status) {
      case 'connected':
        this.#wasConnected = true;
        return this.#tell('connect');
      case 'reconnecting':
        return this.#tell('reconnecting');
      case 'disconnected':
        if (cause) this.logger.warn(`connection lost: ${escapeName(cause.message)}`);
        return this.#tell('disconnect', cause && DrpcError.from(cause));
      case 'closed':
        return this.#tell('disconnect', undefined);
      default:
        status satisfies never;
    }
  }

  #tell<E extends keyof DrpcClientEvents>(event: E, ...args: Parameters<DrpcClientEvents[E]>): void {
    for (const listener of this.#listeners[event]) {
      try {
        (listener as (...args: Parameters<DrpcClientEvents[E]>) => void)(...args);
      } catch (error) {
        this.logger.error(`a listener of "${event}" threw`, error instanceof Error ? error.stack : error);
      }
    }
  }

  #logPlainPeer(address: Address): void {
    this.logger.log(
      `${formatAddress(address)} is not a server of this library: each connection carries one call at a time. ` +
        `The option peer names it beforehand: 'storj' for this, 'cockroach' or 'cockroach-fc' for many calls at once`,
    );
  }
}

const NO_METADATA: Readonly<Metadata> = Object.freeze({});

/** The methods by which a subclass can take part in what goes over the wire. */
const PACKET_METHODS = ['createObserver', 'serializeError', 'serializeResponse'] as const;

function isNil(value: unknown): value is null | undefined {
  return value === null || value === undefined;
}

function shown(pattern: unknown): string {
  return typeof pattern === 'string'
    ? `"${escapeName(pattern)}"`
    : (JSON.stringify(pattern) ?? String(pattern));
}

/** An explicit `undefined` is no setting. */
function definedOf(options: DrpcCallOptions): DrpcCallOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** What is wrong with a call before it leaves is its caller's fault, code 3. */
function invalid(error: unknown): DrpcError {
  if (error instanceof DrpcError) return error;
  const message = error instanceof Error ? error.message : 'the call can not be made';
  return new DrpcError(DrpcCode.InvalidArgument, message, { cause: error });
}

function checkedTimeout(timeout: unknown): number | undefined {
  if (timeout === Infinity) return undefined;
  if (typeof timeout === 'number' && timeout >= 0) return timeout;
  const shownValue = typeof timeout === 'number' ? timeout : typeName(timeout);
  throw new RangeError(
    `timeout is ${shownValue}: must be a number of milliseconds of at least 0, or Infinity`,
  );
}

function checkedSignal(signal: unknown): AbortSignal {
  if (signal instanceof AbortSignal) return signal;
  throw new TypeError(`signal is ${typeName(signal)}: must be an AbortSignal`);
}

function requestSource(data: unknown, rpc: string, encoding: Encoding): RequestFeed | undefined {
  if (typeof data !== 'object' || data === null) return undefined;
  const toMessage = (value: unknown): Payload => marshal(value, rpc, encoding);
  if (isObservable(data)) return new ObservableRequest(data, toMessage);
  return isStreamedValue(data) ? new IterableRequest(data, toMessage) : undefined;
}

function marshal(value: unknown, rpc: string, encoding: Encoding): Payload {
  try {
    return encoding.marshal(value);
  } catch (cause) {
    throw new DrpcError(
      DrpcCode.InvalidArgument,
      `the request of rpc "${escapeName(rpc)}" can not be encoded as ${escapeName(encoding.name)}`,
      { cause },
    );
  }
}
