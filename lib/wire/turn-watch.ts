import type { Clock } from '../clock/clock.js';

/** So many ms of writing may pass before the event loop has its turn: what arrives meanwhile is served then. */
const TURN_TIME = 0.5;
/** A turn may go on for so many ms with frames that wait for its end: then they go out, and the peer begins on them. */
const EARLY_TIME = 0.2;
/** The clock is looked at after so many frames; a power of two. */
const FRAMES_PER_LOOK = 8;

/**
 * Watches how long a turn of the event loop goes on, by a clock that it seldom looks at.
 *
 *     turn:  | frame frame ... frame | write, write, write ... |
 *              long: write early        long: let the loop go round
 */
export class TurnWatch {
  readonly #clock: Clock;
  /** Frames since the last write, and when the first look at the clock was. */
  #frames = 0;
  #lookedAt = 0;
  /** When the event loop last had its turn, as far as we know. */
  #since = 0;
  /** It has had one since, see {@link began}. */
  #isNew = true;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A frame was appended. Answers whether those that wait should go out before the turn ends. */
  appended(): boolean {
    return (++this.#frames & (FRAMES_PER_LOOK - 1)) === 0 && this.#look();
  }

  /** What was appended has gone out. */
  written(): void {
    this.#frames = 0;
  }

  /** The event loop has come round. */
  began(): void {
    this.#isNew = true;
  }

  /** Whether so much was written since the event loop came round that it should do so again. */
  isOver(): boolean {
    const now = this.#clock.now();
    if (this.#isNew) {
      this.#isNew = false;
      this.#since = now;
    }
    return now - this.#since >= TURN_TIME;
  }

  #look(): boolean {
    const now = this.#clock.now();
    if (this.#frames !== FRAMES_PER_LOOK) return now - this.#lookedAt >= EARLY_TIME;
    this.#lookedAt = now;
    return false;
  }
}
