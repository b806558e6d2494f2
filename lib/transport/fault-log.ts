import { inspect } from 'node:util';
import type { LoggerService } from '@nestjs/common';
import { systemClock, type Clock } from '../clock/clock.js';
import { escapeName, escapeText } from '../errors/escape.js';
import { LineLimit } from '../bridge/line-limit.js';

/** Longest text of a fault in the log, in bytes. */
const MAX_TEXT_SIZE = 8192;
/** Longest message in it: the stack behind it is worth more than the rest of a message. */
const MAX_MESSAGE_SIZE = 4096;

/**
 * The log for the faults of the application. A peer may be able to cause them, and to put text of its own into
 * them: they are escaped and cut, and of those that tell the same too many are left out and counted.
 */
export class FaultLog {
  readonly #logger: LoggerService;
  readonly #clock: Clock;
  readonly #limits = new Map<string, LineLimit>();

  constructor(logger: LoggerService, clock: Clock = systemClock) {
    this.#logger = logger;
    this.#clock = clock;
  }

  /**
   * Does not throw: no call and no connection may hang on the application's logger, or on how a fault looks.
   * @param what what failed, fit for a log; each has a limit of its own
   */
  error(what: string, fault: unknown): void {
    try {
      if (this.#limitOf(what).take()) this.#logger.error(what, shown(fault));
    } catch {
      // The log was the last to be told.
    }
  }

  /** Tells now how many faults were left out. */
  flush(): void {
    for (const limit of this.#limits.values()) limit.end();
  }

  #limitOf(what: string): LineLimit {
    let limit = this.#limits.get(what);
    if (!limit) {
      limit = new LineLimit(this.#clock, (omitted) => {
        this.#limits.delete(what);
        if (omitted > 0) this.#logger.error(`${what}: ${omitted} more faults were left out`);
      });
      this.#limits.set(what, limit);
    }
    return limit;
  }
}

function shown(fault: unknown): string {
  try {
    return escapeText(inspected(fault), MAX_TEXT_SIZE);
  } catch {
    return 'a fault that throws when it is shown';
  }
}

/** As Node shows it, but no line of a message begins a line of the log. */
function inspected(fault: unknown): string {
  const text = inspect(fault);
  const message: unknown = fault instanceof Error ? fault.message : undefined;
  if (typeof message !== 'string' || message === '') return indented(text);
  return indented(text.replace(message, () => escapeName(message, MAX_MESSAGE_SIZE)));
}

/** Those of a cause are indented by Node; brackets close what it has opened. */
function indented(text: string): string {
  return text.replace(/\n(?=[^\s}\])])/g, '\n    ');
}
