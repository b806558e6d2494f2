import { Duplex } from 'node:stream';

import type { Timer } from '../../lib/clock/clock.js';
import { Random } from './random.js';
import type { VirtualClock } from './virtual-clock.js';

/** How one direction of a link behaves. Sizes in bytes, times in ms. */
export interface Weather {
  latency: number;
  /** Up to this much is added to each segment's latency; the order stays. */
  jitter: number;
  /** What was written arrives in pieces of up to this size. */
  segment: number;
  /** Bytes per ms. */
  bandwidth: number;
  /** What the system buffers between the two ends before a write has to wait. */
  buffer: number;
}

/** Sees the bytes of a direction: when they are written, and when they reach the socket of the other end. */
export interface Witness {
  written(bytes: Buffer): void;
  arrived(bytes: Buffer): void;
}

interface PendingWrite {
  chunk: Buffer;
  copy: Buffer;
  written: (error?: Error | null) => void;
}

/** One direction: what the system does between a write at one end and a read at the other. */
class Direction {
  readonly #clock: VirtualClock;
  readonly #random: Random;
  readonly #weather: Weather;
  readonly #witness: Witness;
  readonly #timers = new Set<Timer>();
  #reader!: SimulatedSocket;
  /** Bytes taken from the writer and not read yet. */
  #buffered = 0;
  #waiting: PendingWrite | undefined;
  /** What is between the ends, in order; an entry without a piece is the end. */
  #underWay: { at: number; piece: Buffer | undefined }[] = [];
  /** Where the next one stands. */
  #head = 0;
  #lastArrival = 0;
  #stalledUntil = 0;
  #isBlack = false;
  #isCut = false;

  constructor(clock: VirtualClock, random: Random, weather: Weather, witness: Witness) {
    this.#clock = clock;
    this.#random = random;
    this.#weather = weather;
    this.#witness = witness;
  }

  joinTo(reader: SimulatedSocket): void {
    this.#reader = reader;
  }

  /** Takes `chunk`, at once or when there is room; it must not change until `written` is called. */
  write(chunk: Buffer, written: (error?: Error | null) => void): void {
    this.#witness.written(chunk);
    this.#waiting = { chunk, copy: Buffer.from(chunk), written };
    this.#accept();
  }

  end(): void {
    this.#send(undefined);
  }

  /** Delivers nothing for `ms`. */
  stall(ms: number): void {
    this.#stalledUntil = Math.max(this.#stalledUntil, this.#clock.now() + ms);
  }

  /** Delivers nothing any more, and tells nobody. */
  blacken(): void {
    this.#isBlack = true;
  }

  /** The writer was reset: what is under way is lost. */
  cut(): void {
    this.#isCut = true;
    this.#waiting = undefined;
    this.#underWay = [];
    this.#head = 0;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  /** `size` bytes were read. */
  release(size: number): void {
    this.#buffered -= size;
    this.#accept();
  }

  /** Tells the reader that its peer is gone, `ms` from now. */
  sendReset(code: string): void {
    this.#after(this.#weather.latency, () => this.#reader.reset(code));
  }

  #accept(): void {
    const write = this.#waiting;
    if (!write || this.#buffered >= this.#weather.buffer) return;
    this.#waiting = undefined;
    const { chunk, copy, written } = write;
    if (!chunk.equals(copy)) throw new Error('bytes changed between write and its callback');
    this.#buffered += copy.length;
    const { segment } = this.#weather;
    for (let at = 0; at < copy.length;) {
      const size = segment === 1 ? 1 : this.#random.int(1, segment);
      this.#send(copy.subarray(at, at + size));
      at += size;
    }
    this.#after(0, () => written());
  }

  /** Puts a piece, or the end, on its way behind everything before. */
  #send(piece: Buffer | undefined): void {
    if (this.#isCut) return;
    const { latency, jitter, bandwidth } = this.#weather;
    const size = piece ? piece.length : 0;
    const earliest = this.#clock.now() + latency + this.#random.int(0, jitter);
    this.#lastArrival = Math.max(earliest, this.#lastArrival) + size / bandwidth;
    this.#underWay.push({ at: this.#lastArrival, piece });
    if (this.#underWay.length - this.#head === 1) this.#deliverAt(this.#lastArrival);
  }

  #deliverAt(time: number): void {
    this.#after(Math.max(time, this.#stalledUntil) - this.#clock.now(), () => this.#deliver());
  }

  /** Delivers the next piece, if nothing keeps it. */
  #deliver(): void {
    const next = this.#underWay[this.#head]!;
    if (this.#stalledUntil > this.#clock.now()) return this.#deliverAt(next.at);
    if (++this.#head < this.#underWay.length) this.#deliverAt(this.#underWay[this.#head]!.at);
    else {
      this.#underWay = [];
      this.#head = 0;
    }
    if (this.#isBlack) return;
    if (next.piece) this.#witness.arrived(next.piece);
    this.#reader.arrive(next.piece);
  }

  #after(ms: number, task: () => void): void {
    if (this.#isCut) return;
    const timer = this.#clock.after(ms, () => {
      this.#timers.delete(timer);
      task();
    });
    this.#timers.add(timer);
  }
}

/** One end of a {@link Link}: behaves as a net.Socket does. */
export class SimulatedSocket extends Duplex {
  readonly #outgoing: Direction;
  readonly #incoming: Direction;
  #unread: (Buffer | undefined)[] = [];
  #isWanted = false;
  #isGone = false;

  constructor(outgoing: Direction, incoming: Direction) {
    super({ allowHalfOpen: false });
    this.#outgoing = outgoing;
    this.#incoming = incoming;
    incoming.joinTo(this);
  }

  /** Something arrived: bytes, or the peer's end. */
  arrive(piece: Buffer | undefined): void {
    if (this.#isGone) {
      // Nobody reads here any more: the system of a closed socket answers what still comes with a reset.
      if (piece) this.#outgoing.sendReset('ECONNRESET');
      return;
    }
    this.#unread.push(piece);
    this.#feed();
  }

  /** The connection is lost, as this end sees it. */
  reset(code: string): void {
    if (this.#isGone) return;
    this.#unread = [];
    this.#outgoing.cut();
    this.destroy(Object.assign(new Error(code), { code }));
  }

  override _read(): void {
    this.#isWanted = true;
    this.#feed();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#outgoing.write(chunk, callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#outgoing.end();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const isUnread = this.#unread.some((piece) => piece);
    this.#isGone = true;
    if (isUnread) this.#outgoing.sendReset('ECONNRESET');
    else if (!error && !this.writableFinished) this.#outgoing.end();
    callback(error);
  }

  #feed(): void {
    while (this.#isWanted && this.#unread.length > 0) {
      const piece = this.#unread.shift();
      if (piece) this.#incoming.release(piece.length);
      this.#isWanted = this.push(piece ? Buffer.from(piece) : null);
    }
  }
}

/** Two sockets and what lies between them. */
export class Link {
  readonly client: SimulatedSocket;
  readonly server: SimulatedSocket;
  /** From the client to the server, and back. */
  readonly up: Direction;
  readonly down: Direction;

  constructor(clock: VirtualClock, random: Random, weather: Weather, up: Witness, down: Witness) {
    this.up = new Direction(clock, random, weather, up);
    this.down = new Direction(clock, random, weather, down);
    this.client = new SimulatedSocket(this.up, this.down);
    this.server = new SimulatedSocket(this.down, this.up);
  }

  /** Both ends lose the connection. */
  reset(code = 'ECONNRESET'): void {
    this.client.reset(code);
    this.server.reset(code);
  }
}
