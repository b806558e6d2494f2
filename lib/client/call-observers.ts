import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import type { CallObserver } from '../pool/call.js';
import type { CallHandle } from './drpc-client.interceptor.js';
import { showPattern } from './outgoing-call.js';

/** Starts a call for an observer that asks for its answers one by one. */
type Open = (observer: CallObserver<unknown>) => CallHandle;

/** The one answer of a call, as a promise. */
export class Answer implements CallObserver<unknown> {
  readonly #pattern: unknown;
  readonly #resolve: (value: unknown) => void;
  readonly #reject: (error: Error) => void;
  #call: CallHandle | undefined;
  #value: unknown;
  #hasValue = false;
  #surplus: DrpcError | undefined;

  private constructor(pattern: unknown, resolve: (value: unknown) => void, reject: (error: Error) => void) {
    this.#pattern = pattern;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** @param pattern of the call, for errors */
  static to(pattern: unknown, open: Open): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const answer = new Answer(pattern, resolve, reject);
      answer.#call = open(answer);
      if (answer.#surplus) answer.#call.cancel(answer.#surplus);
    });
  }

  next(value: unknown): void {
    if (!this.#hasValue) {
      this.#hasValue = true;
      this.#value = value;
      return;
    }
    this.#surplus = new DrpcError(
      DrpcCode.Internal,
      `${showPattern(this.#pattern)} was answered more than once: call() takes one answer, stream() and send() take many`,
    );
    this.#reject(this.#surplus);
    this.#call?.cancel(this.#surplus);
  }

  error(error: Error): void {
    this.#reject(error);
  }

  complete(): void {
    this.#resolve(this.#value);
  }
}

interface Waiter {
  resolve: (result: IteratorResult<unknown, undefined>) => void;
  reject: (error: Error) => void;
}

/** The answers of a call, one for each time somebody asks: the asker's pace reaches the server. */
export class AnswerIterator implements AsyncIterableIterator<unknown, undefined> {
  readonly #open: Open;
  #call: CallHandle | undefined;
  #waiters: Waiter[] = [];
  /** Answers beyond what was asked for, which only an interceptor can make. */
  #surplus: unknown[] = [];
  #isOver = false;
  #error: Error | undefined;

  /** @param open called when the first answer is asked for, with a demand of that one */
  constructor(open: Open) {
    this.#open = open;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<unknown, undefined>> {
    if (this.#surplus.length > 0) return Promise.resolve({ done: false, value: this.#surplus.shift() });
    if (this.#isOver) return this.#ended();
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      if (this.#call) return this.#call.request(1);
      this.#call = this.#open({
        next: (value) => this.#take(value),
        error: (error) => this.#end(error),
        complete: () => this.#end(undefined),
      });
    });
  }

  /** Who leaves early gives the call up. */
  return(): Promise<IteratorResult<unknown, undefined>> {
    const call = this.#isOver ? undefined : this.#call;
    this.#end(undefined);
    this.#surplus = [];
    this.#error = undefined;
    call?.cancel();
    return Promise.resolve({ done: true, value: undefined });
  }

  #take(value: unknown): void {
    const waiter = this.#waiters.shift();
    if (waiter) waiter.resolve({ done: false, value });
    else this.#surplus.push(value);
  }

  #end(error: Error | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#error = error;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const { resolve, reject } of waiters) this.#ended().then(resolve, reject);
  }

  /** The error once, to whoever asks first; then the ordinary end. */
  #ended(): Promise<IteratorResult<unknown, undefined>> {
    const error = this.#error;
    this.#error = undefined;
    return error ? Promise.reject(error) : Promise.resolve({ done: true, value: undefined });
  }
}
