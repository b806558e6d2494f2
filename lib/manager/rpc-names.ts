/** Names kept at once; a power of two. */
const SLOTS = 16;
/** Longer names are not kept. */
const MAX_LENGTH = 128;

interface KnownName {
  readonly bytes: Buffer;
  readonly text: string;
}

/**
 * The names of the rpcs that were called last. A name that comes again is neither decoded nor, in the maps of those
 * who look it up, hashed again.
 */
export class RpcNames {
  readonly #known: (KnownName | undefined)[] = [];

  /** The text of `bytes[start, end)`. */
  decode(bytes: Buffer, start: number, end: number): string {
    const length = end - start;
    if (length === 0 || length > MAX_LENGTH) return bytes.toString('utf8', start, end);
    const slot = (length * 7 + bytes[end - 1]!) & (SLOTS - 1);
    const known = this.#known[slot];
    if (known && isSame(known.bytes, bytes, start, length)) return known.text;
    const text = bytes.toString('utf8', start, end);
    this.#known[slot] = { bytes: Buffer.from(bytes.subarray(start, end)), text };
    return text;
  }
}

/** For some ten bytes a loop is quicker than a call into Node. */
function isSame(name: Buffer, bytes: Buffer, start: number, length: number): boolean {
  if (name.length !== length) return false;
  for (let i = 0; i < length; i++) if (name[i] !== bytes[start + i]) return false;
  return true;
}
