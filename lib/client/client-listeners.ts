import type { DrpcError } from '../errors/drpc-error.js';
import { typeName } from '../errors/type-name.js';
import { unknownName } from '../errors/unknown-name.js';

/** What a client tells those who listen with `on()`. */
export interface DrpcClientEvents {
  /** A server has been reached. */
  connect: () => void;
  /** The last connection is gone; without an error when the client was closed. */
  disconnect: (error: DrpcError | undefined) => void;
  /** An attempt to connect again has begun. */
  reconnecting: () => void;
  /** A connection could not be made, or one of several was lost. */
  error: (error: DrpcError) => void;
}

/** Those who listen to a client. They need not: no event is lost work, and none is thrown at anybody. */
export class ClientListeners {
  readonly #failed: (event: keyof DrpcClientEvents, error: unknown) => void;
  readonly #listeners: { [E in keyof DrpcClientEvents]: Set<DrpcClientEvents[E]> } = {
    connect: new Set(),
    disconnect: new Set(),
    reconnecting: new Set(),
    error: new Set(),
  };

  /** @param failed told of a listener that threw */
  constructor(failed: (event: keyof DrpcClientEvents, error: unknown) => void) {
    this.#failed = failed;
  }

  /** @throws TypeError for an event that there is not, and for a listener that is none. */
  add<E extends keyof DrpcClientEvents>(event: E, listener: DrpcClientEvents[E]): void {
    const known = Object.keys(this.#listeners);
    if (!known.includes(event)) throw new TypeError(unknownName('event', String(event), known));
    if (typeof listener !== 'function') {
      throw new TypeError(`the listener of "${event}" is ${typeName(listener)}: must be a function`);
    }
    this.#listeners[event].add(listener);
  }

  tell<E extends keyof DrpcClientEvents>(event: E, ...args: Parameters<DrpcClientEvents[E]>): void {
    for (const listener of this.#listeners[event]) {
      try {
        (listener as (...args: Parameters<DrpcClientEvents[E]>) => void)(...args);
      } catch (error) {
        this.#failed(event, error);
      }
    }
  }
}
