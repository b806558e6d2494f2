import type { Clock, Timer } from '../../../lib/clock/clock.js';
import { systemClock } from '../../../lib/clock/clock.js';
import { VirtualClock } from '../../helpers/virtual-clock.js';

/** Time stands still until a test moves it; turns of the event loop are the real ones. */
export class TestClock implements Clock {
  readonly #time = new VirtualClock();
  #held: (() => void)[] | undefined;
  readonly #waiting: { count: number; resolve: () => void }[] = [];

  now(): number {
    return this.#time.now();
  }

  after(ms: number, task: () => void): Timer {
    const timer = this.#time.after(ms, task);
    for (const { count, resolve } of this.#waiting) if (this.pendingTimers >= count) resolve();
    return timer;
  }

  soon(task: () => void): void {
    if (this.#held) this.#held.push(task);
    else systemClock.soon(task);
  }

  /** Keeps back what was to happen at the end of the turn: writers hand nothing to their sockets. */
  hold(): void {
    this.#held ??= [];
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const task of held) systemClock.soon(task);
  }

  yield(task: () => void): void {
    systemClock.yield(task);
  }

  /** Moves the time on; timers that are due fire now. */
  advance(ms: number): void {
    this.#time.advance(ms);
  }

  get pendingTimers(): number {
    return this.#time.pendingTimers;
  }

  /** Resolves when so many timers are set. */
  timers(count: number): Promise<void> {
    if (this.pendingTimers >= count) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ count, resolve }));
  }
}
