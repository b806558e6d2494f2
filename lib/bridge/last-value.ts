import type { ResultTarget } from './result.js';

/** Gives its target one value: of all that a source gives the last, of none `undefined`. */
export class LastValue implements ResultTarget {
  readonly #target: ResultTarget;
  #value: unknown;

  constructor(target: ResultTarget) {
    this.#target = target;
  }

  next(value: unknown): boolean {
    this.#value = value;
    return true;
  }

  drained(): Promise<void> {
    return this.#target.drained();
  }

  complete(): void {
    // After a cancel nobody takes it any more.
    this.#target.next(this.#value);
    this.#target.complete();
  }

  error(thrown: unknown): void {
    this.#target.error(thrown);
  }
}
