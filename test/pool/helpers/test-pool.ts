import { jsonEncoding } from '../../../lib/encoding/encoding.js';
import type { Call, CallSpec } from '../../../lib/pool/call.js';
import { formatAddress } from '../../../lib/pool/address.js';
import { ConnectionPool, type PoolHooks, type PoolStatus } from '../../../lib/pool/connection-pool.js';
import type { PoolOptions } from '../../../lib/pool/pool.options.js';
import { onTestFinished } from 'vitest';
import { Observed } from './observed.js';
import type { ServerConnection } from './test-server.js';
import { TestClock } from './test-clock.js';

export interface StartedCall {
  readonly call: Call;
  readonly seen: Observed;
}

/** A pool with a clock of its own, closed at the end of the test. */
export class TestPool {
  readonly clock = new TestClock();
  readonly pool: ConnectionPool;
  readonly statuses: PoolStatus[] = [];
  readonly errors: Error[] = [];
  /** Servers that others stand in for, and why they could not be reached. */
  readonly unreachable: string[] = [];
  readonly plainPeers: unknown[] = [];
  /** Those among them that were only silent. */
  readonly silentPeers: unknown[] = [];
  readonly #onError: (() => void)[] = [];
  readonly #waiting: { status: PoolStatus; resolve: () => void }[] = [];

  constructor(options: PoolOptions, hooks: PoolHooks = {}) {
    this.pool = new ConnectionPool(
      { clock: this.clock, random: () => 0.999_999, ...options },
      {
        status: (status, cause, address) => {
          this.statuses.push(status);
          for (const waiting of this.#waiting.splice(0)) {
            if (waiting.status === status) waiting.resolve();
            else this.#waiting.push(waiting);
          }
          hooks.status?.(status, cause, address);
        },
        error: (error) => {
          this.errors.push(error);
          for (const told of this.#onError.splice(0)) told();
          hooks.error?.(error);
        },
        unreachable: (address, { message }) => {
          this.unreachable.push(`${formatAddress(address)}: ${message}`);
        },
        plainPeer: (address, isSilent) => {
          this.plainPeers.push(address);
          if (isSilent) this.silentPeers.push(address);
        },
      },
    );
    onTestFinished(() => this.pool.close());
  }

  /** Starts a call of one message. */
  start(rpc: string, request: unknown = null, spec: Partial<CallSpec> = {}, demand?: number): StartedCall {
    const seen = new Observed();
    const payload = spec.source ? undefined : jsonEncoding.marshal(request);
    const call = this.pool.call({ rpc, encoding: jsonEncoding, payload, ...spec }, seen, demand);
    return { call, seen };
  }

  /** Makes a call of one message; its answers, or what it failed with. */
  async call(rpc: string, request: unknown = null, spec: Partial<CallSpec> = {}): Promise<unknown> {
    const { seen } = this.start(rpc, request, spec);
    await seen.ended;
    return seen.events;
  }

  /** Resolves when no connection carries a call, or a check after one. */
  async idle(): Promise<void> {
    while (this.pool.connections.some(({ calls }) => calls > 0)) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Resolves at the next error that the pool tells of. */
  nextError(): Promise<void> {
    return new Promise((resolve) => this.#onError.push(resolve));
  }

  /** Lets time pass, a second with each turn of the event loop, until the call has ended. */
  async passUntil(seen: Observed): Promise<void> {
    let isEnded = false;
    void seen.ended.then(() => (isEnded = true));
    while (!isEnded) {
      await new Promise((resolve) => setImmediate(resolve));
      this.clock.advance(1000);
    }
  }

  /** Resolves when so many connections take calls. */
  async all(count: number): Promise<void> {
    while (this.pool.connections.filter(({ isDraining }) => !isDraining).length < count) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Resolves when a connection is open to a server of this kind. */
  async found(profile: string): Promise<void> {
    while (!this.pool.connections.some((connection) => connection.profile === profile)) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Resolves when so many connections are left. */
  async left(count: number): Promise<void> {
    while (this.pool.connections.length > count) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Makes calls that are written to no socket, until their connection dies in {@link loseUnsent}. */
  startUnsent(rpc: string, request: unknown = null, spec: Partial<CallSpec> = {}): StartedCall {
    this.clock.hold();
    return this.start(rpc, request, spec);
  }

  /** The connection of the unsent calls dies. Resolves before there is another one. */
  async loseUnsent(connection: ServerConnection): Promise<void> {
    const lost = this.becomes('disconnected');
    connection.socket.resetAndDestroy();
    await lost;
    this.clock.release();
  }

  /** Resolves at the next change to this status. */
  becomes(status: PoolStatus): Promise<void> {
    return new Promise((resolve) => this.#waiting.push({ status, resolve }));
  }
}
