import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { parseFrame, type Frame } from '../../../lib/wire/frame.js';

const PREAMBLE = 'DRPC!!!1';

/** What went over one connection, each direction by itself. */
export class Recording {
  readonly #chunks: { readonly isFromClient: boolean; readonly bytes: Buffer }[] = [];

  /** @internal */
  add(isFromClient: boolean, bytes: Buffer): void {
    this.#chunks.push({ isFromClient, bytes: Buffer.from(bytes) });
  }

  get fromClient(): Buffer {
    return this.#bytes(true);
  }

  get fromServer(): Buffer {
    return this.#bytes(false);
  }

  /** The whole frames of a direction; a connection may have been cut within one. */
  get clientFrames(): Frame[] {
    const bytes = this.fromClient;
    return wholeFrames(bytes.toString('latin1', 0, PREAMBLE.length) === PREAMBLE ? bytes.subarray(8) : bytes);
  }

  get serverFrames(): Frame[] {
    return wholeFrames(this.fromServer);
  }

  #bytes(isFromClient: boolean): Buffer {
    return Buffer.concat(
      this.#chunks.filter((chunk) => chunk.isFromClient === isFromClient).map(({ bytes }) => bytes),
    );
  }
}

/** Stands between clients and a server on this machine and keeps what goes over it. */
export class RecordingProxy {
  readonly recordings: Recording[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #changes = new Set<() => void>();

  private constructor(target: number) {
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) =>
      this.#join(client, connect({ port: target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })),
    );
  }

  /** On a free port; forwards to `target`. */
  static async listen(target: number): Promise<RecordingProxy> {
    const proxy = new RecordingProxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Connections that are open. */
  get open(): number {
    return this.#sockets.size / 2;
  }

  /** Resolves when so many connections are open, no more. */
  async openIs(count: number): Promise<void> {
    while (this.open !== count) await new Promise<void>((resolve) => this.#changes.add(resolve));
  }

  /** Cuts all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.cut();
    await closed;
  }

  #join(client: Socket, server: Socket): void {
    const recording = new Recording();
    this.recordings.push(recording);
    this.#forward(client, server, (bytes) => recording.add(true, bytes));
    this.#forward(server, client, (bytes) => recording.add(false, bytes));
  }

  #forward(from: Socket, to: Socket, record: (bytes: Buffer) => void): void {
    this.#sockets.add(from);
    from.on('data', (bytes: Buffer) => {
      record(bytes);
      if (to.writable && !to.write(bytes)) from.pause();
    });
    to.on('drain', () => from.resume());
    from.on('end', () => to.end());
    from.on('error', () => undefined);
    from.on('close', (hadError) => {
      // After an ordinary end the other side may still have to send what it was given.
      if (hadError) to.destroy();
      this.#sockets.delete(from);
      const changes = [...this.#changes];
      this.#changes.clear();
      for (const resolve of changes) resolve();
    });
  }
}

function wholeFrames(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length;) {
    const parsed = parseFrame(bytes, at);
    if (!parsed) break;
    frames.push(parsed.frame);
    at = parsed.end;
  }
  return frames;
}
