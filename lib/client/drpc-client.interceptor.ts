import { defer, Observable, type Subscriber, type Subscription } from 'rxjs';
import type { DrpcPattern } from '../bridge/pattern.js';
import type { Encoding } from '../encoding/encoding.js';
import type { Metadata } from '../metadata/metadata.js';
import type { CallObserver } from '../pool/call.js';

/** A call as an interceptor sees it, before it leaves. */
export interface DrpcOutgoingCall {
  /** The method of the client that made it. */
  readonly kind: 'send' | 'emit' | 'call' | 'stream';
  readonly pattern: DrpcPattern;
  /** The name on the wire. */
  readonly rpc: string;
  /** The payload; an Observable or AsyncIterable for a request stream. */
  readonly data: unknown;
  /** The client's, the dispatch hook's and the call's own. */
  readonly metadata: Readonly<Metadata>;
  /** In ms. */
  readonly timeout: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly encoding: Encoding;
}

/**
 * A function around each call: for tokens, tracing, retries. It hands the call on, as it is or changed, and
 * sees its answers; each subscription to what `next` gives is a call of its own.
 */
export type DrpcClientInterceptor = (
  call: DrpcOutgoingCall,
  next: (call: DrpcOutgoingCall) => Observable<unknown>,
) => Observable<unknown>;

type Next = Parameters<DrpcClientInterceptor>[1];

/** A call under way, as its caller holds it. */
export interface CallHandle {
  request(count: number): void;
  cancel(cause?: Error): void;
  unsubscribe(): void;
}

/** Starts a call whose answers go to `observer`, at first as many as `demand` says. */
export type StartCall = (
  call: DrpcOutgoingCall,
  observer: CallObserver<unknown>,
  demand: number,
) => CallHandle;

/**
 * A call with interceptors around it. Answers come through their Observables; what the caller asks for goes
 * past them to the call inside, so that the pace of a loop reaches the server.
 */
export class InterceptedCall implements CallHandle {
  readonly #observer: CallObserver<unknown>;
  readonly #isPulled: boolean;
  readonly #subscription: Subscription;
  #inner: CallHandle | undefined;
  /** Answers that the caller asked for and has not got. */
  #wanted: number;

  constructor(
    interceptors: readonly DrpcClientInterceptor[],
    start: StartCall,
    call: DrpcOutgoingCall,
    observer: CallObserver<unknown>,
    demand: number,
  ) {
    this.#observer = observer;
    this.#wanted = demand;
    this.#isPulled = demand !== Infinity;
    const innermost = (last: DrpcOutgoingCall): Observable<unknown> =>
      new Observable((subscriber) => {
        this.#inner = start(last, this.#isPulled ? this.#pulled(subscriber) : subscriber, this.#wanted);
        return this.#inner;
      });
    const chain = interceptors.reduceRight<Next>(
      (next, interceptor) => (each) => interceptor(each, next),
      innermost,
    );
    // Whatever an interceptor throws is an error of the call.
    this.#subscription = defer(() => chain(call)).subscribe({
      next: (value) => this.#deliver(value),
      error: (error: Error) => this.#observer.error(error),
      complete: () => this.#observer.complete(),
    });
  }

  request(count: number): void {
    this.#wanted += count;
    this.#inner?.request(count);
  }

  cancel(): void {
    this.#subscription.unsubscribe();
  }

  unsubscribe(): void {
    this.#subscription.unsubscribe();
  }

  #deliver(value: unknown): void {
    this.#wanted--;
    this.#observer.next(value);
  }

  /** Asks for another answer where an interceptor kept one for itself. */
  #pulled(subscriber: Subscriber<unknown>): CallObserver<unknown> {
    return {
      next: (value) => {
        const before = this.#wanted;
        subscriber.next(value);
        if (this.#wanted > 0 && this.#wanted === before) this.#inner?.request(1);
      },
      error: (error) => subscriber.error(error),
      complete: () => subscriber.complete(),
    };
  }
}
