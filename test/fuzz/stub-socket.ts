import { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';

import type { VirtualClock } from '../simulation/virtual-clock.js';

/**
 * What a Manager needs of a socket and no more, all in one turn: what it writes is kept, what is fed arrives
 * at once unless it paused. Faster than a Duplex, and every step is the caller's.
 */
export class StubSocket extends EventEmitter {
  readonly written: Buffer[] = [];
  isPaused = false;
  destroyed = false;
  readonly #clock: VirtualClock;
  #unread: Buffer[] = [];

  constructor(clock: VirtualClock) {
    super();
    this.#clock = clock;
  }

  /** The stub as what it stands for. */
  get duplex(): Duplex {
    return this as unknown as Duplex;
  }

  /** Gives `chunk`, in memory that is overwritten once it was read. */
  feed(chunk: Buffer): void {
    this.#unread.push(chunk);
    this.#flow();
  }

  /** Runs everything that waits, until nothing moves by itself any more; timers stay set. */
  settle(): void {
    while (this.#clock.endTurn() || this.#clock.runYielded() || this.#flow());
  }

  write(bytes: Uint8Array, written: (error?: Error | null) => void): boolean {
    this.written.push(Buffer.from(bytes));
    this.#clock.soon(() => written(this.destroyed ? new Error('destroyed') : null));
    return true;
  }

  end(): void {
    this.emit('finish');
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.#clock.soon(() => this.emit('close'));
  }

  #flow(): boolean {
    let hasFlowed = false;
    while (this.#unread.length > 0 && !this.isPaused && !this.destroyed) {
      const chunk = Buffer.from(this.#unread.shift()!);
      this.emit('data', chunk);
      chunk.fill(0xaa);
      hasFlowed = true;
    }
    return hasFlowed;
  }
}
