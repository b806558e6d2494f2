import { ProtocolError } from '../errors/drpc-error.js';
import { FrameHeader, MAX_HEADER_SIZE, MIN_FRAME_SIZE } from './frame.js';
import type { Uint64 } from './varint.js';

/** The largest frame that is accepted by default, in bytes of data: 4 MiB, as in the reference. */
export const DEFAULT_MAXIMUM_BUFFER_SIZE = 4 * 1024 * 1024;

/** Frames with up to this many bytes of data wait until they are whole; of larger ones the pieces go on. */
const HELD_DATA = 4096;
const HELD_SIZE = MAX_HEADER_SIZE + HELD_DATA;

/** Takes the frames of a {@link FrameReader}. */
export interface FrameSink {
  /**
   * Handles a frame whose data is `bytes[start, end)`, both borrowed: good until this call returns.
   *
   * A large frame that arrives in several chunks comes in pieces. By the rules of DRPC a frame is the same
   * as two frames of the same ids that share its data, of which only the last is `done`; so each piece is
   * told as such a frame, with `header.length` counting its own data and all that is still missing.
   */
  handleFrame(header: FrameHeader, bytes: Buffer, start: number, end: number): void;
}

/**
 * Chunks of a connection in, frames out, parsed in place. Keeps at most one small unfinished frame and,
 * after {@link stop}, the rest of the chunk.
 */
export class FrameReader {
  readonly #sink: FrameSink;
  readonly #maximumBufferSize: number;
  readonly #header = new FrameHeader();
  /** The beginning of a frame that is small or whose header is not complete. */
  #held: Buffer | undefined;
  #heldLength = 0;
  /** What is missing of a large frame whose pieces are handed on, and whether it is the last of its packet. */
  #missing = 0;
  #done = false;
  /** Chunks that arrived, or were left, while the reader was stopped. */
  #backlog: Buffer | undefined;
  #stopped = false;
  #closed = false;
  /** Where the frame being handled ends, and how far the bytes behind it are valid. */
  #bytes: Buffer | undefined;
  #next = 0;
  #limit = 0;
  readonly #nextHeader = new FrameHeader();
  #framesEnded = 0;

  constructor(sink: FrameSink, { maximumBufferSize = DEFAULT_MAXIMUM_BUFFER_SIZE } = {}) {
    this.#sink = sink;
    this.#maximumBufferSize = maximumBufferSize;
  }

  /** Whether a frame has begun whose end has not arrived. */
  get isUnfinished(): boolean {
    return this.#heldLength > 0 || this.#missing > 0;
  }

  /** Changes with every whole frame: whether the unfinished one is still the same. */
  get framesEnded(): number {
    return this.#framesEnded;
  }

  /**
   * Whether the bytes behind the frame being handled are a whole, empty frame of `kind` on the same stream;
   * for the sink, while it handles one.
   */
  isNext(kind: number, streamId: Uint64): boolean {
    const bytes = this.#bytes;
    if (!bytes || this.#limit - this.#next < MIN_FRAME_SIZE) return false;
    if (((bytes[this.#next]! >> 1) & 0x3f) !== kind) return false;
    const header = this.#nextHeader;
    try {
      if (header.parse(bytes, this.#next, this.#limit) < 0) return false;
    } catch {
      // What is wrong there counts once the frames before it were handled.
      return false;
    }
    return header.streamId === streamId && header.length === 0 && header.done;
  }

  /** Bytes that wait for {@link resume}. */
  get backlog(): number {
    return this.#backlog?.length ?? 0;
  }

  get isStopped(): boolean {
    return this.#stopped;
  }

  /**
   * Reads `chunk`, which is borrowed: what is needed later is copied.
   * @throws ProtocolError when the bytes can not be frames, or one is over the limit.
   */
  receive(chunk: Buffer): void {
    if (this.#closed) return;
    if (this.#stopped) {
      this.#backlog = this.#backlog ? Buffer.concat([this.#backlog, chunk]) : Buffer.from(chunk);
      return;
    }
    const at = this.#readChunk(chunk);
    if (this.#stopped && at < chunk.length && !this.#closed) this.#backlog = Buffer.from(chunk.subarray(at));
  }

  /** Reads frames until the chunk is used up, or somebody stops it; answers how far it came. */
  #readChunk(chunk: Buffer): number {
    let at = 0;
    if (this.#heldLength > 0) at = this.#continueHeld(chunk);
    // Also when the held bytes turned out to be the header of a large frame.
    if (this.#missing > 0 && !this.#stopped) at = this.#continuePieces(chunk, at);
    while (at < chunk.length && !this.#stopped) {
      const next = this.#readFrame(chunk, at, chunk.length);
      if (next < 0) {
        this.#hold(chunk, at);
        at = chunk.length;
      } else at = next;
    }
    // An idle connection keeps no chunk alive.
    this.#bytes = undefined;
    return at;
  }

  /** Lets no further frame out until {@link resume}; may be called by the sink while it handles one. */
  stop(): void {
    this.#stopped = true;
  }

  /** Reads nothing more and forgets what was left. */
  close(): void {
    this.#stopped = true;
    this.#closed = true;
    this.#backlog = undefined;
    this.#held = undefined;
    this.#heldLength = 0;
    this.#missing = 0;
    this.#bytes = undefined;
  }

  /** Goes on with what was left. */
  resume(): void {
    if (this.#closed) return;
    this.#stopped = false;
    const backlog = this.#backlog;
    if (!backlog) return;
    this.#backlog = undefined;
    const at = this.#readChunk(backlog);
    // The rest is ours already: a receiver that takes one message at a time must not have it copied each time.
    if (this.#stopped && at < backlog.length && !this.#closed) this.#backlog = backlog.subarray(at);
  }

  /** Reads one frame, or the first piece of it; answers where the next begins, or -1 when it must be held. */
  #readFrame(bytes: Buffer, at: number, end: number): number {
    const header = this.#header;
    const start = header.parse(bytes, at, end);
    if (start < 0) return -1;
    const length = header.length;
    if (length > this.#maximumBufferSize) {
      throw new ProtocolError(
        `frame of ${length} bytes exceeds maximumBufferSize ${this.#maximumBufferSize}`,
      );
    }
    const stop = start + length;
    if (stop <= end) {
      this.#framesEnded++;
      this.#bytes = bytes;
      this.#next = stop;
      this.#limit = end;
      this.#sink.handleFrame(header, bytes, start, stop);
      return stop;
    }
    if (length <= HELD_DATA) return -1;
    this.#missing = length;
    this.#done = header.done;
    return this.#continuePieces(bytes, start, end);
  }

  /** Hands the next piece of a large frame on. */
  #continuePieces(bytes: Buffer, at: number, end = bytes.length): number {
    const header = this.#header;
    const stop = Math.min(end, at + this.#missing);
    if (stop === at) return at;
    header.length = this.#missing;
    this.#missing -= stop - at;
    if (this.#missing === 0) this.#framesEnded++;
    this.#bytes = bytes;
    this.#next = stop;
    this.#limit = end;
    header.done = this.#done && this.#missing === 0;
    this.#sink.handleFrame(header, bytes, at, stop);
    return stop;
  }

  /** Completes the held frame with the beginning of `chunk`; answers where the chunk's own frames begin. */
  #continueHeld(chunk: Buffer): number {
    const held = this.#held!;
    const before = this.#heldLength;
    const total = before + chunk.copy(held, before, 0, HELD_SIZE - before);
    this.#heldLength = 0;
    const next = this.#readFrame(held, 0, total);
    if (next < 0) {
      this.#heldLength = total;
      return chunk.length;
    }
    return next - before;
  }

  #hold(chunk: Buffer, at: number): void {
    this.#held ??= Buffer.allocUnsafeSlow(HELD_SIZE);
    this.#heldLength = chunk.copy(this.#held, 0, at);
  }
}
