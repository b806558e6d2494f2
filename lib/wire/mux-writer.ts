import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock } from '../clock/clock.js';
import { ClosedError } from '../errors/drpc-error.js';
import { appendHeader, MAX_HEADER_SIZE } from './frame.js';
import { Slabs } from './slabs.js';
import { DEFAULT_SPLIT_SIZE } from './split.js';
import { TurnWatch } from './turn-watch.js';
import { varintSize, type Uint64 } from './varint.js';

/** Bytes of all streams that may wait for the socket before senders have to wait, by default: 1 MiB. */
export const DEFAULT_WRITER_BUFFER_SIZE = 1024 * 1024;
/** While more than this waits, streams that send much wait their turn, so that small calls stay quick. */
export const DEFAULT_BULK_SIZE = 128 * 1024;
/** Control frames may pass the cap by this much; a peer that leaves more unread has left. */
export const DEFAULT_CONTROL_BUFFER_SIZE = 1024 * 1024;
/** The most that is handed to the socket at once, by default: 128 KiB, two of the largest frames. */
export const DEFAULT_WRITE_SIZE = 2 * DEFAULT_SPLIT_SIZE;
/** Messages of several frames that may be unfinished on the wire at once, by default. */
export const DEFAULT_MAX_UNFINISHED_MESSAGES = 8;

/** A sender that appended no more than this since the last write counts as small. */
const SMALL_SHARE = 16 * 1024;
/** Texts up to this length are encoded without being measured first. */
const UNMEASURED_TEXT = 1024;

/** A stream as the writer sees it: something that wants to append when its turn comes. */
export interface Sender {
  /** Appends some of what waits; answers whether more could be appended if there were room. */
  pump(): boolean;
}

/** Something whose frames add up while they wait and pass the cap (window updates). */
export interface ControlSender {
  /** Appends them. */
  appendControl(): void;
}

export interface MuxWriterOptions {
  clock: Clock;
  /** Told once, with Node's error, when the socket refuses a write. */
  onError: (error: Error) => void;
  /** Bytes that may wait, see {@link DEFAULT_WRITER_BUFFER_SIZE}. */
  bufferSize?: number;
  bulkSize?: number;
  controlBufferSize?: number;
  /** Bytes of a write, see {@link DEFAULT_WRITE_SIZE}; a frame that is larger goes out by itself. */
  writeSize?: number;
  maxUnfinishedMessages?: number;
}

/**
 * The one writer of a connection. Frames are appended to a slab; everything that was appended in a turn
 * goes to the socket in one bounded write, and what is appended during that write is the next one. In a
 * long turn what was appended goes out before its end: the first calls of a burst do not wait for the last.
 *
 *     append -> [ slab being filled ] -> [ full slabs ] -> [ slab at the socket ]   one at a time
 *                \________ pending: at most bufferSize ____/
 *
 * Senders that find no room stand in a ring and take turns. A slab is used again only after its write's
 * callback. The drain loop's only voice is `onError`; health is judged by the reader.
 */
export class MuxWriter {
  readonly #duplex: Duplex;
  readonly #clock: Clock;
  readonly #onError: (error: Error) => void;
  readonly #bufferSize: number;
  readonly #bulkSize: number;
  readonly #controlBufferSize: number;
  readonly #maxUnfinishedMessages: number;
  /** What is appended; a write is one slab at most. */
  readonly #slabs: Slabs;
  #inFlight: Buffer | undefined;
  #inFlightBytes = 0;

  #scheduled = false;
  /** Whether the duplex calls nobody while it takes a write, as sockets do: writes are safe at any time then. */
  readonly #isSocket: boolean;
  readonly #turn: TurnWatch;
  /** What is appended now is going to be written anyway. */
  #isWriting = false;
  /** Writes that have not been answered. */
  #unanswered = 0;
  /** Writing goes on when the event loop has had its turn. */
  #isYielding = false;
  #stopCause: Error | undefined;
  #failed = false;
  #isOverflowing = false;
  /** Counts writes, so that senders know what they appended since the last one. */
  #batch = 0;
  #handedOver = 0;

  /** Senders that wait for room, in the order of their turns. */
  readonly #ready = new Set<Sender>();
  readonly #controls = new Set<ControlSender>();
  #unfinishedMessages = 0;
  /** Senders that wait for a place for a message of several frames. */
  readonly #longWaiters = new Set<Sender>();
  #drainWaiters: (() => void)[] = [];

  readonly #flush = (): void => {
    this.#scheduled = false;
    this.#write();
  };

  /** The event loop has had its turn. */
  readonly #nextTurn = (): void => {
    this.turnBegan();
  };

  readonly #written = (error?: Error | null): void => {
    // Of several writes the last one counts: they are answered in their order.
    if (--this.#unanswered > 0 && !error) return;
    const slab = this.#inFlight;
    this.#inFlight = undefined;
    this.#inFlightBytes = 0;
    if (error) return this.#fail(error);
    if (this.#stopCause) return;
    if (slab) this.#slabs.giveBack(slab);
    if (this.#isTurnOver()) {
      this.#scheduled = true;
      this.#isYielding = true;
      this.#clock.yield(this.#nextTurn);
      return;
    }
    this.#pump();
    this.#write();
  };

  constructor(duplex: Duplex, options: MuxWriterOptions) {
    this.#duplex = duplex;
    this.#isSocket = duplex instanceof Socket;
    this.#clock = options.clock;
    this.#turn = new TurnWatch(options.clock);
    this.#onError = options.onError;
    this.#bufferSize = options.bufferSize ?? DEFAULT_WRITER_BUFFER_SIZE;
    this.#bulkSize = Math.min(options.bulkSize ?? DEFAULT_BULK_SIZE, this.#bufferSize);
    this.#controlBufferSize = options.controlBufferSize ?? DEFAULT_CONTROL_BUFFER_SIZE;
    this.#maxUnfinishedMessages = options.maxUnfinishedMessages ?? DEFAULT_MAX_UNFINISHED_MESSAGES;
    // Two of the largest frames fit with their headers.
    this.#slabs = new Slabs((options.writeSize ?? DEFAULT_WRITE_SIZE) + 2 * MAX_HEADER_SIZE);
  }

  /** Bytes appended and not yet handed to the socket. */
  get pending(): number {
    return this.#slabs.pending;
  }

  /** Bytes at the socket whose write has not been answered. */
  get inFlight(): number {
    return this.#inFlightBytes;
  }

  /** Bytes appended since the beginning: where a frame stands in the order of the wire. */
  get appended(): number {
    return this.#handedOver + this.pending;
  }

  /** Bytes handed to the socket since the beginning. What was appended beyond was never sent. */
  get handedOver(): number {
    return this.#handedOver;
  }

  /** Senders that wait for room. */
  get waiting(): number {
    return this.#ready.size + this.#longWaiters.size;
  }

  /** Changes with every write; what a sender appended before belongs to an earlier share. */
  get batch(): number {
    return this.#batch;
  }

  get stopCause(): Error | undefined {
    return this.#stopCause;
  }

  /** Whether all senders have to wait. */
  get isFull(): boolean {
    return this.pending >= this.#bufferSize;
  }

  /**
   * Whether a sender that appended `share` bytes in this {@link batch} may append now: little senders as
   * long as there is room at all, great ones only while little waits.
   */
  admits(share: number): boolean {
    const { pending } = this.#slabs;
    return pending < this.#bulkSize || (share < SMALL_SHARE && pending < this.#bufferSize);
  }

  /** Lets `sender` append when its turn comes. */
  enqueue(sender: Sender): void {
    this.#ready.add(sender);
    this.#schedule();
  }

  /** Takes a place for a message of several frames; false: the sender is called when there is one. */
  beginMessage(sender: Sender): boolean {
    if (this.#unfinishedMessages >= this.#maxUnfinishedMessages) {
      this.#longWaiters.add(sender);
      return false;
    }
    this.#unfinishedMessages++;
    return true;
  }

  /** Gives the place back that {@link beginMessage} took. */
  endMessage(): void {
    this.#unfinishedMessages--;
    this.#offerPlace();
  }

  /** Lets `sender` append its adding-up control frame before the next write. */
  enqueueControl(sender: ControlSender): void {
    this.#controls.add(sender);
    this.#schedule();
  }

  /** Forgets a sender that has ended. */
  remove(sender: Sender): void {
    if (this.#ready.size > 0) this.#ready.delete(sender);
    if (this.#longWaiters.size > 0) this.#longWaiters.delete(sender);
    this.#offerPlace();
  }

  /** The same for one that was to append a control frame. */
  removeControl(sender: ControlSender): void {
    this.#controls.delete(sender);
  }

  /**
   * Appends one frame whose data is `data[start, end)`, which is copied. Never waits: senders ask
   * {@link admits} first, control frames do not.
   */
  frame(
    first: number,
    streamId: Uint64,
    messageId: Uint64,
    data: Uint8Array | undefined,
    start: number,
    end: number,
  ): void {
    if (this.#stopCause) return;
    const length = end - start;
    const slabs = this.#reserve(MAX_HEADER_SIZE + length);
    const { slab } = slabs;
    const at = appendHeader(slab, slabs.at, first, streamId, messageId, length);
    if (length > 0) copyInto(slab, at, data!, start, end);
    slabs.at = at + length;
    this.#appended();
  }

  /** Appends one frame whose data is `text` in UTF-8, encoded in place. Answers the data's size in bytes. */
  text(first: number, streamId: Uint64, messageId: Uint64, text: string): number {
    if (this.#stopCause) return 0;
    // One byte a character is the guess; only where it proves wrong is anything moved.
    const measured = text.length > UNMEASURED_TEXT;
    const guess = measured ? Buffer.byteLength(text) : text.length;
    const slabs = this.#reserve(MAX_HEADER_SIZE + (measured ? guess : guess * 3));
    const { slab, at: begin } = slabs;
    const at = appendHeader(slab, begin, first, streamId, messageId, guess);
    let length = guess;
    if (guess > 0) {
      length = slab.write(text, at);
      if (length !== guess) {
        const moved = varintSize(length) - varintSize(guess);
        if (moved !== 0) slab.copyWithin(at + moved, at, at + length);
        slabs.at = appendHeader(slab, begin, first, streamId, messageId, length) + length;
      } else slabs.at = at + length;
    } else slabs.at = at;
    this.#appended();
    return length;
  }

  /** Puts `bytes` in front of everything: the preamble of a connection. */
  prefix(bytes: Uint8Array): void {
    const slabs = this.#reserve(bytes.length);
    slabs.slab.set(bytes, slabs.at);
    slabs.at += bytes.length;
    this.#schedule();
  }

  /**
   * Says that the event loop has come round, as a chunk that was read shows: writing may go on at once. Reading
   * many chunks in a row would hold it up until the last of them was handled.
   */
  turnBegan(): void {
    this.#turn.began();
    if (!this.#isYielding) return;
    this.#isYielding = false;
    this.#clock.soon(this.#flush);
  }

  /** Calls `task` once everything appended so far, and all that waits, has been written (or the writer stopped). */
  whenDrained(task: () => void): void {
    if (this.#stopCause || this.#isDrained()) task();
    else this.#drainWaiters.push(task);
  }

  /**
   * Ends the writer: what is pending is discarded, appending does nothing from now on. The first cause
   * counts. Never blocks and may be called from `onError`.
   */
  stop(cause: Error): void {
    if (this.#stopCause) return;
    this.#stopCause = cause;
    this.#slabs.clear();
    this.#ready.clear();
    this.#controls.clear();
    this.#longWaiters.clear();
    this.#tellDrained();
  }

  /** Also when a sender ended to whom a place had been offered. */
  #offerPlace(): void {
    if (this.#longWaiters.size === 0 || this.#unfinishedMessages >= this.#maxUnfinishedMessages) return;
    this.enqueue(takeFirst(this.#longWaiters));
  }

  #isDrained(): boolean {
    return this.pending === 0 && !this.#inFlight && this.waiting === 0 && this.#controls.size === 0;
  }

  #tellDrained(): void {
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const task of waiters) task();
  }

  /** A frame was appended: it is written at the end of the turn, or before if that is long in coming. */
  #appended(): void {
    if (!this.#scheduled) this.#schedule();
    if (this.#isSocket && this.#turn.appended() && !this.#isWriting && !this.#isYielding) this.#writeEarly();
  }

  /** Writes, and calls nobody: whoever appends here is in the middle of something. */
  #writeEarly(): void {
    if (this.#inFlight) {
      if (this.#duplex.writableLength > 0) return;
      // The kernel has it all; only the callback is still to come.
      this.#slabs.giveBack(this.#inFlight);
    }
    this.#writeBatch();
  }

  #schedule(): void {
    if (this.#scheduled || this.#inFlight || this.#stopCause) return;
    this.#scheduled = true;
    this.#clock.soon(this.#flush);
  }

  /**
   * A socket that takes all at once answers in the same turn, and who waits for room sends again: nothing would
   * be read, and no small call begin, until the window is used up.
   */
  #isTurnOver(): boolean {
    return (this.pending > 0 || this.#ready.size > 0) && this.#turn.isOver();
  }

  /** Makes `size` bytes free in the slab being filled. */
  #reserve(size: number): Slabs {
    const slabs = this.#slabs;
    if (slabs.reserve(size) && !this.#isOverflowing && this.#isOverflow()) {
      // Whoever appends here is in the middle of something: the connection ends when that is done.
      this.#isOverflowing = true;
      this.#clock.soon(() => this.#checkOverflow());
    }
    return slabs;
  }

  #write(): void {
    if (this.#inFlight || this.#stopCause) return;
    this.#isWriting = true;
    if (this.#controls.size > 0) this.#appendControls();
    if (this.#ready.size > 0) this.#pump();
    const hasMore = this.pending > 0;
    if (hasMore) {
      this.#writeBatch();
      if (this.#ready.size > 0) this.#pump();
    }
    this.#isWriting = false;
    if (!hasMore && this.#drainWaiters.length > 0 && this.#isDrained()) this.#tellDrained();
  }

  #writeBatch(): void {
    const { slab, length } = this.#slabs.take();
    this.#inFlight = slab;
    this.#inFlightBytes = length;
    this.#handedOver += length;
    this.#batch++;
    this.#turn.written();
    this.#unanswered++;
    this.#duplex.write(length === slab.length ? slab : slab.subarray(0, length), this.#written);
  }

  #appendControls(): void {
    for (const sender of this.#controls) sender.appendControl();
    this.#controls.clear();
  }

  /** Lets waiting senders append in turns while there is room for great ones. */
  #pump(): void {
    const ready = this.#ready;
    while (ready.size > 0 && this.pending < this.#bulkSize && !this.#stopCause) {
      const sender = takeFirst(ready);
      if (sender.pump()) ready.add(sender);
    }
  }

  /** Whether so much waits that only control frames can have brought it there. */
  #isOverflow(): boolean {
    return this.pending > this.#bufferSize + this.#controlBufferSize;
  }

  #checkOverflow(): void {
    this.#isOverflowing = false;
    if (!this.#isOverflow()) return;
    const limit = this.#bufferSize + this.#controlBufferSize;
    this.#fail(
      new ClosedError(
        `${this.pending} bytes wait for a peer that does not read: at most ${limit} may, control frames included`,
      ),
    );
  }

  #fail(error: Error): void {
    if (this.#failed || this.#stopCause) return;
    this.#failed = true;
    this.#onError(error);
    this.stop(error);
  }
}

/** Copies a range without making a view for small ones. */
function copyInto(target: Buffer, at: number, data: Uint8Array, start: number, end: number): void {
  if (end - start <= 16) {
    for (let i = start; i < end; i++) target[at++] = data[i]!;
  } else if (start === 0 && end === data.length) {
    target.set(data, at);
  } else if (Buffer.isBuffer(data)) {
    data.copy(target, at, start, end);
  } else {
    target.set(data.subarray(start, end), at);
  }
}

function takeFirst(senders: Set<Sender>): Sender {
  const [first] = senders;
  senders.delete(first!);
  return first!;
}
