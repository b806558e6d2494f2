/** Longer than any process waits for it; only that the timer is there counts. */
const FOR_EVER = 2 ** 31 - 1;

/**
 * Keeps the process alive while somebody waits for something that has no socket yet: timers of a {@link Clock} do not,
 * and a service that waits for another one would end without a word.
 */
export class KeepAlive {
  #timer: NodeJS.Timeout | undefined;

  set isNeeded(isNeeded: boolean) {
    if (isNeeded) this.#timer ??= setInterval(() => undefined, FOR_EVER);
    else if (this.#timer) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }
}
