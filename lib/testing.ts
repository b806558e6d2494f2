/** Services and their clients in one process, without a port: `nestjs-drpc/testing`. */

import { Duplex } from 'node:stream';

const HIGH_WATER_MARK = 64 * 1024;

/** One end of a pair: what is written here is read there. */
class InMemoryEnd extends Duplex {
  #peer!: InMemoryEnd;
  /** A write of ours that waits until the peer reads. */
  #release: (() => void) | undefined;

  constructor() {
    super({
      allowHalfOpen: false,
      readableHighWaterMark: HIGH_WATER_MARK,
      writableHighWaterMark: HIGH_WATER_MARK,
    });
  }

  static pair(): [InMemoryEnd, InMemoryEnd] {
    const ends: [InMemoryEnd, InMemoryEnd] = [new InMemoryEnd(), new InMemoryEnd()];
    ends[0].#peer = ends[1];
    ends[1].#peer = ends[0];
    return ends;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error) => void): void {
    const peer = this.#peer;
    // The writer may use its buffer again after the callback, and must never share it with the reader.
    const copy = Buffer.from(chunk);
    setImmediate(() => {
      if (peer.destroyed || peer.readableEnded) callback(connectionError('EPIPE', 'the other end is closed'));
      else if (peer.push(copy)) callback();
      else this.#release = callback;
    });
  }

  override _read(): void {
    const peer = this.#peer;
    const release = peer.#release;
    peer.#release = undefined;
    release?.();
  }

  override _final(callback: () => void): void {
    setImmediate(() => this.#peer.#end());
    callback();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    setImmediate(() => this.#peer.#end());
    callback(error);
  }

  /** The other end has finished or is gone. */
  #end(): void {
    if (!this.destroyed && !this.readableEnded && this.readable) this.push(null);
    const release = this.#release;
    this.#release = undefined;
    release?.();
  }
}

/**
 * Two joined duplexes that behave like the ends of a socket: chunks are copied and arrive in a later turn, a
 * reader that stands still holds the writer up, an end that closes closes the other.
 */
export function createInMemoryPair(): [Duplex, Duplex] {
  return InMemoryEnd.pair();
}

/** What a server that listens in memory tells its owner. */
export interface InMemoryListenerHooks {
  connection(duplex: Duplex): void;
}

/** A place to listen at and to dial that exists in this process only. */
export interface InMemoryNetwork {
  /** For a server: `new DrpcServer({ listener: network.listener })`. */
  readonly listener: {
    listen(hooks: InMemoryListenerHooks): Promise<void>;
    address(): null;
    stop(): void;
    close(): Promise<void>;
  };
  /** For a client: `{ dial: network.dial }`. Rejects like a refused connection while nobody listens. */
  readonly dial: () => Promise<Duplex>;
}

/** Joins servers and clients of one process. */
export function createInMemoryNetwork(): InMemoryNetwork {
  let hooks: InMemoryListenerHooks | undefined;
  const stop = (): void => {
    hooks = undefined;
  };
  return {
    listener: {
      listen: async (given) => {
        if (hooks) throw connectionError('EADDRINUSE', 'a server listens here already');
        hooks = given;
      },
      address: () => null,
      stop,
      close: async () => stop(),
    },
    dial: async () => {
      if (!hooks) throw connectionError('ECONNREFUSED', 'no server listens here');
      const [near, far] = createInMemoryPair();
      hooks.connection(far);
      return near;
    },
  };
}

function connectionError(code: string, message: string): Error {
  return Object.assign(new Error(`${code}: ${message}`), { code });
}
