import type { Duplex } from 'node:stream';
import { ClosedError, type DrpcError } from '../errors/drpc-error.js';
import type { Stream } from '../stream/stream.js';
import type { DrpcPeer } from './drpc-peer.js';
import { ServerConnection, type ServerConnectionOptions } from './server-connection.js';

/** How long a client may take to close its end, in ms. */
const FINISH_TIMEOUT = 2000;

export interface ConnectionSetHooks {
  opened(peer: DrpcPeer): void;
  accept(stream: Stream, peer: DrpcPeer): void;
  closed(peer: DrpcPeer, cause: Error): void;
  failed(stream: Stream, error: unknown): void;
  /** A limit ended a call, or kept it from beginning. */
  overloaded(error: DrpcError, peer: DrpcPeer): void;
  /** One was not taken, because there are as many as may. */
  refused(): void;
}

/** The clients of a server while it listens once. */
export class ConnectionSet {
  readonly #options: ServerConnectionOptions;
  readonly #maxConnections: number;
  readonly #hooks: ConnectionSetHooks;
  readonly #connections = new Set<ServerConnection>();
  #lastId = 0;
  /** Why no more calls are taken. */
  #drainReason: string | undefined;
  /** Why all connections end. */
  #cause: ClosedError | undefined;

  constructor(options: ServerConnectionOptions, maxConnections: number, hooks: ConnectionSetHooks) {
    this.#options = options;
    this.#maxConnections = maxConnections;
    this.#hooks = hooks;
  }

  get size(): number {
    return this.#connections.size;
  }

  /** Takes a new client; one that comes while the server goes down is told so like the others. */
  add(duplex: Duplex): void {
    if (this.#connections.size >= this.#maxConnections) {
      // Nobody else listens, and Node throws an `error` that nobody hears.
      duplex.on('error', () => undefined).destroy();
      return this.#hooks.refused();
    }
    const connection = new ServerConnection(++this.#lastId, duplex, this.#options, {
      accept: (stream, peer) => this.#hooks.accept(stream, peer),
      terminated: (ended, cause) => {
        this.#connections.delete(ended);
        this.#hooks.closed(ended.peer, cause);
      },
      failed: (stream, error) => this.#hooks.failed(stream, error),
      overloaded: ({ peer }, error) => this.#hooks.overloaded(error, peer),
    });
    this.#connections.add(connection);
    this.#hooks.opened(connection.peer);
    if (this.#drainReason !== undefined) connection.drain(this.#drainReason);
    if (this.#cause) connection.finish(this.#cause, FINISH_TIMEOUT, 0);
  }

  /** Asks the clients to make their next calls elsewhere; resolves when they have heard of it. */
  async retire(reason: string): Promise<void> {
    await Promise.all([...this.#connections].map((connection) => connection.retire(reason)));
  }

  /** Takes no more calls; those that were taken go on. */
  drain(reason: string): void {
    this.#drainReason = reason;
    for (const connection of this.#connections) connection.drain(reason);
  }

  /** Writes what waits, for `timeToWrite` ms at least, and closes all connections in peace. */
  async finish(cause: ClosedError, timeToWrite: number): Promise<void> {
    this.#cause = cause;
    const connections = [...this.#connections];
    for (const connection of connections) connection.finish(cause, FINISH_TIMEOUT, timeToWrite);
    await Promise.all(connections.map(({ closed }) => closed));
  }
}
