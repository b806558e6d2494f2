import type { LoggerService } from '@nestjs/common';
import { systemClock, type Clock } from '../clock/clock.js';
import { LineLimit } from './line-limit.js';

/** The log for what peers and networks cause: they could fill a disk otherwise. What is left out is counted. */
export class LimitedLog {
  readonly #logger: LoggerService;
  readonly #limit: LineLimit;

  constructor(logger: LoggerService, clock: Clock = systemClock) {
    this.#logger = logger;
    this.#limit = new LineLimit(clock, (omitted) => {
      if (omitted > 0) this.#logger.warn(`${omitted} more lines like these were left out`);
    });
  }

  /** Does not throw: no connection may hang on the application's logger. */
  warn(message: string): void {
    try {
      if (this.#limit.take()) this.#logger.warn(message);
    } catch {
      // The log was the last to be told.
    }
  }

  /** Tells now how many lines were left out. */
  flush(): void {
    this.#limit.end();
  }
}
