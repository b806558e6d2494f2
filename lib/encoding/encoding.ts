import { isUint8Array } from 'node:util/types';

import { typeName } from '../errors/type-name.js';

/**
 * How the values of an rpc become bytes and back. Both ends must use the same one; DRPC does not negotiate it.
 * Errors thrown by either method are the caller's to wrap: only the call at hand fails.
 */
export interface Encoding<T = unknown> {
  /** Names the encoding in options and error messages. */
  readonly name: string;
  /** The message for `value`; a returned string travels as its UTF-8 text. The bytes stay the encoding's until sent. */
  marshal(value: T): Uint8Array | string;
  /** The value in a message. `bytes` are borrowed: good until this call returns, copy what is kept. */
  unmarshal(bytes: Uint8Array): T;
  /** The same for `bytes[start, end)`; where it is there it is called instead, and saves making a view. */
  unmarshalRange?(bytes: Buffer, start: number, end: number): T;
  /**
   * The same for `bytes` that are the value's for good; where it is there it is called instead of both. For encodings
   * whose values keep the bytes: a large message is then copied once less.
   */
  unmarshalOwned?(bytes: Buffer): T;
}

/** The message that a stream tells its sink just now, see {@link Stream.keepMessage}. */
export interface MessageKeeper {
  keepMessage(bytes: Buffer, start: number, end: number): Buffer;
}

/** JSON in UTF-8; `undefined` is the empty message. */
export const jsonEncoding: Encoding & Required<Pick<Encoding, 'unmarshalRange'>> = {
  name: 'json',
  marshal(value) {
    if (value === undefined) return '';
    const text = JSON.stringify(value) as string | undefined;
    // Must not travel as the empty message: the peer would take it for `undefined`.
    if (text === undefined) throw new TypeError(`${typeName(value)} has no JSON form`);
    return text;
  },
  unmarshal(bytes) {
    return parseJson(asBuffer(bytes), 0, bytes.byteLength);
  },
  unmarshalRange: parseJson,
};

/** The bytes as they are, a `Buffer` on arrival; it is a copy, the receiver's for good. */
export const bytesEncoding: Encoding<Uint8Array> & Required<Pick<Encoding<Uint8Array>, 'unmarshalOwned'>> = {
  name: 'bytes',
  marshal(value) {
    if (!isUint8Array(value)) {
      throw new TypeError(`value is ${typeName(value)}: must be a Buffer or Uint8Array`);
    }
    return value;
  },
  unmarshal(bytes) {
    return Buffer.from(bytes);
  },
  unmarshalOwned(bytes) {
    return bytes;
  },
};

/**
 * What `encoding` makes of `value`, checked: anything but bytes or text has no size, and would count for nothing where
 * bytes are counted.
 * @throws what the encoding throws, and TypeError for what is neither.
 */
export function marshalChecked<T>(encoding: Encoding<T>, value: T): Uint8Array | string {
  const message: unknown = encoding.marshal(value);
  if (typeof message === 'string' || isUint8Array(message)) return message;
  throw new TypeError(
    `${encoding.name} encoding: marshal() gave ${typeName(message)}: must be a Uint8Array or a string`,
  );
}

/**
 * The value in a message that a stream tells its sink, by the method of `encoding` that costs least.
 * @throws what the encoding throws.
 */
export function unmarshalMessage<T>(
  encoding: Encoding<T>,
  keeper: MessageKeeper,
  bytes: Buffer,
  start: number,
  end: number,
): T {
  if (encoding.unmarshalOwned) return encoding.unmarshalOwned(keeper.keepMessage(bytes, start, end));
  if (encoding.unmarshalRange) return encoding.unmarshalRange(bytes, start, end);
  return encoding.unmarshal(bytes.subarray(start, end));
}

function parseJson(bytes: Buffer, start: number, end: number): unknown {
  return start === end ? undefined : JSON.parse(bytes.toString('utf8', start, end));
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
