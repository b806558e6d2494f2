import { appendVarint, MAX_VARINT_SIZE, VarintReader, type Uint64 } from './varint.js';

/** The most bytes a frame header takes: the header byte and three varints. */
export const MAX_HEADER_SIZE = 1 + 3 * MAX_VARINT_SIZE;

/** The least bytes a frame takes: a parser that holds fewer must wait. */
export const MIN_FRAME_SIZE = 4;

const DONE = 0x01;
const CONTROL = 0x80;

/** The header byte of a frame: `kind << 1`, `done` in bit 0, `control` in bit 7. */
export function headerByte(kind: number, done: boolean, control: boolean): number {
  return (kind << 1) | (done ? DONE : 0) | (control ? CONTROL : 0);
}

/**
 * What stands in front of a frame's data. Readers reuse one object for all frames: it is good until the
 * call it was given to returns.
 */
export class FrameHeader {
  /** 0 to 63; may be a kind that nobody knows. */
  kind = 0;
  /** The last frame of its packet. */
  done = false;
  /** Not bound by the sender's flow control; an unknown kind with it is ignored. */
  control = false;
  streamId: Uint64 = 0;
  messageId: Uint64 = 0;
  /** Announced size of the data in bytes; `Infinity` where the wire said 2^53 or more. */
  length = 0;
  readonly #varint = new VarintReader();

  /**
   * Parses the header at `at`.
   *
   *     +---------------+-----------+------------+--------+------+
   *     | C kkkkkk D    | stream id | message id | length | data |
   *     | 1 byte        | varint    | varint     | varint |      |
   *     +---------------+-----------+------------+--------+------+
   *
   * Answers the offset of the data, or -1 while bytes are missing before `end`.
   * @throws ProtocolError when no further byte could make it a header (a varint over ten bytes).
   * @see storj/drpc drpcwire/packet.go, ParseFrame
   */
  parse(bytes: Uint8Array, at: number, end: number): number {
    if (end - at < MIN_FRAME_SIZE) return -1;
    const first = bytes[at]!;
    const streamId = bytes[at + 1]!;
    const messageId = bytes[at + 2]!;
    const length = bytes[at + 3]!;
    this.kind = (first >> 1) & 0x3f;
    this.done = (first & DONE) !== 0;
    this.control = (first & CONTROL) !== 0;
    if ((streamId | messageId | length) < 0x80) {
      this.streamId = streamId;
      this.messageId = messageId;
      this.length = length;
      return at + 4;
    }
    return this.#parseLong(bytes, at + 1, end);
  }

  #parseLong(bytes: Uint8Array, at: number, end: number): number {
    const varint = this.#varint;
    at = varint.read(bytes, at, end);
    if (at < 0) return -1;
    this.streamId = varint.value;
    at = varint.read(bytes, at, end);
    if (at < 0) return -1;
    this.messageId = varint.value;
    at = varint.read(bytes, at, end);
    if (at < 0) return -1;
    this.length = typeof varint.value === 'number' ? varint.value : Infinity;
    return at;
  }
}

/** One frame, whole, for tests and tools; the hot path works on {@link FrameHeader} in place. */
export interface Frame {
  kind: number;
  done: boolean;
  control: boolean;
  streamId: Uint64;
  messageId: Uint64;
  data: Uint8Array;
}

/**
 * Reads the frame at `offset`; `undefined` until all of it has arrived.
 * `frame.data` is borrowed: a view into `bytes`, good until the caller reuses them.
 * @throws ProtocolError when no further byte could make it a frame (a varint over ten bytes).
 * @see storj/drpc drpcwire/packet.go, ParseFrame
 */
export function parseFrame(bytes: Uint8Array, offset = 0): { frame: Frame; end: number } | undefined {
  const header = new FrameHeader();
  const start = header.parse(bytes, offset, bytes.length);
  if (start < 0 || header.length > bytes.length - start) return undefined;
  const end = start + header.length;
  const { kind, done, control, streamId, messageId } = header;
  return { frame: { kind, done, control, streamId, messageId, data: bytes.subarray(start, end) }, end };
}

/** Writes a frame's header at `at`, where there must be room; answers where the data goes. */
export function appendHeader(
  bytes: Uint8Array,
  at: number,
  first: number,
  streamId: Uint64,
  messageId: Uint64,
  length: number,
): number {
  bytes[at] = first;
  if (streamId < 0x80 && messageId < 0x80 && length < 0x80) {
    bytes[at + 1] = streamId as number;
    bytes[at + 2] = messageId as number;
    bytes[at + 3] = length;
    return at + 4;
  }
  at = appendVarint(bytes, at + 1, streamId);
  at = appendVarint(bytes, at, messageId);
  return appendVarint(bytes, at, length);
}

/** A frame as bytes of its own, for tests and tools. */
export function encodeFrame(frame: Frame): Buffer {
  const bytes = Buffer.allocUnsafe(MAX_HEADER_SIZE + frame.data.length);
  const first = headerByte(frame.kind, frame.done, frame.control);
  const at = appendHeader(bytes, 0, first, frame.streamId, frame.messageId, frame.data.length);
  bytes.set(frame.data, at);
  return bytes.subarray(0, at + frame.data.length);
}
