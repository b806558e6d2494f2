import type { Clock, Timer } from '../../lib/clock/clock.js';

interface PendingTimer {
  readonly at: number;
  readonly order: number;
  readonly task: () => void;
}

/** A clock that stands still until a test moves it; nothing runs by itself. */
export class VirtualClock implements Clock {
  #now = 0;
  #order = 0;
  readonly #timers = new Set<PendingTimer>();
  #soon: (() => void)[] = [];
  #yielded: (() => void)[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, task: () => void): Timer {
    const timer = { at: this.#now + Math.max(ms, 0), order: this.#order++, task };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  soon(task: () => void): void {
    this.#soon.push(task);
  }

  yield(task: () => void): void {
    this.#yielded.push(task);
  }

  /** Timers that have not fired and were not canceled. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** Tasks that wait for {@link yielded}. */
  get pendingYields(): number {
    return this.#yielded.length;
  }

  /** Tasks that wait for {@link turn}. */
  get pendingSoon(): number {
    return this.#soon.length;
  }

  /** Ends the turn: runs what was put off with `soon`, also what that puts off. */
  turn(): void {
    while (this.#soon.length > 0) {
      const tasks = this.#soon;
      this.#soon = [];
      for (const task of tasks) task();
    }
  }

  /** Lets the event loop go round: runs what was put off with `yield` (not what that puts off again). */
  yielded(): void {
    const tasks = this.#yielded;
    this.#yielded = [];
    for (const task of tasks) task();
    this.turn();
  }

  /** Moves the time on by `ms`; timers that are due fire at their time, in order. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (let timer = this.#nextDue(end); timer; timer = this.#nextDue(end)) {
      this.#timers.delete(timer);
      this.#now = Math.max(this.#now, timer.at);
      timer.task();
      this.turn();
    }
    this.#now = end;
  }

  #nextDue(end: number): PendingTimer | undefined {
    let first: PendingTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.at > end) continue;
      if (!first || timer.at < first.at || (timer.at === first.at && timer.order < first.order))
        first = timer;
    }
    return first;
  }
}
