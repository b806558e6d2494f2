import type { DrpcError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';

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

  /** @throws TypeError for an event that there is not. */
  add<E extends keyof DrpcClientEvents>(event: E, listener: DrpcClientEvents[E]): void {
    const listeners = this.#listeners[event] as Set<DrpcClientEvents[E]> | undefined;
    if (listeners) return void listeners.add(listener);
    const known = Object.keys(this.#listeners).join(', ');
    throw new TypeError(`event "${escapeName(String(event))}" is not known: there are ${known}`);
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
