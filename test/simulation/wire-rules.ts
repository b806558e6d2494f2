import { readSlowly, type SlowFrame } from '../fuzz/slow-frames.js';
import { CONTROL_RPC } from '../../lib/control/control-message.js';
import { isStreamRefused } from '../../lib/errors/error-info.js';
import { CHECK_RPC } from '../../lib/pool/read-check.js';
import { unmarshalError } from '../../lib/wire/error-payload.js';
import type { Witness } from './link.js';

const INVOKE = 1;
const MESSAGE = 2;
const ERROR = 3;
const CANCEL = 4;
const CLOSE = 5;
const CLOSE_SEND = 6;
const METADATA = 7;
const WINDOW_UPDATE = 8;

/** What is agreed between the ends, as the rules need it. Sizes in bytes. */
export interface Agreement {
  /** Whether only connections that begin with the control stream have windows; it has none itself. */
  needsControl: boolean;
  /** Credit of each stream in this direction when it begins; 0: no windows. */
  upWindow: number;
  downWindow: number;
  splitSize: number;
  /** Whether the client's first bytes are the preamble. */
  preamble: boolean;
  /** Told of each call whose Invoke is handed to the socket. */
  invoked?: (rpc: string) => void;
}

/** One direction of one stream. */
class Course {
  next = 1n;
  /** The message of which more frames must follow. */
  unfinished: bigint | undefined;
  isHalfClosed = false;
  isOver = false;
  /**
   * The other end, as this one knows by now, drops what still comes: a message under way is never completed and
   * keeps nothing busy over there, so it takes none of the places.
   */
  isDropped = false;
  credit = 0;
  /** The message of which a frame was seen last. */
  sentOf = 0n;
  /** Bytes of messages so far, and how many of them the other end gave back. */
  sent = 0;
  granted = 0;
  /** Nothing of the stream may stand at or behind this offset: its sender had ended it. */
  endsAt = Infinity;
}

class StreamRules {
  readonly up = new Course();
  readonly down = new Course();
  hasInvoke = false;
  hasWindows = false;
}

/** The frames of one direction, as bytes. */
class Transcript {
  offset = 0;
  /** What was not read yet, how much that is, and how much must be there for it to be a frame. */
  #pieces: Buffer[] = [];
  #size = 0;
  #wanted = 0;
  /** What stands before the frames. */
  #preamble: string;

  constructor(preamble: string) {
    this.#preamble = preamble;
  }

  /** The whole frames, each with the offset at which it begins. */
  read(bytes: Buffer): { frame: SlowFrame; at: number }[] {
    const size = Math.min(this.#preamble.length, bytes.length);
    if (bytes.toString('latin1', 0, size) !== this.#preamble.slice(0, size)) fail('another preamble');
    this.#preamble = this.#preamble.slice(size);
    this.offset += size;
    bytes = bytes.subarray(size);
    this.#pieces.push(Buffer.from(bytes));
    this.#size += bytes.length;
    if (this.#size < this.#wanted) return [];
    const all = this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces);
    const { frames, fault, rest } = readSlowly(all, 1 << 30);
    if (fault) throw new Error(`what was written is no frame: ${fault}`);
    const left = all.subarray(all.length - rest);
    this.#pieces = rest === 0 ? [] : [left];
    this.#size = rest;
    this.#wanted = sizeOfFirst(left);
    return frames.map((frame) => {
      const at = this.offset;
      this.offset += sizeOf(frame);
      return { frame, at };
    });
  }
}

/**
 * Sees both directions of a connection and holds them to the rules of the wire: what a correct peer may
 * send, written down from docs/protocol.md without a look at how it is sent. Throws where one is broken.
 */
export class WireRules {
  readonly up: Witness;
  readonly down: Witness;
  /** Frames seen, for the statistics. */
  frames = 0;

  readonly #agreement: Agreement;
  readonly #streams = new Map<bigint, StreamRules>();
  #lastId = 0n;
  /** Metadata whose Invoke must be the next frame. */
  #unit: bigint | undefined;
  #unfinished = { up: 0, down: 0 };
  #isControlled = false;
  #hasAnswered = false;
  /** The last stream that the server will finish, as it has written, and as has arrived. */
  #goaway: bigint | undefined;
  #lastFinished: bigint | undefined;
  readonly #controlWritten = new ControlMessages();
  readonly #controlArrived = new ControlMessages();
  /** Streams by the names of their rpcs, and those of which it has arrived that they will not be run. */
  readonly #ids = new Map<string, bigint>();
  readonly #refused = new Set<bigint>();

  constructor(agreement: Agreement) {
    this.#agreement = agreement;
    this.up = this.#witness('up');
    this.down = this.#witness('down');
  }

  /** The sender of `direction` has ended stream `id` when it had appended `offset` bytes. */
  ended(direction: 'up' | 'down', id: bigint, offset: number): void {
    const course = this.#streams.get(id)?.[direction];
    if (course) course.endsAt = Math.min(course.endsAt, offset);
  }

  /** Whether anything of the server has arrived. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /** Whether an Invoke of `rpc` was handed to the socket here. */
  hasInvoked(rpc: string): boolean {
    return this.#ids.has(rpc);
  }

  /** Whether the client was told that its Invoke of `rpc` here will not be run, so that it may go elsewhere. */
  isReleased(rpc: string): boolean {
    const id = this.#ids.get(rpc)!;
    return this.#refused.has(id) || (this.#lastFinished !== undefined && id > this.#lastFinished);
  }

  #witness(direction: 'up' | 'down'): Witness {
    const preamble = direction === 'up' && this.#agreement.preamble ? 'DRPC!!!1' : '';
    const written = new Transcript(preamble);
    const arrived = new Transcript(preamble);
    return {
      written: (bytes) => {
        for (const { frame, at } of written.read(bytes)) {
          try {
            this.#written(direction, frame, at);
          } catch (error) {
            throw new Error(`${direction}, ${describe(frame)} at ${at}`, { cause: error });
          }
        }
      },
      arrived: (bytes) => {
        for (const { frame } of arrived.read(bytes)) this.#arrived(direction, frame);
      },
    };
  }

  #written(direction: 'up' | 'down', frame: SlowFrame, at: number): void {
    this.frames++;
    const { kind, streamId, done, control, data } = frame;
    if (kind < 1 || kind > 8) fail('nobody knows this kind');
    if (direction === 'up') this.#checkInvokes(frame);
    const stream = this.#streams.get(streamId);
    if (!stream || (direction === 'down' && !stream.hasInvoke)) return fail('no such stream');
    const course = stream[direction];
    if (course.isOver) fail('a frame after the last one');
    if (at >= course.endsAt) fail('a frame of a stream that its sender had ended');
    if (direction === 'down' && this.#goaway !== undefined && streamId > this.#goaway)
      fail('an answer after goaway');
    if (kind === WINDOW_UPDATE) return this.#checkGrant(direction, stream, frame);
    const mayInterrupt = kind === CANCEL || (kind === ERROR && control);
    this.#checkIds(direction, course, frame, mayInterrupt);
    if (control !== mayInterrupt) fail('a control bit where it does not belong');
    if (kind !== MESSAGE && !done) fail('a frame that is not the last of its packet');
    if (data.length > this.#agreement.splitSize && kind === MESSAGE) fail('a frame that is too large');
    switch (kind) {
      case INVOKE:
      case METADATA:
        if (direction === 'down') fail('an invoke by a server');
        if (kind === INVOKE) this.#checkName(streamId, data.toString());
        return;
      case MESSAGE:
        if (course.isHalfClosed) fail('a message after CloseSend');
        this.#checkCredit(stream, course, frame);
        if (direction === 'down' && this.#isControlled && streamId === 1n)
          this.#goaway = goawayIn(this.#controlWritten.read(data, done)) ?? this.#goaway;
        return;
      case CLOSE_SEND:
        if (course.isHalfClosed) fail('a second CloseSend');
        course.isHalfClosed = true;
        if (data.length > 0) fail('data');
        return;
      case CANCEL:
      case CLOSE:
        if (data.length > 0) fail('data');
        course.isOver = true;
        return;
      default:
        course.isOver = true;
    }
  }

  /** New streams: ids grow, and metadata and Invoke are one unit. */
  #checkInvokes({ kind, streamId }: SlowFrame): void {
    const unit = this.#unit;
    this.#unit = undefined;
    if (unit !== undefined && (kind !== INVOKE || streamId !== unit))
      fail(`the Invoke of stream ${unit} must be next`);
    const stream = this.#streams.get(streamId);
    if (kind !== INVOKE && kind !== METADATA) return;
    if (stream?.hasInvoke || (stream && kind === METADATA)) fail('invoked twice');
    if (!stream) {
      if (streamId <= this.#lastId) fail(`stream ids must grow, ${this.#lastId} was there`);
      this.#lastId = streamId;
      this.#begin(streamId);
    }
    if (kind === METADATA) this.#unit = streamId;
    else this.#streams.get(streamId)!.hasInvoke = true;
  }

  #begin(id: bigint): void {
    const { needsControl, upWindow, downWindow } = this.#agreement;
    const stream = new StreamRules();
    stream.hasWindows = upWindow > 0 && (!needsControl || (this.#isControlled && id > 1n));
    stream.up.credit = upWindow;
    stream.down.credit = downWindow;
    this.#streams.set(id, stream);
  }

  #checkName(id: bigint, rpc: string): void {
    if (rpc === CONTROL_RPC && id === 1n) this.#isControlled = true;
    else if (/^\/call\/\d+$/.test(rpc)) {
      this.#ids.set(rpc, id);
      this.#agreement.invoked?.(rpc);
    } else if (rpc !== CHECK_RPC) fail(`an invoke of ${rpc}`);
  }

  #checkIds(direction: 'up' | 'down', course: Course, frame: SlowFrame, mayInterrupt: boolean): void {
    const { messageId, kind, done } = frame;
    if (course.unfinished !== undefined) {
      if (!mayInterrupt) {
        if (messageId !== course.unfinished || kind !== MESSAGE)
          fail(`message ${course.unfinished} is not complete`);
        if (!done) return;
      }
      course.unfinished = undefined;
      if (!course.isDropped) this.#unfinished[direction]--;
      if (!mayInterrupt) return;
    }
    if (messageId !== course.next) fail(`message id ${course.next} must be next`);
    course.next++;
    if (done) return;
    course.unfinished = messageId;
    if (course.isDropped) return;
    if (++this.#unfinished[direction] > 8) fail('a ninth message that is not complete');
  }

  #checkCredit({ hasWindows }: StreamRules, course: Course, { messageId, data }: SlowFrame): void {
    const isFirst = course.sentOf !== messageId;
    course.sentOf = messageId;
    course.sent += data.length;
    if (!hasWindows) return;
    course.credit -= data.length;
    if (isFirst && data.length > 0 && course.credit < 0) fail(`${-course.credit} bytes without credit`);
  }

  #checkGrant(
    direction: 'up' | 'down',
    stream: StreamRules,
    { control, done, messageId, data }: SlowFrame,
  ): void {
    if (!stream.hasWindows) fail('a window update to a peer without windows');
    if (!control || !done || messageId !== 0n) fail('a malformed window update');
    const granted = stream[direction === 'up' ? 'down' : 'up'];
    granted.granted += deltaIn(data);
    if (granted.granted > granted.sent) fail('more credit than was used');
  }

  /** What a frame allows counts from when it has arrived. */
  #arrived(direction: 'up' | 'down', { kind, streamId, done, data }: SlowFrame): void {
    const other = direction === 'up' ? 'down' : 'up';
    if (direction === 'down') this.#hasAnswered = true;
    const stream = this.#streams.get(streamId)!;
    if (kind === WINDOW_UPDATE) stream[other].credit += deltaIn(data);
    else if (kind === CANCEL || kind === CLOSE || kind === ERROR) this.#drop(other, stream);
    if (kind === ERROR && isStreamRefused(unmarshalError(data, 0, data.length))) this.#refused.add(streamId);
    if (kind !== MESSAGE || direction === 'up' || streamId !== 1n || !this.#isControlled) return;
    const last = goawayIn(this.#controlArrived.read(data, done));
    if (last === undefined) return;
    this.#lastFinished = last;
    for (const [id, above] of this.#streams) if (id > last) this.#drop('up', above);
  }

  #drop(direction: 'up' | 'down', stream: StreamRules): void {
    const course = stream[direction];
    if (course.isDropped) return;
    course.isDropped = true;
    if (course.unfinished !== undefined) this.#unfinished[direction]--;
  }
}

/** The control stream's messages of one direction, each in as many frames as it likes. */
class ControlMessages {
  #text = '';

  /** The message that a frame completes. */
  read(data: Buffer, done: boolean): { type: string; lastStreamId: number } | undefined {
    this.#text += data.toString();
    if (!done) return undefined;
    const message = JSON.parse(this.#text) as { type: string; lastStreamId: number };
    this.#text = '';
    return message;
  }
}

function goawayIn(message: { type: string; lastStreamId: number } | undefined): bigint | undefined {
  return message?.type === 'goaway' ? BigInt(message.lastStreamId) : undefined;
}

function deltaIn(data: Buffer): number {
  let delta = 0;
  for (const [i, byte] of data.entries()) {
    delta += (byte % 128) * 128 ** i;
    if (byte < 128 !== (i === data.length - 1)) fail('a malformed delta');
  }
  return delta > 0 ? delta : fail('a delta of 0');
}

/** How large the frame at the beginning of `bytes` is; 0 while that can not be told. */
function sizeOfFirst(bytes: Buffer): number {
  let at = 1;
  let length = 0;
  for (let number = 0; number < 3; number++) {
    length = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) return 0;
      length += (byte % 128) * scale;
      if (byte < 128) break;
    }
  }
  return at + length;
}

function sizeOf({ streamId, messageId, data }: SlowFrame): number {
  const size = (value: bigint): number => Math.max(1, Math.ceil(value.toString(2).length / 7));
  return 1 + size(streamId) + size(messageId) + size(BigInt(data.length)) + data.length;
}

function describe({ kind, done, control, streamId, messageId, data }: SlowFrame): string {
  return `kind ${kind}${done ? '' : '+'}${control ? '!' : ''} of ${streamId}/${messageId} with ${data.length} bytes`;
}

function fail(what: string): never {
  throw new Error(what);
}
