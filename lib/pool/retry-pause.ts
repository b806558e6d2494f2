import type { Clock, Timer } from '../clock/clock.js';
import { backoffDelay, type BackoffOptions } from './backoff.js';

/** A call that comes during a pause waits for so much of it at most. */
const ASKED_PART = 0.25;

/** The pauses between attempts that fail, and the timer that ends one. */
export class RetryPause {
  readonly #clock: Clock;
  readonly #options: BackoffOptions;
  #failures = 0;
  #failedAt = 0;
  #endsAt = 0;
  #timer: Timer | undefined;

  constructor(clock: Clock, options: BackoffOptions) {
    this.#clock = clock;
    this.#options = options;
  }

  /** Whether the last attempt failed. */
  get isFailing(): boolean {
    return this.#failures > 0;
  }

  /** An attempt failed: a pause begins, longer than the one before. */
  begin(): void {
    this.cancel();
    this.#failedAt = this.#clock.now();
    this.#endsAt = this.#failedAt + backoffDelay(++this.#failures, this.#options);
  }

  /** An attempt succeeded: the next pause is a short one. */
  clear(): void {
    this.cancel();
    this.#failures = 0;
  }

  /**
   * Whether an attempt may be made.
   * @param isAsked whether a call has just come and asks for one: it need not wait out more than a part of the pause.
   *   Calls that come all the time must not keep a server down that is about to drown
   */
  isOver(isAsked: boolean): boolean {
    if (this.#failures === 0) return true;
    const now = this.#clock.now();
    if (now >= this.#endsAt) return true;
    const part = Math.max((this.#endsAt - this.#failedAt) * ASKED_PART, this.#options.initial);
    return isAsked && now >= this.#failedAt + part;
  }

  /** Runs `task` when the pause is over. A second time does nothing. */
  arm(task: () => void): void {
    if (this.#timer) return;
    this.#timer = this.#clock.after(Math.max(this.#endsAt - this.#clock.now(), 0), () => {
      this.#timer = undefined;
      // A timer may fire a little before its time by the clock.
      this.#endsAt = 0;
      task();
    });
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
