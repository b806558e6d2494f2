import type { ResultSource, ResultTarget } from './result.js';
import { pull, type Puller, type StreamedValue } from './streamed-value.js';
import { UnhandledException } from './unhandled-exception.js';

/**
 * Pulls the values of an async iterable at the pace at which they can be sent. RxJS's `from()` would tell the
 * iterator of a cancel only when its next value has come.
 */
export class IterableResult implements ResultSource {
  readonly #value: StreamedValue;
  readonly #target: ResultTarget;
  #puller: Puller | undefined;
  #isCanceled = false;

  constructor(value: StreamedValue, target: ResultTarget) {
    this.#value = value;
    this.#target = target;
  }

  start(): void {
    void this.#run();
  }

  cancel(): void {
    if (this.#isCanceled) return;
    this.#isCanceled = true;
    this.#puller?.stop();
  }

  async #run(): Promise<void> {
    const target = this.#target;
    try {
      const puller = (this.#puller = pull(this.#value));
      for (;;) {
        const item = await puller.next();
        if (this.#isCanceled || item.done) break;
        if (target.next(item.value) || this.#isCanceled) continue;
        await target.drained();
      }
    } catch (error) {
      // The iteration runs outside of Nest's pipeline, so that no filter has seen what it throws.
      if (!this.#isCanceled) return target.error(new UnhandledException(error));
    }
    target.complete();
  }
}
