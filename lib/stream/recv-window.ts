/** The credit a sender starts with on each stream, by default: 2 MiB. */
export const DEFAULT_STREAM_WINDOW = 2 * 1024 * 1024;
/** The smallest window that peers may announce, in bytes. */
export const MIN_STREAM_WINDOW = 64 * 1024;
const GRANT_THRESHOLD = 512 * 1024;

/**
 * The receiver's side of a stream's window: counts what the application took and says when that is worth
 * a grant. The withheld rest is always smaller than window - frame, so that it can never strand a sender.
 */
export class RecvWindow {
  readonly #threshold: number;
  #accrued = 0;
  /** A grant is due, and the writer was told. */
  isGrantQueued = false;

  constructor(size: number) {
    this.#threshold = Math.min(GRANT_THRESHOLD, size / 4);
  }

  /** Counts `size` bytes of a message that was taken. Answers whether a grant is due. */
  consume(size: number): boolean {
    this.#accrued += size;
    return this.#accrued >= this.#threshold;
  }

  /** Everything that was taken and not granted; the caller grants it now. */
  takeGrant(): number {
    const grant = this.#accrued;
    this.#accrued = 0;
    return grant;
  }
}
