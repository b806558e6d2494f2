import type { Demand, RequestSource } from './request-source.js';

interface Waiter {
  resolve(result: IteratorResult<unknown, undefined>): void;
  reject(cause: Error): void;
}

const DONE: IteratorReturnResult<undefined> = Object.freeze({ done: true, value: undefined });

/** The messages of a request as an async iterable: each pull asks for one, so that its pace reaches the sender. */
export class RequestIterator implements RequestSource, AsyncIterableIterator<unknown, undefined> {
  readonly #demand: Demand;
  readonly #waiters: Waiter[] = [];
  #isOver = false;
  #isLeft = false;
  #cause: Error | undefined;

  constructor(demand: Demand) {
    this.#demand = demand;
  }

  get values(): this {
    return this;
  }

  get isActive(): boolean {
    return this.#waiters.length > 0;
  }

  get isLeft(): boolean {
    return this.#isLeft;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** @throws what ended the call before its time. */
  next(): Promise<IteratorResult<unknown, undefined>> {
    if (this.#isLeft) return Promise.resolve(DONE);
    if (this.#isOver) return this.#cause ? Promise.reject(this.#cause) : Promise.resolve(DONE);
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#demand.request(1);
    });
  }

  /** Leaves the loop: what still comes is dropped, and the call goes on. */
  return(): Promise<IteratorReturnResult<undefined>> {
    if (!this.#isLeft) {
      this.#isLeft = true;
      for (const waiter of this.#waiters.splice(0)) waiter.resolve(DONE);
      if (!this.#isOver) this.#demand.request(Infinity);
    }
    return Promise.resolve(DONE);
  }

  message(value: unknown): void {
    this.#waiters.shift()?.resolve({ done: false, value });
  }

  end(cause: Error | undefined): void {
    this.#isOver = true;
    this.#cause = cause;
    for (const waiter of this.#waiters.splice(0)) {
      if (cause) waiter.reject(cause);
      else waiter.resolve(DONE);
    }
  }
}
