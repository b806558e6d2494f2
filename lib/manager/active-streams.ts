import type { Stream } from '../stream/stream.js';
import type { Uint64 } from '../wire/varint.js';

/**
 * The streams of a connection by id. Once closed it stays closed, and whoever comes late is told the cause
 * that closed it.
 */
export class ActiveStreams {
  readonly #streams = new Map<Uint64, Stream>();
  /** Frames mostly come in runs of the same stream. */
  #last: Stream | undefined;
  #cause: Error | undefined;

  get size(): number {
    return this.#streams.size;
  }

  /** @throws the cause of {@link close}, or an Error when the id is taken. */
  add(stream: Stream): void {
    if (this.#cause) throw this.#cause;
    if (this.#streams.has(stream.id))
      throw new Error(`stream ${stream.id} exists already: ids are used once`);
    this.#streams.set(stream.id, stream);
  }

  get(id: Uint64): Stream | undefined {
    const last = this.#last;
    if (last && last.id === id) return last;
    const stream = this.#streams.get(id);
    if (stream) this.#last = stream;
    return stream;
  }

  /** Harmless when the stream is not there. */
  remove(stream: Stream): void {
    if (this.#last === stream) this.#last = undefined;
    this.#streams.delete(stream.id);
  }

  /** Ends all streams with `cause`, now; the first cause counts. */
  close(cause: Error): void {
    if (this.#cause) return;
    this.#cause = cause;
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    this.#last = undefined;
    for (const stream of streams) stream.cancel(cause);
  }

  /** The stream for which `weigh` answers most, if it is more than nothing. */
  greatest(weigh: (stream: Stream) => number): Stream | undefined {
    let found: Stream | undefined;
    let most = 0;
    for (const stream of this.#streams.values()) {
      const weight = weigh(stream);
      if (weight > most) {
        most = weight;
        found = stream;
      }
    }
    return found;
  }

  [Symbol.iterator](): IterableIterator<Stream> {
    return this.#streams.values();
  }
}
