import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../clock/clock.js';
import { DrpcCode } from '../errors/codes.js';
import { ClosedError, DrpcError, ProtocolError } from '../errors/drpc-error.js';
import type { Stream } from '../stream/stream.js';
import { FrameReader, type FrameSink } from '../wire/frame-reader.js';
import type { Uint64 } from '../wire/varint.js';
import { refuseForeign, type Greeting } from './greeting.js';

/** Bounds of a connection's reading: bytes and milliseconds. */
export interface ReadingLimits {
  maximumBufferSize: number;
  frameTimeout: number;
  stallTimeout: number;
}

/** What {@link Reading} needs of its connection: it takes the frames, and the end of reading. */
export interface ReadingOwner extends FrameSink {
  readonly clock: Clock;
  /** A limit ended a stream with this error. */
  overloaded(error: DrpcError): void;
  /** What was read, or how it came, is wrong: the connection must end. */
  readingFailed(error: DrpcError): void;
  /** All that the peer sent before its end has been handled. */
  readingEnded(): void;
}

/**
 * The reading of one connection: chunks to frames, standing still while a queue is full or the writer behind,
 * turns for other connections, and a watch over half frames.
 *
 *     receive -> greeting (once) -> FrameReader -> owner.handleFrame
 *                                       ^
 *        pause / unpause, counted; the socket is paused and resumed with the first and the last
 */
export class Reading {
  readonly #duplex: Duplex;
  readonly #owner: ReadingOwner;
  readonly #limits: ReadingLimits;
  readonly #reader: FrameReader;
  #greeting: Greeting | undefined;

  #chunks = 0;
  #isReading = false;
  #isEnded = false;
  #isClosed = false;

  /** Why reading stands still: streams with full queues, and one for each other reason. */
  #pauses = 0;
  readonly #stalls = new Map<Stream, Timer>();

  #frameTimer: Timer | undefined;
  #frameSince = 0;
  #frameNumber = -1;
  #pausedAt = 0;

  /** @param greeting what the first bytes must be; `undefined`: frames */
  constructor(duplex: Duplex, owner: ReadingOwner, limits: ReadingLimits, greeting: Greeting | undefined) {
    this.#duplex = duplex;
    this.#owner = owner;
    this.#limits = limits;
    this.#greeting = greeting;
    this.#reader = new FrameReader(owner, { maximumBufferSize: limits.maximumBufferSize });
  }

  /** Chunks received so far: any of them is a sign of life. */
  get chunks(): number {
    return this.#chunks;
  }

  /** Whether reading stands still because of us: silence says nothing about the peer then. */
  get isPaused(): boolean {
    return this.#pauses > 0;
  }

  /** Handles a chunk, borrowed until the call returns. */
  receive(chunk: Buffer): void {
    if (this.#isClosed) return;
    this.#chunks++;
    this.#read(chunk);
  }

  /** Handles the peer's end: what arrived before is still handled. */
  receiveEnd(): void {
    this.#isEnded = true;
    this.#endIfRead();
  }

  /** Reads nothing more and forgets what was left. */
  close(): void {
    this.#isClosed = true;
    this.#reader.close();
    this.#frameTimer?.cancel();
    for (const timer of this.#stalls.values()) timer.cancel();
    this.#stalls.clear();
  }

  /** Whether a whole, empty frame of `kind` on `streamId` follows the frame being handled. */
  isNext(kind: number, streamId: Uint64): boolean {
    return this.#reader.isNext(kind, streamId);
  }

  /** Lets other connections and timers have a turn. */
  yield(): void {
    this.pause();
    this.#owner.clock.yield(() => this.unpause());
  }

  /** Lets no frame through, and the socket fill up, until {@link unpause} was called as often. */
  pause(): void {
    if (this.#pauses++ > 0) return;
    this.#reader.stop();
    this.#duplex.pause();
    this.#frameTimer?.cancel();
    this.#frameTimer = undefined;
    this.#pausedAt = this.#owner.clock.now();
  }

  unpause(): void {
    if (--this.#pauses > 0 || this.#isClosed) return;
    // The clock of half a frame stood still.
    this.#frameSince += this.#owner.clock.now() - this.#pausedAt;
    if (!this.#isReading) this.#read(undefined);
    if (this.#pauses === 0 && !this.#isClosed) this.#duplex.resume();
  }

  /** Pauses until {@link resumeFor}, or until the stream's time is over: it fails then. */
  pauseFor(stream: Stream): void {
    const { stallTimeout } = this.#limits;
    const timer = this.#owner.clock.after(stallTimeout, () => {
      const error = new DrpcError(
        DrpcCode.ResourceExhausted,
        `the receive queue of stream ${stream.id} was full for ${stallTimeout} ms: its receiver does not read`,
      );
      stream.fail(error);
      this.#owner.overloaded(error);
    });
    this.#stalls.set(stream, timer);
    this.pause();
  }

  resumeFor(stream: Stream): void {
    const timer = this.#stalls.get(stream);
    if (!timer) return;
    timer.cancel();
    this.#stalls.delete(stream);
    this.unpause();
  }

  /** Feeds the reader, with a chunk or what it had left, until it is empty or has to stand still. */
  #read(chunk: Buffer | undefined): void {
    this.#isReading = true;
    try {
      if (chunk && this.#greeting) chunk = this.#greet(chunk);
      else if (chunk && this.#chunks === 1) refuseForeign(chunk);
      if (chunk) this.#reader.receive(chunk);
      while (this.#reader.isStopped && this.#pauses === 0 && !this.#isClosed) this.#reader.resume();
    } catch (error) {
      this.#owner.readingFailed(
        error instanceof DrpcError ? error : new ProtocolError('reading failed', { cause: error }),
      );
    }
    this.#isReading = false;
    if (this.#isClosed) return;
    this.#watchFrame();
    this.#endIfRead();
  }

  /** The chunk without what the greeting takes off; `undefined` while more is needed. */
  #greet(chunk: Buffer): Buffer | undefined {
    const skip = this.#greeting!.examine(chunk);
    if (skip < 0) return undefined;
    this.#greeting = undefined;
    this.#frameNumber = -1;
    return skip === 0 ? chunk : chunk.subarray(skip);
  }

  #endIfRead(): void {
    if (this.#isEnded && this.#reader.backlog === 0) this.#owner.readingEnded();
  }

  /** Whether half a frame has arrived, or half a preamble. */
  #isUnfinished(): boolean {
    return this.#reader.isUnfinished || this.#greeting?.isUnfinished === true;
  }

  /** Half a frame may take so long, counted from its first byte. */
  #watchFrame(): void {
    if (!this.#isUnfinished() || this.#pauses > 0) return;
    const number = this.#reader.framesEnded;
    const { clock } = this.#owner;
    if (number !== this.#frameNumber) {
      this.#frameNumber = number;
      this.#frameSince = clock.now();
    }
    const left = this.#frameSince + this.#limits.frameTimeout - clock.now();
    this.#frameTimer ??= clock.after(left, () => this.#checkFrame());
  }

  #checkFrame(): void {
    this.#frameTimer = undefined;
    if (!this.#isUnfinished() || this.#isClosed) return;
    const { frameTimeout } = this.#limits;
    const { clock } = this.#owner;
    const left = this.#frameSince + frameTimeout - clock.now();
    if (left > 0) this.#frameTimer = clock.after(left, () => this.#checkFrame());
    else {
      this.#owner.readingFailed(
        // No fault of the bytes: a network that breaks off in the middle of a frame looks just so.
        new ClosedError(
          `half a frame and no end for ${frameTimeout} ms: a frame must arrive within that time`,
        ),
      );
    }
  }
}
