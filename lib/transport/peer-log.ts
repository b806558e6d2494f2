import type { LoggerService } from '@nestjs/common';

/** So many lines in so many ms. */
const MAX_LINES = 10;
const PERIOD = 10_000;

/** The log for what peers cause: they could fill a disk otherwise. What is left out is counted. */
export class PeerLog {
  readonly #logger: LoggerService;
  readonly #now: () => number;
  #since = -Infinity;
  #lines = 0;

  /** @param now a monotonic clock, in ms */
  constructor(logger: LoggerService, now: () => number = () => performance.now()) {
    this.#logger = logger;
    this.#now = now;
  }

  warn(message: string): void {
    const now = this.#now();
    if (now - this.#since >= PERIOD) {
      const omitted = this.#lines - MAX_LINES;
      this.#since = now;
      this.#lines = 0;
      if (omitted > 0) this.#logger.warn(`${omitted} more lines like these were left out`);
    }
    if (++this.#lines <= MAX_LINES) this.#logger.warn(message);
  }
}
