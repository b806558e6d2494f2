import { Subscription, type Observable, type Observer } from 'rxjs';
import { IterableResult } from './iterable-result.js';
import type { ResultSource, ResultTarget } from './result.js';
import { dropStreamedValue, hearFaults, isStreamedValue, type StreamedValue } from './streamed-value.js';

/** Values that may wait while an iterable, itself a value of the Observable, is drawn. */
const MAX_WAITING = 1000;

/**
 * Gives the values of a handler's Observable to their target as they come. An interceptor makes an Observable
 * of one value of every result, so that a value which stands for many is drawn here as well.
 *
 * It is a subscriber itself: a source that emits without end while it is being subscribed to can only be
 * stopped by that.
 */
export class ObservableResult extends Subscription implements Observer<unknown>, ResultSource {
  readonly #source: Observable<unknown>;
  readonly #target: ResultTarget;
  #isStopped = false;
  #inner: IterableResult | undefined;
  #waiting: unknown[] | undefined;
  /** The source has completed while values wait. */
  #isCompleting = false;

  constructor(source: Observable<unknown>, target: ResultTarget) {
    super();
    this.#source = source;
    this.#target = target;
  }

  start(): void {
    try {
      this.#source.subscribe(this);
    } catch (error) {
      this.error(error);
    }
  }

  cancel(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    try {
      this.unsubscribe();
    } catch {
      // As of an iterable: what a source throws because it is stopped is nobody's business any more.
    }
    this.#dropWaiting();
    if (this.#inner) this.#inner.cancel();
    else this.#target.complete();
  }

  next(value: unknown): void {
    if (this.#isStopped || this.#isCompleting) return dropStreamedValue(value);
    if (this.#inner) this.#wait(value);
    else if (isStreamedValue(value)) this.#draw(value);
    else this.#target.next(value);
  }

  error(thrown: unknown): void {
    if (this.#isStopped || this.#isCompleting) return;
    this.#isStopped = true;
    this.#inner?.cancel();
    this.#dropWaiting();
    this.#target.error(thrown);
    // Last, as in complete(): a teardown can throw, which is its source's to hear.
    this.unsubscribe();
  }

  complete(): void {
    if (this.#isStopped || this.#isCompleting) return;
    if (this.#inner) {
      this.#isCompleting = true;
      return;
    }
    this.#isStopped = true;
    this.#target.complete();
    this.unsubscribe();
  }

  #wait(value: unknown): void {
    hearFaults(value);
    const waiting = (this.#waiting ??= []);
    if (waiting.push(value) <= MAX_WAITING) return;
    this.error(
      new RangeError(`more than ${MAX_WAITING} values wait behind an async iterable of the same Observable`),
    );
  }

  #dropWaiting(): void {
    for (const value of this.#waiting?.splice(0) ?? []) dropStreamedValue(value);
  }

  #draw(value: StreamedValue): void {
    const target = this.#target;
    this.#inner = new IterableResult(value, {
      next: (item) => target.next(item),
      drained: () => target.drained(),
      complete: () => this.#drawn(),
      error: (thrown) => {
        this.#inner = undefined;
        if (this.#isStopped) return;
        this.#isCompleting = false;
        this.error(thrown);
      },
    });
    this.#inner.start();
  }

  #drawn(): void {
    this.#inner = undefined;
    // A cancel waits for the iterable to stop.
    if (this.#isStopped) return this.#target.complete();
    const waiting = this.#waiting ?? [];
    const isCompleting = this.#isCompleting;
    this.#isCompleting = false;
    while (waiting.length > 0 && !this.#inner && !this.#isStopped) this.next(waiting.shift());
    if (!isCompleting) return;
    if (this.#inner) this.#isCompleting = true;
    else this.complete();
  }
}
