import type { Clock, Timer } from '../clock/clock.js';

/** So many lines in so many ms. */
const MAX_LINES = 10;
const PERIOD = 10_000;

/** Lets a number of lines into a log in a time that begins with the first, and tells then how many it did not. */
export class LineLimit {
  readonly #clock: Clock;
  readonly #ended: (omitted: number) => void;
  #timer: Timer | undefined;
  #lines = 0;

  /** @param ended called when the time is up, with how many lines were left out; what it throws is dropped */
  constructor(clock: Clock, ended: (omitted: number) => void) {
    this.#clock = clock;
    this.#ended = ended;
  }

  /** Whether one more line may be written. */
  take(): boolean {
    this.#timer ??= this.#clock.after(PERIOD, () => this.end());
    return ++this.#lines <= MAX_LINES;
  }

  /** Ends the time now. */
  end(): void {
    if (!this.#timer) return;
    this.#timer.cancel();
    this.#timer = undefined;
    const omitted = Math.max(this.#lines - MAX_LINES, 0);
    this.#lines = 0;
    try {
      this.#ended(omitted);
    } catch {
      // It is the logger of the application that throws, in a timer: nobody is left who could be told.
    }
  }
}
