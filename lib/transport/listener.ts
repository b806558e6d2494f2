import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';

/** What a listener tells. */
export interface ListenerHooks {
  /** A client has connected; the duplex is the server's from now on. */
  connection(duplex: Duplex): void;
  /** Something went wrong with a connection before it was one, or with the listener while it listens. */
  error(error: Error): void;
}

/** Where a server's connections come from. */
export interface DrpcListener {
  /** Begins to accept connections; rejects when it can not. */
  listen(hooks: ListenerHooks): Promise<void>;
  /** Where it listens: an address, the path of a unix socket, or nothing that has a name. */
  address(): AddressInfo | string | null;
  /** Accepts no more connections; those that were accepted live on. May be called again. */
  stop(): void;
  /** The same, and ends what is left; resolves when nothing is. May be called again, and later `listen`. */
  close(): Promise<void>;
  /** The object behind it, such as a `net.Server`. */
  unwrap?(): unknown;
}
