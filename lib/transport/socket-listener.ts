import { lstat, unlink } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from 'node:tls';
import { escapeName } from '../errors/escape.js';
import type { ServerPreamble } from './drpc-server.options.js';
import type { DrpcListener, ListenerHooks } from './listener.js';
import { skipPreambleBeforeTls } from './tls-preamble.js';

export interface SocketListenerOptions {
  address: { host: string; port: number } | { path: string };
  tls: TlsOptions | undefined;
  preamble: ServerPreamble;
  maxConnections: number;
  tlsHandshakeTimeout: number;
}

/** Peers without pings are watched by TCP itself, after so many ms of silence. */
const KEEP_ALIVE_DELAY = 30_000;

/** Listens on TCP, with or without TLS, or on a unix socket. */
export class SocketListener implements DrpcListener {
  readonly #options: SocketListenerOptions;
  #server: Server | undefined;
  /** What TLS reads from; a socket whose handshake is not over has no other owner. */
  readonly #rawSockets = new Set<Socket>();

  constructor(options: SocketListenerOptions) {
    this.#options = options;
  }

  async listen(hooks: ListenerHooks): Promise<void> {
    const server = this.#create(hooks);
    this.#server = server;
    try {
      await this.#bind(server);
    } catch (error) {
      if (!('path' in this.#options.address) || !(await isStale(error, this.#options.address.path)))
        throw error;
      await unlink(this.#options.address.path);
      await this.#bind(server);
    }
    server.on('error', (error) => hooks.error(error));
  }

  address(): AddressInfo | string | null {
    return this.#server?.address() ?? null;
  }

  stop(): void {
    if (this.#server?.listening) this.#server.close();
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    this.#server = undefined;
    for (const socket of this.#rawSockets) socket.destroy();
    await new Promise<void>((resolve) => {
      // Stopped before, it has closed, or will when its last connection does: `close` tells either way.
      server.close(() => resolve());
    });
  }

  unwrap(): Server {
    if (!this.#server) throw new Error('not listening yet: call listen() first');
    return this.#server;
  }

  #create(hooks: ListenerHooks): Server {
    const { tls, preamble, maxConnections, tlsHandshakeTimeout } = this.#options;
    const options = { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_DELAY };
    const accept = (socket: Socket): void => hooks.connection(socket);
    let server: Server;
    if (tls) {
      server = createTlsServer({ ...options, ...tls, handshakeTimeout: tlsHandshakeTimeout }, (socket) =>
        accept(socket),
      );
      if (preamble === 'beforeTls') {
        skipPreambleBeforeTls(server, tlsHandshakeTimeout, (socket) =>
          hooks.error(new Error(`TLS handshake with ${nameOf(socket)} failed: TLS handshake timeout`)),
        );
      }
      server.on('connection', (socket: Socket) => {
        this.#rawSockets.add(socket);
        socket.once('close', () => this.#rawSockets.delete(socket));
      });
      server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
        const failure = handshakeFailed(error, socket);
        if (failure) hooks.error(failure);
        socket.destroy();
      });
    } else server = createServer(options, accept);
    if (maxConnections !== Infinity) server.maxConnections = maxConnections;
    server.on('drop', () => hooks.error(tooManyConnections(maxConnections)));
    return server;
  }

  #bind(server: Server): Promise<void> {
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#options.address, () => {
        server.off('error', reject);
        resolve();
      });
    });
  }
}

export function tooManyConnections(limit: number): Error {
  return new Error(`connection refused: ${limit} are open, which is as many as may`);
}

/** Says what OpenSSL found without where in its sources it did. `undefined`: a client has left. */
function handshakeFailed(
  error: NodeJS.ErrnoException & { reason?: string },
  socket: TLSSocket,
): Error | undefined {
  const peer = nameOf(socket);
  // Node's own refusal of a client's certificate looks as if the client had left; it is the code of a text here.
  const refusal = socket.authorizationError as unknown as string | null | undefined;
  if (error.code === 'ECONNRESET') {
    // A client that leaves is no fault, as without TLS: load balancers look so whether the port is open.
    if (!refusal) return undefined;
    return new Error(`TLS handshake with ${peer} failed: its certificate is refused: ${refusal}`, {
      cause: error,
    });
  }
  const hint = NOT_TLS.has(error.code) ? ': the client does not speak TLS' : '';
  // A callback of the application may have put the name that the client asked for into its error.
  const reason = escapeName((error.reason ?? error.message).trim());
  return new Error(`TLS handshake with ${peer} failed: ${reason}${hint}`, { cause: error });
}

function nameOf({ remoteAddress, remotePort }: Socket): string {
  return remoteAddress === undefined ? 'a client' : `${remoteAddress}:${remotePort}`;
}

/** What OpenSSL finds in bytes that are no TLS. */
const NOT_TLS: ReadonlySet<string | undefined> = new Set([
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_HTTP_REQUEST',
]);

/** Whether the file of a unix socket is what a process that died has left. */
async function isStale(error: unknown, path: string): Promise<boolean> {
  if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') return false;
  // To connect to a file of another kind is refused as well, and it is not ours to remove.
  const file = await lstat(path).catch(() => undefined);
  if (!file?.isSocket()) return false;
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', (failure: NodeJS.ErrnoException) => resolve(failure.code === 'ECONNREFUSED'));
  });
}
