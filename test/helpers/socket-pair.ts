import { Duplex } from 'node:stream';

type Callback = (error?: Error | null) => void;

/** What a direction does with the chunks written to it. */
export interface WireOptions {
  /** The pieces in which a chunk arrives. Default: as it is. */
  cut?: (chunk: Buffer) => Buffer[];
}

/** One direction between two joined sockets. Chunks arrive one by one, each in a turn of its own. */
export class Wire {
  readonly #cut: (chunk: Buffer) => Buffer[];
  #queue: (() => void)[] = [];
  #isHeld = false;
  #isScheduled = false;
  #received: Buffer[] = [];

  constructor({ cut = (chunk) => [chunk] }: WireOptions = {}) {
    this.#cut = cut;
  }

  /** Lets nothing through until {@link release}. */
  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    this.#schedule();
  }

  /** Resolves when everything that was sent before has arrived, and what its arrival caused has been sent. */
  async fence(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise<void>((resolve) => this.add(resolve));
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Everything that arrived so far. */
  get bytes(): Buffer {
    return Buffer.concat(this.#received);
  }

  /** @internal */
  write(chunk: Buffer, deliver: (piece: Buffer) => void, callback: Callback): void {
    for (const piece of this.#cut(chunk)) {
      this.add(() => {
        this.#received.push(piece);
        deliver(piece);
      });
    }
    this.add(() => callback());
  }

  /** @internal */
  add(step: () => void): void {
    this.#queue.push(step);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isHeld || this.#queue.length === 0) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (this.#isHeld) return;
      this.#queue.shift()?.();
      this.#schedule();
    });
  }
}

class PairedSocket extends Duplex {
  peer!: PairedSocket;
  readonly #out: Wire;

  constructor(out: Wire) {
    super({ allowHalfOpen: true });
    this.#out = out;
  }

  override _read(): void {
    // The peer pushes.
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: Callback): void {
    // A copy: the writer may use its memory again once the callback was called.
    this.#out.write(
      Buffer.from(chunk),
      (piece) => {
        if (!this.peer.destroyed) this.peer.push(piece);
      },
      callback,
    );
  }

  override _final(callback: Callback): void {
    this.#out.add(() => {
      if (!this.peer.destroyed) this.peer.push(null);
      callback();
    });
  }

  override _destroy(error: Error | null, callback: Callback): void {
    this.#out.add(() => {
      if (!this.peer.destroyed && !this.peer.readableEnded) this.peer.push(null);
    });
    callback(error);
  }
}

/** Two joined sockets and the wires between them. */
export interface SocketPair {
  readonly client: Duplex;
  readonly server: Duplex;
  readonly toServer: Wire;
  readonly toClient: Wire;
}

/** Joins two sockets in memory, each with memory of its own. */
export function socketPair(options: WireOptions = {}): SocketPair {
  const toServer = new Wire(options);
  const toClient = new Wire(options);
  const client = new PairedSocket(toServer);
  const server = new PairedSocket(toClient);
  client.peer = server;
  server.peer = client;
  return { client, server, toServer, toClient };
}
