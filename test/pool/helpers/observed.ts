import type { CallObserver } from '../../../lib/pool/call.js';

/** An observer that keeps what it is told, and lets a test wait for it. */
export class Observed implements CallObserver<unknown> {
  /** In order: values as they are, then `'complete'` or the error. */
  readonly events: unknown[] = [];
  readonly #waiting: { count: number; resolve: () => void }[] = [];
  #end!: () => void;
  /** Resolves when the call has ended, however. */
  readonly ended = new Promise<void>((resolve) => {
    this.#end = resolve;
  });

  next(value: unknown): void {
    this.#add(value);
  }

  error(error: Error): void {
    this.#add(error);
    this.#end();
  }

  complete(): void {
    this.#add('complete');
    this.#end();
  }

  /** The error that ended the call. */
  async failure(): Promise<unknown> {
    await this.ended;
    return this.events.at(-1);
  }

  /** Resolves when so many events are here. */
  seen(count: number): Promise<void> {
    if (this.events.length >= count) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ count, resolve }));
  }

  #add(event: unknown): void {
    this.events.push(event);
    for (const { count, resolve } of this.#waiting) if (this.events.length >= count) resolve();
  }
}
