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

  // None of them throws: no connection may hang on the application's logger.

  log(message: string): void {
    this.#write('log', message);
  }

  warn(message: string): void {
    this.#write('warn', message);
  }

  error(message: string): void {
    this.#write('error', message);
  }

  /** Tells now how many lines were left out. */
  flush(): void {
    this.#limit.end();
  }

  #write(level: 'log' | 'warn' | 'error', message: string): void {
    try {
      if (this.#limit.take()) this.#logger[level](message);
    } catch {
      // The log was the last to be told.
    }
  }
}
