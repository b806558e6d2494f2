import type { AddressInfo } from 'node:net';
import type { DrpcError } from '../errors/drpc-error.js';
import { unknownName } from '../errors/unknown-name.js';
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
  /** A limit ended a call with this error, of code 8, or kept it from beginning; `peer` where that counts for one. */
  overload: (error: DrpcError, peer: DrpcPeer | undefined) => void;
  /** It has closed. */
  close: () => void;
};

const EVENTS = Object.keys({
  listening: true,
  connection: true,
  disconnect: true,
  error: true,
  overload: true,
  close: true,
} satisfies Record<keyof DrpcServerEvents, true>);

/** Nest's `app.on()` takes any name. @throws TypeError for an event that there is not. */
export function assertServerEvent(event: string): void {
  if (!EVENTS.includes(event)) throw new TypeError(unknownName('event', String(event), EVENTS));
}
