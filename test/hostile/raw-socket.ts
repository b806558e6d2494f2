import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export interface RawSocketOptions {
  /** Default: true. */
  reads?: boolean;
  /** Remembers what it reads. Default: true. */
  keeps?: boolean;
}

/** A plain socket in the hands of an attacker, or of a test that plays a peer byte by byte. */
export class RawSocket {
  readonly socket: Socket;
  /** What arrived so far. */
  received: Buffer = Buffer.alloc(0);
  /** The connection did not end with FIN. */
  wasReset = false;
  #isClosed = false;
  #wake: () => void = () => undefined;

  constructor(socket: Socket, { reads = true, keeps = true }: RawSocketOptions = {}) {
    this.socket = socket;
    // Resets are what attackers get.
    socket.on('error', () => {
      this.wasReset = true;
    });
    socket.on('close', () => {
      this.#isClosed = true;
      this.#wake();
    });
    if (!reads) socket.pause();
    else if (keeps) socket.on('data', (chunk: Buffer) => this.#take(chunk));
    else socket.resume();
  }

  static async connect(port: number, options?: RawSocketOptions): Promise<RawSocket> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    const raw = new RawSocket(socket, options);
    await once(socket, 'connect');
    return raw;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Sends the pieces in one write; resolves when the system has them, or the connection is over. */
  async send(...pieces: Uint8Array[]): Promise<void> {
    await new Promise<void>((resolve) => this.socket.write(Buffer.concat(pieces), () => resolve()));
  }

  /** Resolves once `isThere` says so of all that arrived, or the connection is over. */
  async receives(isThere: (received: Buffer) => boolean): Promise<Buffer> {
    while (!isThere(this.received) && !this.#isClosed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.received;
  }

  /** Resolves when the connection is over. */
  async closed(): Promise<void> {
    if (!this.#isClosed) await once(this.socket, 'close');
  }

  /** Leaves, however things stand. */
  async leave(): Promise<void> {
    this.socket.destroy();
    await this.closed();
  }

  /** Leaves without a word. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** Sends FIN. */
  end(): void {
    this.socket.end();
  }

  #take(chunk: Buffer): void {
    this.received = Buffer.concat([this.received, chunk]);
    this.#wake();
  }
}
