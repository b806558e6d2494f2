/** How long to wait between attempts. Times in milliseconds. */
export interface BackoffOptions {
  /** The wait after the first failure, and the shortest of all. */
  initial: number;
  /** The longest wait. */
  max: number;
  /** Answers at least 0 and less than 1; default: `Math.random`. */
  random?: () => number;
}

/**
 * The wait after so many failures in a row: doubled each time up to `max`, and of that a random part between
 * half and all, so that many clients of a server that comes back do not come back together.
 */
export function backoffDelay(
  failures: number,
  { initial, max, random = Math.random }: BackoffOptions,
): number {
  const full = Math.min(initial * 2 ** (Math.max(failures, 1) - 1), max);
  return full * (0.5 + random() / 2);
}
