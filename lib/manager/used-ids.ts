import type { Uint64 } from '../wire/varint.js';

/** How far below the highest id a new one may lie. */
export const USED_IDS = 4096;
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
      else for (let i = 1; i <= ahead; i++) setBit(bits, slotOf(this.#highest, i), false);
      this.#highest = id;
    } else if (ahead <= -USED_IDS) return false;
    const slot = slotOf(id, 0);
    if ((bits[slot >> 5]! & (1 << (slot & 31))) !== 0) return false;
    setBit(bits, slot, true);
    return true;
  }
}

/** `a - b`, exact while it is small, clamped to what matters otherwise. */
function distance(a: Uint64, b: Uint64): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return Number(BigInt(a) - BigInt(b));
}

function slotOf(id: Uint64, offset: number): number {
  const base = typeof id === 'number' ? id % USED_IDS : Number(id % BigInt(USED_IDS));
  return (base + offset) % USED_IDS;
}

function setBit(bits: Uint32Array, slot: number, value: boolean): void {
  const mask = 1 << (slot & 31);
  if (value) bits[slot >> 5]! |= mask;
  else bits[slot >> 5]! &= ~mask;
}
