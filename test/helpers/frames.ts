import { encodeFrame, parseFrame, type Frame } from '../../lib/wire/frame.js';
import { Kind } from '../../lib/wire/kind.js';
import { appendVarint, VarintReader, type Uint64 } from '../../lib/wire/varint.js';

interface FrameOptions {
  /** Default: true. */
  done?: boolean;
  /** Default: false, but true for Cancel and WindowUpdate, as their senders do. */
  control?: boolean;
}

/** The bytes of one frame; text travels as UTF-8. */
export function frame(
  kind: number,
  streamId: Uint64,
  messageId: Uint64,
  data: string | Uint8Array = '',
  options: FrameOptions = {},
): Buffer {
  const { done = true, control = kind === Kind.Cancel || kind === Kind.WindowUpdate } = options;
  const bytes = typeof data === 'string' ? Buffer.from(data) : data;
  return encodeFrame({ kind, done, control, streamId, messageId, data: bytes });
}

/** A frame that is not the last of its packet. */
export function part(kind: number, streamId: Uint64, messageId: Uint64, data: string | Uint8Array): Buffer {
  return frame(kind, streamId, messageId, data, { done: false });
}

export const invoke = (streamId: Uint64, rpc = '/rpc', messageId: Uint64 = 1): Buffer =>
  frame(Kind.Invoke, streamId, messageId, rpc);

export const message = (streamId: Uint64, messageId: Uint64, data: string | Uint8Array = ''): Buffer =>
  frame(Kind.Message, streamId, messageId, data);

export const closeSend = (streamId: Uint64, messageId: Uint64): Buffer =>
  frame(Kind.CloseSend, streamId, messageId);

export const close = (streamId: Uint64, messageId: Uint64): Buffer => frame(Kind.Close, streamId, messageId);

export const cancel = (streamId: Uint64, messageId: Uint64): Buffer =>
  frame(Kind.Cancel, streamId, messageId);

/** An Error frame in the form of storj: code and text. */
export function storjError(streamId: Uint64, messageId: Uint64, code: number, text: string): Buffer {
  const head = Buffer.alloc(8);
  head.writeBigUInt64BE(BigInt(code));
  return frame(Kind.Error, streamId, messageId, Buffer.concat([head, Buffer.from(text)]));
}

export function windowUpdate(streamId: Uint64, delta: Uint64): Buffer {
  return frame(Kind.WindowUpdate, streamId, 0, varint(delta));
}

/** The shortest varint of `value`. */
export function varint(value: Uint64): Buffer {
  const bytes = Buffer.alloc(10);
  return bytes.subarray(0, appendVarint(bytes, 0, value));
}

/** All frames in `bytes`. @throws when they end within one. */
export function parseFrames(bytes: Uint8Array): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length;) {
    const parsed = parseFrame(bytes, at);
    if (!parsed) throw new Error(`${bytes.length - at} bytes at ${at} are not a whole frame`);
    frames.push(parsed.frame);
    at = parsed.end;
  }
  return frames;
}

const SHOWN_DATA = 64;

/**
 * A frame as a line: kind, `+` where more frames of its packet follow, `!` for control, ids, data (text, or
 * its size): `Message+ s1 m2 hello`, `Cancel! s1 m3`, `Message s1 m2 <65536 bytes>`,
 * `Error s1 m1 (12) text` in the form of storj, `WindowUpdate! s1 m0 +65536`.
 */
export function describeFrame({ kind, done, control, streamId, messageId, data }: Frame): string {
  const name = Kind[kind] ?? `Kind(${kind})`;
  const head = `${name}${done ? '' : '+'}${control ? '!' : ''} s${streamId} m${messageId}`;
  if (data.length === 0) return head;
  return `${head} ${describeData(kind, Buffer.from(data))}`;
}

function describeData(kind: number, data: Buffer): string {
  if (kind === Kind.WindowUpdate) {
    const varint = new VarintReader();
    if (varint.read(data, 0, data.length) === data.length) return `+${varint.value}`;
  }
  if (kind === Kind.Error && data[0] === 0 && data.length >= 8) {
    return `(${data.readBigUInt64BE(0)}) ${data.toString('utf8', 8)}`;
  }
  const text = data.toString('latin1');
  return data.length <= SHOWN_DATA && /^[\x20-\x7e]*$/.test(text) ? text : `<${data.length} bytes>`;
}

/** All frames in `bytes` as lines. */
export function describeFrames(bytes: Uint8Array): string[] {
  return parseFrames(bytes).map(describeFrame);
}
