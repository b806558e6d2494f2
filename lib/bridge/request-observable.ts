import { Observable, type Subscriber } from 'rxjs';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';
import type { Demand, RequestSource } from './request-source.js';

/**
 * The messages of a request as an Observable with one subscriber. What arrives before the handler subscribes
 * (behind an async guard, say) waits in the stream, whose queue is bounded: none is lost.
 */
export class RequestObservable implements RequestSource {
  readonly values: Observable<unknown>;
  readonly #demand: Demand;
  #subscriber: Subscriber<unknown> | undefined;
  #isTaken = false;
  #isOver = false;
  #cause: Error | undefined;

  constructor(demand: Demand) {
    this.#demand = demand;
    this.values = new Observable((subscriber) => this.#subscribe(subscriber));
  }

  get isActive(): boolean {
    return this.#subscriber !== undefined;
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
      subscriber.error(
        new DrpcError(
          DrpcCode.FailedPrecondition,
          `second subscriber of the messages of "${escapeName(this.#demand.rpc)}": they can be taken once, use share()`,
        ),
      );
      return undefined;
    }
    this.#isTaken = true;
    if (this.#isOver) {
      this.#tellEnd(subscriber);
      return undefined;
    }
    this.#subscriber = subscriber;
    // An Observable can not be held up: whoever needs a pace takes the messages as an iterable.
    this.#demand.request(Infinity);
    return () => {
      this.#subscriber = undefined;
    };
  }

  #tellEnd(subscriber: Subscriber<unknown>): void {
    if (this.#cause) subscriber.error(this.#cause);
    else subscriber.complete();
  }
}
