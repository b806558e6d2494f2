import { defer, Observable, type Subscriber, type Subscription } from 'rxjs';
import type { DrpcPattern } from '../bridge/pattern.js';
import { dropStream } from '../bridge/streamed-value.js';
import type { Encoding } from '../encoding/encoding.js';
import type { Clock, Timer } from '../clock/clock.js';
import { abortCause, shareSignal } from '../conn/conn.js';
import { DeadlineError, DrpcError } from '../errors/drpc-error.js';
import { mergeMetadata, type Metadata } from '../metadata/metadata.js';
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
  /** The client's, the dispatch hook's and the call's own; keys in lower case. */
  readonly metadata: Readonly<Metadata>;
  /**
   * In ms; of the whole call, with the waiting of interceptors. A call that is handed on with another timeout has that
   * one from then on, and the whole has none.
   */
  readonly timeout: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly encoding: Encoding;
}

/**
 * A function around each call: for tokens, tracing, retries. It hands the call on, as it is or changed, and
 * sees its answers; each subscription to what `next` gives is a call of its own.
 *
 * The next answer of a `stream()` is asked for when the loop wants it, and when an answer was not given on in the
 * turn in which it came: one that is held back can not be told from one that is left out.
 */
export type DrpcClientInterceptor = (
  call: DrpcOutgoingCall,
  next: (call: DrpcOutgoingCall) => Observable<unknown>,
) => Observable<unknown>;

type Next = Parameters<DrpcClientInterceptor>[1];

/** Marks an interceptor that gives one answer for each that comes, be it later: it keeps none for itself. */
export const ONE_FOR_ONE: unique symbol = Symbol('one for one');

/** A call under way, as its caller holds it. */
export interface CallHandle {
  request(count: number): void;
  cancel(cause?: Error): void;
  unsubscribe(): void;
}

/** What a call with interceptors needs of its client. */
export interface InterceptHost {
  readonly clock: Clock;
  readonly start: StartCall;
  /** The call is over. */
  ended(call: InterceptedCall): void;
}

/** Starts a call whose answers go to `observer`, at first as many as `demand` says. */
export type StartCall = (
  call: DrpcOutgoingCall,
  observer: CallObserver<unknown>,
  demand: number,
) => CallHandle;

/** So many ms after its time a call inside must have ended by itself. */
const SLACK = 10;

/**
 * A call with interceptors around it. Answers come through their Observables; what the caller asks for goes
 * past them to the call inside, so that the pace of a loop reaches the server.
 *
 * Timeout and signal are those of the whole: waiting for a token counts, and several attempts share the time. A call
 * inside ends by them first, so that interceptors see why; where there is none, or they go on regardless, this ends.
 */
export class InterceptedCall implements CallHandle {
  readonly #observer: CallObserver<unknown>;
  #subscription: Subscription | undefined;
  /** The calls inside: an interceptor may make several at once. */
  readonly #inner = new Set<CallHandle>();
  readonly #host: InterceptHost;
  readonly #call: DrpcOutgoingCall;
  /** When the whole has to be over, by the clock. */
  readonly #deadline: number;
  #timer: Timer | undefined;
  /** Answers that the caller asked for and has not got. */
  #wanted: number;
  /** Whether an interceptor let a call begin, whose affair the payload is then. */
  #hasBegun = false;
  #isOver = false;

  constructor(
    interceptors: readonly DrpcClientInterceptor[],
    host: InterceptHost,
    call: DrpcOutgoingCall,
    observer: CallObserver<unknown>,
    demand: number,
  ) {
    this.#host = host;
    this.#call = call;
    this.#observer = observer;
    this.#wanted = demand;
    const { timeout, signal } = call;
    this.#deadline = timeout === undefined ? Infinity : host.clock.now() + timeout;
    if (timeout !== undefined) this.#timer = host.clock.after(timeout, () => this.#timeIsUp());
    if (signal) {
      shareSignal(signal);
      signal.addEventListener('abort', this);
    }
    const isPulled = demand !== Infinity && interceptors.some((each) => !(ONE_FOR_ONE in each));
    const chain = this.#chain(interceptors, isPulled);
    // Whatever an interceptor throws is an error of the call.
    this.#subscription = defer(() => chain(call)).subscribe({
      next: (value) => this.#deliver(value),
      error: (error: Error | undefined) => {
        this.#settle();
        this.#observer.error(error ?? DrpcError.from(error));
      },
      complete: () => {
        this.#settle();
        this.#observer.complete();
      },
    });
    // It may have been aborted meanwhile, by an interceptor itself.
    if (this.#isOver) this.#subscription.unsubscribe();
    else if (signal?.aborted) host.clock.yield(() => this.fail(abortCause(signal)));
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Ends the call, whatever its interceptors are at. */
  fail(cause: Error): void {
    if (this.#isOver) return;
    this.unsubscribe();
    this.#observer.error(cause);
  }

  /** @internal The signal has aborted. */
  handleEvent(): void {
    const fail = (): void => this.fail(abortCause(this.#call.signal!));
    if (this.#inner.size === 0) return fail();
    this.#host.clock.yield(fail);
  }

  request(count: number): void {
    this.#wanted += count;
    for (const inner of this.#inner) inner.request(count);
  }

  cancel(): void {
    this.unsubscribe();
  }

  unsubscribe(): void {
    this.#settle();
    this.#subscription?.unsubscribe();
  }

  /** The interceptors one in the other, and inside of all of them the call itself. */
  #chain(interceptors: readonly DrpcClientInterceptor[], isPulled: boolean): Next {
    const innermost = (last: DrpcOutgoingCall): Observable<unknown> =>
      new Observable((subscriber) => {
        this.#hasBegun = true;
        let inner: CallHandle | undefined;
        const asksAgain = isPulled ? this.#asksAgain(subscriber, () => inner?.request(1)) : subscriber;
        inner = this.#host.start(this.#withTimeLeft(last), asksAgain, this.#wanted);
        this.#inner.add(inner);
        return () => {
          this.#inner.delete(inner);
          inner.unsubscribe();
        };
      });
    return interceptors.reduceRight<Next>(
      (next, interceptor) => (each) => interceptor(inLowerCase(each), next),
      innermost,
    );
  }

  #timeIsUp(): void {
    const fail = (): void => this.fail(new DeadlineError());
    if (this.#inner.size === 0) return fail();
    this.#timer = this.#host.clock.after(SLACK, fail);
  }

  /** Whoever gives a call another timeout than that of the whole has taken charge of the time. */
  #withTimeLeft(call: DrpcOutgoingCall): DrpcOutgoingCall {
    if (this.#deadline === Infinity) return call;
    if (call.timeout !== this.#call.timeout) {
      this.#timer?.cancel();
      return call;
    }
    return { ...call, timeout: Math.max(this.#deadline - this.#host.clock.now(), 0) };
  }

  /** Nothing holds on to the call from here on. */
  #settle(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#timer?.cancel();
    this.#call.signal?.removeEventListener('abort', this);
    if (!this.#hasBegun) dropStream(this.#call.data);
    this.#host.ended(this);
  }

  #deliver(value: unknown): void {
    // Interceptors may give answers that nobody has asked for yet.
    if (this.#wanted > 0) this.#wanted--;
    this.#observer.next(value);
  }

  /** Asks for another answer where an interceptor kept one for itself. */
  #asksAgain(subscriber: Subscriber<unknown>, ask: () => void): CallObserver<unknown> {
    return {
      next: (value) => {
        const before = this.#wanted;
        subscriber.next(value);
        if (this.#wanted > 0 && this.#wanted === before) ask();
      },
      error: (error) => subscriber.error(error),
      complete: () => subscriber.complete(),
    };
  }
}

/** The call with its metadata in lower case: the interceptor before may have spelt a key in another way. */
function inLowerCase(call: DrpcOutgoingCall): DrpcOutgoingCall {
  // What is wrong with it is told when the call starts.
  const metadata: unknown = call.metadata;
  if (typeof metadata !== 'object' || metadata === null || Symbol.iterator in metadata) return call;
  if (Object.keys(metadata).every((key) => key === key.toLowerCase())) return call;
  return { ...call, metadata: mergeMetadata(call.metadata) };
}
