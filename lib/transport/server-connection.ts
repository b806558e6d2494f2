import type { Duplex } from 'node:stream';
import { PeerServer, type PeerServerOptions } from '../control/peer-server.js';
import type { DrpcError } from '../errors/drpc-error.js';
import type { Stream } from '../stream/stream.js';
import { DrpcPeer } from './drpc-peer.js';

export interface ConnectionHooks {
  accept(stream: Stream, peer: DrpcPeer): void;
  terminated(connection: ServerConnection, cause: Error): void;
  failed(stream: Stream, error: unknown): void;
  overloaded(connection: ServerConnection, error: DrpcError): void;
}

/** One client of the server. */
export class ServerConnection {
  readonly peer: DrpcPeer;
  readonly #server: PeerServer;

  constructor(id: number, duplex: Duplex, options: PeerServerOptions, hooks: ConnectionHooks) {
    const peer = new DrpcPeer(id, duplex);
    this.peer = peer;
    this.#server = new PeerServer(duplex, options, {
      accept: (stream) => hooks.accept(stream, peer),
      terminated: (cause) => hooks.terminated(this, cause),
      failed: (stream, error) => hooks.failed(stream, error),
      overloaded: (error) => hooks.overloaded(this, error),
    });
  }

  /** Resolves when the socket is closed. */
  get closed(): Promise<Error> {
    return this.#server.manager.closed;
  }

  /** Takes no more calls; those that were taken go on. */
  drain(reason: string): void {
    this.#server.drain(reason);
  }

  /** Writes what waits and closes in peace; see {@link Manager.finish}. */
  finish(cause: Error, timeout: number, timeToWrite: number): void {
    this.#server.manager.finish(cause, timeout, timeToWrite);
  }
}
