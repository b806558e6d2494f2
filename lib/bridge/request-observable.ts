import { Observable, type Subscriber } from 'rxjs';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';
import type { Demand, RequestSource } from './request-source.js';
import { mayGoUnheard } from './unheard-end.js';

/**
 * The messages of a request as an Observable with one subscriber. What arrives before the handler subscribes
 * (behind an async guard, say) waits in the stream, whose queue is bounded: none is lost. When the call ends before
 * its time, so does the Observable, with the cause; who subscribed without an error handler hears nothing of it.
 */
export class RequestObservable implements RequestSource {
  readonly values: Observable<unknown>;
  readonly #demand: Demand;
  #subscriber: Subscriber<unknown> | undefined;
  #isTaken = false;
  #isOver = false;
  #cause: Error | undefined;

  /** An Observable can not be held up: whoever needs a pace takes the messages as an iterable. */
  readonly #start = (): void => this.#demand.request(Infinity);

  constructor(demand: Demand) {
    this.#demand = demand;
    this.values = new Observable((subscriber) => this.#subscribe(subscriber));
  }

  get isActive(): boolean {
    return this.#subscriber !== undefined;
  }

  get isLeft(): boolean {
    return this.#isTaken && !this.#subscriber;
  }

  message(value: unknown): void {
    this.#subscriber?.next(value);
  }

  end(cause: Error | undefined): void {
    this.#isOver = true;
    this.#cause = cause;
    const subscriber = this.#subscriber;
    this.#subscriber = undefined;
    if (subscriber) this.#tellEnd(subscriber);
  }

  #subscribe(subscriber: Subscriber<unknown>): (() => void) | undefined {
    if (this.#isTaken) {
      const error = new DrpcError(
        DrpcCode.FailedPrecondition,
        `second subscriber of the messages of "${escapeName(this.#demand.rpc)}": they can be taken once, use share()`,
      );
      mayGoUnheard(error, () => process.emitWarning(error.message, 'DrpcWarning'));
      subscriber.error(error);
      return undefined;
    }
    this.#isTaken = true;
    if (this.#isOver) {
      this.#tellEnd(subscriber);
      return undefined;
    }
    this.#subscriber = subscriber;
    // Behind the promises of Nest's pipeline: a handler that answers through a Subject has its listener by then.
    queueMicrotask(() => process.nextTick(this.#start));
    return () => {
      this.#subscriber = undefined;
    };
  }

  #tellEnd(subscriber: Subscriber<unknown>): void {
    if (!this.#cause) return subscriber.complete();
    mayGoUnheard(this.#cause);
    subscriber.error(this.#cause);
  }
}
