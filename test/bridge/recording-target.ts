import type { ResultTarget } from '../../lib/bridge/result.js';

/** A target that keeps what it is told; it has room until `isFull` is set. */
export class RecordingTarget implements ResultTarget {
  readonly told: unknown[] = [];
  isFull = false;
  readonly ended: Promise<void>;
  #end!: () => void;
  #drained: (() => void) | undefined;
  #waits: (() => void) | undefined;

  constructor() {
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  next(value: unknown): boolean {
    this.told.push(value);
    return !this.isFull;
  }

  drained(): Promise<void> {
    this.#waits?.();
    return new Promise((resolve) => {
      this.#drained = resolve;
    });
  }

  /** Resolves when the source waits for room. */
  waits(): Promise<void> {
    return new Promise((resolve) => {
      this.#waits = resolve;
    });
  }

  drain(): void {
    this.isFull = false;
    this.#drained?.();
  }

  complete(): void {
    this.told.push('complete');
    this.#end();
  }

  error(thrown: unknown): void {
    this.told.push(['error', thrown]);
    this.#end();
  }
}
