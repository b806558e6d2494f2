/** Takes what a handler gave, value by value. */
export interface ResultTarget {
  /** One value. False: it waits (see {@link drained}), or it was the last that is taken. Does not throw. */
  next(value: unknown): boolean;
  /** Resolves when there is room for the next value; rejects when no more are taken. */
  drained(): Promise<void>;
  /** The source has ended; after a cancel as well, when it has really stopped. */
  complete(): void;
  /** The source has failed. */
  error(thrown: unknown): void;
}

/** Gives a handler's values to their target. */
export interface ResultSource {
  start(): void;
  /** Stops the source at once; nothing is given any more but `complete`. May be called again. */
  cancel(): void;
}
