/**
 * Metadata key under which a call's timeout travels. The value is gRPC's: up to 8 digits and a unit.
 * @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md; docs/protocol.md, metadata
 */
export const TIMEOUT_KEY = 'grpc-timeout';

/** Milliseconds in a unit. */
const UNITS: Readonly<Record<string, number>> = {
  n: 1e-6,
  u: 1e-3,
  m: 1,
  S: 1000,
  M: 60_000,
  H: 3_600_000,
};

const TIMEOUT = /^(\d{1,8})([numSMH])$/;
const MAX_VALUE = 99_999_999;

/**
 * `ms` milliseconds as a timeout, as in `250m`; the finest of milliseconds, seconds, minutes and hours that
 * holds it, rounded up, so that the peer never gives up first. Nothing left is `0m`, and what is above 8 digits
 * of hours (11,000 years) is cut to that.
 * @throws RangeError when `ms` is not a number.
 */
export function encodeTimeout(ms: number): string {
  if (Number.isNaN(ms)) throw new RangeError('timeout NaN: must be a number of milliseconds');
  for (const unit of ['m', 'S', 'M']) {
    const value = Math.ceil(Math.max(ms, 0) / UNITS[unit]!);
    if (value <= MAX_VALUE) return `${value}${unit}`;
  }
  return `${Math.min(Math.ceil(ms / UNITS.H!), MAX_VALUE)}H`;
}

/**
 * The milliseconds in a timeout, a fraction where it says micro- or nanoseconds; `undefined` when the text is
 * not one. Up to 3.6e14, far more than a timer can hold.
 */
export function decodeTimeout(text: string): number | undefined {
  const match = TIMEOUT.exec(text);
  return match ? Number(match[1]) * UNITS[match[2]!]! : undefined;
}
