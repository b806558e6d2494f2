import type { Stream } from '../stream/stream.js';
import type { Uint64 } from '../wire/varint.js';
import { idKey } from './id-key.js';

/** Slots at first, and how many are kept when no stream is left; powers of two. */
const FIRST_SIZE = 16;
const KEPT_SIZE = 1024;

/**
 * The streams of a connection by id. Once closed it stays closed, and whoever comes late is told the cause
 * that closed it.
 *
 * Ids follow one another, so that their lowest bits give nearly each stream a slot of its own; who finds it taken, by
 * a stream that lives long or because a peer counts in its own way, is listed apart.
 *
 *     slot of id = id mod ring.length, at least twice the streams there are
 */
export class ActiveStreams {
  #ring = newRing(FIRST_SIZE);
  /** Streams whose slot is taken, and those whose ids are beyond 2^53. */
  readonly #others = new Map<number | string, Stream>();
  #size = 0;
  #cause: Error | undefined;

  get size(): number {
    return this.#size;
  }

  /** @throws the cause of {@link close}, or an Error when the id is taken. */
  add(stream: Stream): void {
    if (this.#cause) throw this.#cause;
    if (this.get(stream.id)) throw new Error(`stream ${stream.id} exists already: ids are used once`);
    this.#size++;
    if (this.#size * 2 > this.#ring.length) this.#resize(this.#ring.length * 2);
    this.#place(stream);
  }

  get(id: Uint64): Stream | undefined {
    if (typeof id === 'number') {
      const stream = this.#ring[id & (this.#ring.length - 1)];
      if (stream && stream.id === id) return stream;
    }
    return this.#others.size > 0 ? this.#others.get(idKey(id)) : undefined;
  }

  /** Harmless when the stream is not there. */
  remove(stream: Stream): void {
    const { id } = stream;
    const slot = typeof id === 'number' ? id & (this.#ring.length - 1) : -1;
    if (slot >= 0 && this.#ring[slot] === stream) this.#ring[slot] = undefined;
    else if (!this.#others.delete(idKey(id))) return;
    this.#size--;
    // A burst is over: give its memory back.
    if (this.#size === 0 && this.#ring.length > KEPT_SIZE) this.#ring = newRing(KEPT_SIZE);
  }

  /** Ends all streams with `cause`, now, in the order of their ids; the first cause counts. */
  close(cause: Error): void {
    if (this.#cause) return;
    this.#cause = cause;
    const streams = [...this].sort((a, b) => (a.id < b.id ? -1 : 1));
    this.#ring = newRing(FIRST_SIZE);
    this.#others.clear();
    this.#size = 0;
    for (const stream of streams) stream.cancel(cause);
  }

  /** The stream for which `weigh` answers most, if it is more than nothing. */
  greatest(weigh: (stream: Stream) => number): Stream | undefined {
    let found: Stream | undefined;
    let most = 0;
    for (const stream of this) {
      const weight = weigh(stream);
      if (weight > most) {
        most = weight;
        found = stream;
      }
    }
    return found;
  }

  /** All of them, in no particular order. */
  *[Symbol.iterator](): IterableIterator<Stream> {
    for (const stream of this.#ring) if (stream) yield stream;
    yield* this.#others.values();
  }

  #place(stream: Stream): void {
    const { id } = stream;
    const slot = typeof id === 'number' ? id & (this.#ring.length - 1) : -1;
    if (slot >= 0 && !this.#ring[slot]) this.#ring[slot] = stream;
    else this.#others.set(idKey(id), stream);
  }

  #resize(length: number): void {
    const streams = [...this];
    this.#ring = newRing(length);
    this.#others.clear();
    for (const stream of streams) this.#place(stream);
  }
}

function newRing(length: number): (Stream | undefined)[] {
  return new Array<Stream | undefined>(length).fill(undefined);
}
