import type { AddressInfo } from 'node:net';
import type { DrpcPeer } from './drpc-peer.js';

/** What a {@link DrpcServer} tells with `on`. */
export type DrpcServerEvents = {
  /** It listens, here. */
  listening: (address: AddressInfo | string | null) => void;
  /** A client has connected. */
  connection: (peer: DrpcPeer) => void;
  /** The connection of a client has ended, for this cause. */
  disconnect: (peer: DrpcPeer, cause: Error) => void;
  /** Something went wrong outside of any call: a handshake, the listening socket, a connection's protocol. */
  error: (error: Error) => void;
  /** It has closed. */
  close: () => void;
};
