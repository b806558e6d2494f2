/** How long a drive goes on. */
export interface Duration {
  /** So many ms the same is done before the time begins: what a pause has cooled down is warm again. Default: none. */
  leadMs?: number;
  /** The time that counts. */
  ms: number;
}

/** The time of a drive that counts, and how much was done in it. */
export class MeasuredTime {
  readonly #leadMs: number;
  readonly #ms: number;
  #begin = performance.now();
  #isLeading: boolean;
  /** What was done before the time began. */
  #before = 0;
  #counted = 0;
  #elapsedMs = 0;

  constructor({ leadMs = 0, ms }: Duration) {
    this.#leadMs = leadMs;
    this.#ms = ms;
    this.#isLeading = leadMs > 0;
  }

  get isOver(): boolean {
    return this.#elapsedMs > 0;
  }

  /** What was done in the time. */
  get counted(): number {
    return this.#counted;
  }

  get perSecond(): number {
    return (this.#counted * 1000) / this.#elapsedMs;
  }

  /** Says that `done` is done since the drive began; looks whether the time is over. */
  look(done: number): void {
    if (this.isOver) return;
    const elapsed = performance.now() - this.#begin;
    if (!this.#isLeading) {
      if (elapsed >= this.#ms) this.#end(done, elapsed);
    } else if (elapsed >= this.#leadMs) {
      this.#isLeading = false;
      this.#begin += elapsed;
      this.#before = done;
    }
  }

  /** Ends the time now, if it is not over: there is no more to do. */
  end(done: number): void {
    if (!this.isOver) this.#end(done, performance.now() - this.#begin);
  }

  #end(done: number, elapsed: number): void {
    this.#counted = done - this.#before;
    this.#elapsedMs = elapsed;
  }
}
