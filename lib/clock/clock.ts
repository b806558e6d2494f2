/** A timer that was set with {@link Clock.after}. */
export interface Timer {
  /** Takes the timer back; harmless when it has fired or was cancelled before. */
  cancel(): void;
}

/**
 * The only source of time of the core. Tests and simulations give a virtual one.
 * All times are milliseconds.
 */
export interface Clock {
  /** A monotonic reading; only differences mean anything. */
  now(): number;
  /** Runs `task` once, `ms` from now. A timer never keeps the process alive. */
  after(ms: number, task: () => void): Timer;
  /** Runs `task` when the present turn (and its microtasks) is over, before I/O is polled. */
  soon(task: () => void): void;
  /** Runs `task` after the event loop has had a chance to serve other I/O. */
  yield(task: () => void): void;
}

/** The longest delay a Node timer can hold, in ms; longer ones would fire at once. */
export const MAX_DELAY = 2 ** 31 - 1;

class NodeTimer implements Timer {
  readonly #timeout: NodeJS.Timeout;

  constructor(ms: number, task: () => void) {
    this.#timeout = setTimeout(task, Math.min(ms, MAX_DELAY)).unref();
  }

  cancel(): void {
    clearTimeout(this.#timeout);
  }
}

/** The clock of the process. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after: (ms, task) => new NodeTimer(ms, task),
  soon: (task) => process.nextTick(task),
  yield: (task) => void setImmediate(task),
};
