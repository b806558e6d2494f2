import type { Uint64 } from '../wire/varint.js';

/** How far below the highest id a new one may lie. */
export const USED_IDS = 4096;
const USED_IDS_BIG = BigInt(USED_IDS);
const WORD = 32;

/**
 * Which stream ids a peer has used: the highest, and one bit for each of the 4,096 below it. Invokes may
 * come in any order of ids, but never twice with the same one.
 *
 *     bit of id = id mod 4096;   known range: (highest - 4096, highest]
 */
export class UsedIds {
  #highest: Uint64 = 0;
  #bits: Uint32Array | undefined;

  get highest(): Uint64 {
    return this.#highest;
  }

  /** Marks `id`. Answers false when it was used before, or is too old to tell. */
  use(id: Uint64): boolean {
    const bits = (this.#bits ??= new Uint32Array(USED_IDS / WORD));
    const ahead = distance(id, this.#highest);
    if (ahead > 0) {
      // The bits between the old and the new highest belonged to ids that fall out of the range.
      if (ahead >= USED_IDS) bits.fill(0);
      else clearBehind(bits, slotOf(this.#highest), ahead);
      this.#highest = id;
    } else if (ahead <= -USED_IDS) return false;
    const slot = slotOf(id);
    const word = slot >> 5;
    const bit = 1 << (slot & 31);
    if ((bits[word]! & bit) !== 0) return false;
    bits[word]! |= bit;
    return true;
  }
}

/** `a - b`, exact while it is small, clamped to what matters otherwise. */
function distance(a: Uint64, b: Uint64): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return Number(BigInt(a) - BigInt(b));
}

function slotOf(id: Uint64): number {
  return typeof id === 'number' ? id % USED_IDS : Number(id % USED_IDS_BIG);
}

/** Clears the `count` slots behind `slot`, fewer than all; behind the last one comes the first. */
function clearBehind(bits: Uint32Array, slot: number, count: number): void {
  const end = slot + 1 + count;
  clearRange(bits, slot + 1, Math.min(end, USED_IDS));
  if (end > USED_IDS) clearRange(bits, 0, end - USED_IDS);
}

/** Clears slots `[start, end)`, whole words at a time: a peer chooses how far its ids jump. */
function clearRange(bits: Uint32Array, start: number, end: number): void {
  if (start >= end) return;
  const first = start >> 5;
  const last = (end - 1) >> 5;
  const fromStart = -1 << (start & 31);
  const toEnd = -1 >>> (31 - ((end - 1) & 31));
  if (first === last) {
    bits[first]! &= ~(fromStart & toEnd);
    return;
  }
  bits[first]! &= ~fromStart;
  bits.fill(0, first + 1, last);
  bits[last]! &= ~toEnd;
}
