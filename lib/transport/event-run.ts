import type { MessageHandler } from '@nestjs/microservices';
import { resultSource } from '../bridge/result-source.js';
import type { ResultSource, ResultTarget } from '../bridge/result.js';
import { dropStreamedValue } from '../bridge/streamed-value.js';
import type { DrpcContext } from './drpc.context.js';

/** One handler at work on an event: what it gives is drawn to its end, and dropped. */
export class EventRun implements ResultTarget {
  readonly #onFault: (thrown: unknown) => void;
  readonly #onEnd: () => void;
  #source: ResultSource | undefined;
  #isCanceled = false;
  #isEnded = false;

  constructor(onFault: (thrown: unknown) => void, onEnd: () => void) {
    this.#onFault = onFault;
    this.#onEnd = onEnd;
  }

  async start(handler: MessageHandler, data: unknown, context: DrpcContext): Promise<void> {
    try {
      const result: unknown = await handler(data, context);
      if (this.#isCanceled) {
        dropStreamedValue(result);
        return this.complete();
      }
      this.#source = resultSource(result, this);
      if (this.#source) this.#source.start();
      else this.complete();
    } catch (error) {
      this.error(error);
    }
  }

  cancel(): void {
    this.#isCanceled = true;
    this.#source?.cancel();
  }

  next(): boolean {
    return true;
  }

  drained(): Promise<void> {
    return Promise.resolve();
  }

  complete(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#onEnd();
  }

  error(thrown: unknown): void {
    if (this.#isEnded) return;
    if (!this.#isCanceled) this.#onFault(thrown);
    this.complete();
  }
}
