import type { Clock, Timer } from '../../lib/clock/clock.js';
import { ClockView, VirtualClock } from '../simulation/virtual-clock.js';

/** Real turns of the event loop, but timers only fire when a test moves the time; it knows which are left. */
export class ManualClock implements Clock {
  readonly #time = new VirtualClock();
  readonly #view = new ClockView(this.#time);
  /** How often others were given a turn. */
  yields = 0;

  /** Timers that are set. */
  get pending(): number {
    return this.#view.pending;
  }

  now(): number {
    return this.#time.now();
  }

  after(ms: number, task: () => void): Timer {
    return this.#view.after(ms, task);
  }

  soon(task: () => void): void {
    process.nextTick(task);
  }

  yield(task: () => void): void {
    this.yields++;
    setImmediate(task);
  }

  /** Moves the time on; timers that are due fire in order. */
  advance(ms: number): void {
    const end = this.#time.now() + ms;
    const wait = this.#time.after(ms, () => undefined);
    while (this.#time.next !== undefined && this.#time.next <= end) this.#time.step();
    wait.cancel();
  }
}
