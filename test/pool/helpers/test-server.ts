import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { RpcStream } from '../../../lib/conn/rpc-stream.js';
import { unknownRpc } from '../../../lib/conn/serve-one.js';
import { PeerServer, type PeerServerOptions } from '../../../lib/control/peer-server.js';
import { jsonEncoding } from '../../../lib/encoding/encoding.js';
import { DrpcError } from '../../../lib/errors/drpc-error.js';
import { Manager } from '../../../lib/manager/manager.js';
import type { Address } from '../../../lib/pool/address.js';
import { decodeMetadata } from '../../../lib/metadata/metadata.js';
import type { Stream } from '../../../lib/stream/stream.js';
import { Kind } from '../../../lib/wire/kind.js';
import { describeFrames, parseFrames } from '../../helpers/frames.js';
import { onTestFinished } from 'vitest';

/** Serves one rpc; what it throws is the rpc's error. */
export type Serve = (rpc: RpcStream, connection: ServerConnection) => unknown;

export type ServerKind = 'own' | 'plain' | 'silent';

export interface TestServerOptions {
  /** `'own'` answers the control stream, `'plain'` refuses it as Go does, `'silent'` says nothing at all. */
  kind?: ServerKind;
  /** The same for each connection, by its number from 1. */
  kindOf?: (count: number) => ServerKind;
  handlers?: Record<string, Serve>;
  connection?: PeerServerOptions;
  host?: string;
  port?: number;
}

/** A server on a real socket, made of the core alone. */
export class TestServer {
  readonly connections: ServerConnection[] = [];
  readonly #options: TestServerOptions;
  readonly #server: Server;
  readonly #closed: Promise<unknown>;
  readonly #waiting: { count: number; resolve: (connection: ServerConnection) => void }[] = [];

  private constructor(options: TestServerOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#accept(socket));
    this.#closed = once(this.#server, 'close');
  }

  /** On a free port of 127.0.0.1, closed at the end of the test. */
  static async listen(options: TestServerOptions = {}): Promise<TestServer> {
    const server = new TestServer(options);
    server.#server.listen(options.port ?? 0, options.host ?? '127.0.0.1');
    await once(server.#server, 'listening');
    onTestFinished(() => server.close());
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get address(): Address {
    return { kind: 'tcp', host: this.#options.host ?? '127.0.0.1', port: this.port, path: '' };
  }

  /** The connection that was accepted as number `count`, from 1. */
  connection(count: number): Promise<ServerConnection> {
    const connection = this.connections[count - 1];
    if (connection) return Promise.resolve(connection);
    return new Promise((resolve) => this.#waiting.push({ count, resolve }));
  }

  /** Connections that are open. */
  get open(): number {
    return this.connections.filter(({ socket }) => !socket.destroyed).length;
  }

  /** Accepts no more. */
  stop(): void {
    this.#server.close();
  }

  async close(): Promise<void> {
    if (this.#server.listening) this.#server.close();
    for (const { socket } of this.connections) socket.destroy();
    await this.#closed;
  }

  #accept(socket: Socket): void {
    const count = this.connections.length + 1;
    const kind = this.#options.kindOf?.(count) ?? this.#options.kind ?? 'own';
    const connection = new ServerConnection(socket, kind, this.#options);
    this.connections.push(connection);
    for (const waiting of this.#waiting) if (waiting.count === count) waiting.resolve(connection);
  }
}

/** The server's end of one connection, and what came on it. */
export class ServerConnection {
  readonly socket: Socket;
  readonly peer: PeerServer | undefined;
  readonly manager: Manager | undefined;
  /** The rpcs that were started, in order. */
  readonly started: string[] = [];
  readonly #kind: ServerKind;
  readonly #options: TestServerOptions;
  readonly #chunks: Buffer[] = [];
  readonly #waiting: { rpc: string; count: number; resolve: () => void }[] = [];

  constructor(socket: Socket, kind: ServerKind, options: TestServerOptions) {
    this.socket = socket;
    this.#kind = kind;
    this.#options = options;
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => this.#chunks.push(Buffer.from(chunk)));
    if (kind === 'silent') return;
    const hooks = { accept: (stream: Stream) => void this.#serve(stream) };
    if (kind === 'plain') {
      this.manager = new Manager(socket, { ...options.connection, role: 'server' }, hooks);
    } else {
      this.peer = new PeerServer(socket, options.connection ?? {}, hooks);
      this.manager = this.peer.manager;
    }
  }

  /** The frames that came, as lines; those of the control stream left out. */
  get frames(): string[] {
    const isOwn = this.#kind === 'own';
    return describeFrames(Buffer.concat(this.#chunks)).filter((line) => !isOwn || !/ s1 /.test(`${line} `));
  }

  /** The metadata of the calls that brought some, in order. */
  get metadata(): Record<string, string>[] {
    return parseFrames(Buffer.concat(this.#chunks))
      .filter(({ kind }) => kind === Kind.InvokeMetadata)
      .map(({ data }) => ({ ...decodeMetadata(Buffer.from(data)) }));
  }

  /** Resolves when anything has come, which a silent server does not answer. */
  async asked(): Promise<void> {
    if (this.#chunks.length === 0) await once(this.socket, 'data');
  }

  /** Resolves when an rpc has been started, so many times. */
  running(rpc: string, count = 1): Promise<void> {
    if (this.#timesStarted(rpc) >= count) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ rpc, count, resolve }));
  }

  #timesStarted(rpc: string): number {
    return this.started.filter((started) => started === rpc).length;
  }

  async #serve(stream: Stream): Promise<void> {
    this.started.push(stream.rpc);
    for (const { rpc, count, resolve } of this.#waiting) if (this.#timesStarted(rpc) >= count) resolve();
    const serve = this.#options.handlers?.[stream.rpc];
    if (!serve) {
      stream.sendError(unknownRpc(stream.rpc));
      return stream.handlerEnded();
    }
    const rpc = new RpcStream((sink) => {
      stream.sink = sink;
      return stream;
    }, jsonEncoding);
    try {
      await serve(rpc, this);
      stream.closeSend();
    } catch (error) {
      stream.sendError(DrpcError.from(error));
    } finally {
      stream.discard();
      stream.handlerEnded();
    }
  }
}

/** Answers with what it was sent. */
export const echo: Serve = async (rpc) => rpc.msgSend(await rpc.msgRecv());

/** Never answers; ends when the call does. */
export const hang: Serve = (rpc) =>
  new Promise<void>((resolve) => {
    if (rpc.signal.aborted) resolve();
    rpc.signal.addEventListener('abort', () => resolve(), { once: true });
  });
