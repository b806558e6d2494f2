import type { Duplex } from 'node:stream';
import type { Timer } from '../clock/clock.js';
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

/** Settings of one connection. Times in milliseconds. */
export interface ServerConnectionOptions extends PeerServerOptions {
  /** How old it may become; 0: as old as its client wants. Default: 0. */
  maxConnectionAge?: number | undefined;
}

/** An age lies within so much of what was asked for: clients that came together do not all come back together. */
const AGE_SPREAD = 0.1;

/** One client of the server. */
export class ServerConnection {
  readonly peer: DrpcPeer;
  readonly #server: PeerServer;
  /** Until it is old. */
  #ageTimer: Timer | undefined;

  constructor(id: number, duplex: Duplex, options: ServerConnectionOptions, hooks: ConnectionHooks) {
    const peer = new DrpcPeer(id, duplex);
    this.peer = peer;
    const { maxConnectionAge = 0, ...own } = options;
    this.#server = new PeerServer(duplex, own, {
      accept: (stream) => hooks.accept(stream, peer),
      terminated: (cause) => {
        this.#ageTimer?.cancel();
        hooks.terminated(this, cause);
      },
      failed: (stream, error) => hooks.failed(stream, error),
      overloaded: (error) => hooks.overloaded(this, error),
      // Not before: whoever is not known yet can not be asked to go, and nobody else ever is.
      ownPeer: () => {
        if (maxConnectionAge > 0) this.#retireAt(maxConnectionAge);
      },
    });
  }

  /** Resolves when the socket is closed. */
  get closed(): Promise<Error> {
    return this.#server.manager.closed;
  }

  /**
   * Asks the client to make its next calls elsewhere; resolves when it has heard of it, at once where it is none of this
   * library. Those that it sends meanwhile are taken.
   */
  async retire(reason: string): Promise<void> {
    const obeyed = new Promise<void>((resolve) => this.#server.retire(reason, resolve));
    await Promise.race([obeyed, this.closed]);
  }

  /** Takes no more calls; those that were taken go on. */
  drain(reason: string): void {
    this.#server.drain(reason);
  }

  /** Writes what waits and closes in peace; see {@link Manager.finish}. */
  finish(cause: Error, timeout: number, timeToWrite: number): void {
    this.#server.manager.finish(cause, timeout, timeToWrite);
  }

  #retireAt(age: number): void {
    const { manager } = this.#server;
    const spread = 1 - AGE_SPREAD + 2 * AGE_SPREAD * Math.random();
    this.#ageTimer = manager.clock.after(age * spread, () => {
      this.#server.retire('the connection has reached maxConnectionAge');
    });
  }
}
