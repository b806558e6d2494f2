import type { Clock, Timer } from '../clock/clock.js';

/** How long a server that did not answer the probe is taken for a plain one, in ms. */
const PLAIN_TIME = 60_000;

/**
 * The guess that a server is plain, as it did not answer the probe. It may only have been busy: so the guess is
 * good for a minute, and the server is asked again.
 */
export class PlainGuess {
  readonly #clock: Clock;
  readonly #askAgain: () => void;
  #until = -Infinity;
  #isMade = false;
  #timer: Timer | undefined;
  /** Whether the server has answered calls since, so that it is there at least. */
  isBacked = false;

  constructor(clock: Clock, askAgain: () => void) {
    this.#clock = clock;
    this.#askAgain = askAgain;
  }

  /** Whether what is known of the server is a guess, fresh or not. */
  get isMade(): boolean {
    return this.#isMade;
  }

  get isFresh(): boolean {
    return this.#clock.now() < this.#until;
  }

  /** The server was silent, and once more if it was so before. */
  make(): void {
    this.#timer?.cancel();
    this.#isMade = true;
    this.#until = this.#clock.now() + PLAIN_TIME;
    this.#timer = this.#clock.after(PLAIN_TIME, () => {
      this.#timer = undefined;
      // A timer may fire a little before its time by the clock.
      this.#until = -Infinity;
      this.#askAgain();
    });
  }

  /** The server has said what it is. */
  drop(): void {
    this.cancel();
    this.#isMade = false;
    this.#until = -Infinity;
    this.isBacked = false;
  }

  /** Asks no more. */
  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
