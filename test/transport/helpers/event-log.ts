/** What happened, in order; tests wait for an entry instead of for time. */
export class EventLog {
  readonly entries: string[] = [];
  readonly #waiting = new Map<string, (() => void)[]>();

  add(entry: string): void {
    this.entries.push(entry);
    for (const resolve of this.#waiting.get(entry) ?? []) resolve();
    this.#waiting.delete(entry);
  }

  /** Resolves when the entry is there. */
  seen(entry: string): Promise<void> {
    if (this.entries.includes(entry)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.set(entry, [...(this.#waiting.get(entry) ?? []), resolve]);
    });
  }
}

/** A promise and its ends. */
export class Gate {
  readonly opened: Promise<void>;
  open!: () => void;

  constructor() {
    this.opened = new Promise((resolve) => {
      this.open = resolve;
    });
  }
}
