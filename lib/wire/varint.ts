import { ProtocolError } from '../errors/drpc-error.js';

/**
 * An unsigned 64-bit number of the wire: a `number` up to 2^53 - 1, a `bigint` above, never otherwise.
 * So `===`, `<` and `Map` keys work on mixed ids.
 */
export type Uint64 = number | bigint;

/** The most bytes a varint takes. */
export const MAX_VARINT_SIZE = 10;

/** Seven bytes hold 49 bits, which a double adds up exactly. */
const EXACT_BYTES = 7;

/**
 * Reads varints: little-endian groups of seven bits, the high bit says that more follow.
 *
 *     1xxxxxxx 1yyyyyyy 0zzzzzzz   =   z·2^14 + y·2^7 + x
 *
 * The value lies in {@link value}, so that reading makes no object.
 * @see storj/drpc drpcwire/varint.go, ReadVarint
 */
export class VarintReader {
  /** The number that the last successful {@link read} found. */
  value: Uint64 = 0;

  /**
   * Reads the varint at `at`. Answers the offset behind it, or -1 while bytes are missing before `end`.
   * Bits above the 64th are dropped, as in the reference.
   * @throws ProtocolError after ten bytes without an end.
   */
  read(bytes: Uint8Array, at: number, end: number): number {
    let value = 0;
    let scale = 1;
    for (let size = 1; size <= EXACT_BYTES; size++) {
      if (at >= end) return -1;
      const byte = bytes[at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        this.value = value;
        return at;
      }
      scale *= 128;
    }
    return this.#readLong(bytes, at, end, value);
  }

  #readLong(bytes: Uint8Array, at: number, end: number, low: number): number {
    let value = BigInt(low);
    for (let size = EXACT_BYTES + 1; size <= MAX_VARINT_SIZE; size++) {
      if (at >= end) return -1;
      const byte = bytes[at++]!;
      value += BigInt(byte & 0x7f) << BigInt(7 * (size - 1));
      if (byte < 0x80) {
        this.value = uint64(BigInt.asUintN(64, value));
        return at;
      }
    }
    throw new ProtocolError('varint too long: ten bytes and no end; a varint has at most ten');
  }
}

/** The canonical form of a 64-bit number: `number` while that is exact. */
export function uint64(value: bigint): Uint64 {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

/** How many bytes {@link appendVarint} writes for `value`. */
export function varintSize(value: Uint64): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  if (value < 0x10000000) return 4;
  let size = 4;
  for (let rest = BigInt(value) >> 28n; rest > 0n; rest >>= 7n) size++;
  return size;
}

/**
 * Writes `value` in the shortest form at `at`, where there must be room; answers the offset behind it.
 * @see storj/drpc drpcwire/varint.go, AppendVarint
 */
export function appendVarint(bytes: Uint8Array, at: number, value: Uint64): number {
  if (value < 0x80) {
    bytes[at] = value as number;
    return at + 1;
  }
  if (typeof value === 'number') {
    let rest = value;
    // Shifts take 32 bits; a connection that lives long has stream ids above.
    for (; rest >= 0x80000000; rest = Math.floor(rest / 128)) bytes[at++] = (rest % 128) | 0x80;
    while (rest >= 0x80) {
      bytes[at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    bytes[at] = rest;
    return at + 1;
  }
  let rest = value;
  while (rest >= 0x80n) {
    bytes[at++] = Number(rest & 0x7fn) | 0x80;
    rest >>= 7n;
  }
  bytes[at] = Number(rest);
  return at + 1;
}
