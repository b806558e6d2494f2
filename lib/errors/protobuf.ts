import { ProtocolError } from './drpc-error.js';

/*
 * The few lines of protobuf that errors and metadata need, so that the core has no dependency. User messages
 * go through a real protobuf library (`service/`).
 *
 *   field = tag, value     tag = number << 3 | wire type     value = a varint, or a length and that many bytes
 *
 * See https://protobuf.dev/programming-guides/encoding/.
 */

/** How the value of a field is laid out; the numbers not named here are the retired groups. */
export enum WireType {
  Varint = 0,
  Fixed64 = 1,
  /** A length and that many bytes: text, bytes, nested messages. */
  Bytes = 2,
  Fixed32 = 5,
}

const NOTHING = Buffer.alloc(0);

/** How many bytes `value` takes as a varint; an integer from 0 to 2^53 - 1. */
export function varintSize(value: number): number {
  let size = 1;
  for (; value >= 0x80; value = Math.floor(value / 0x80)) size++;
  return size;
}

/** Writes `value` (0 to 2^53 - 1) as a varint at `offset`; returns the offset behind it. */
export function writeVarint(target: Uint8Array, offset: number, value: number): number {
  for (; value >= 0x80; value = Math.floor(value / 0x80)) target[offset++] = (value % 0x80) | 0x80;
  target[offset++] = value;
  return offset;
}

/** A field with a number as its value, 0 to 2^53 - 1. */
export function varintField(number: number, value: number): Buffer {
  const out = Buffer.allocUnsafe(1 + varintSize(value));
  out[0] = tag(number, WireType.Varint);
  writeVarint(out, 1, value);
  return out;
}

/** A field with text, bytes or a nested message as its value; written also when that is empty. */
export function bytesField(number: number, value: Uint8Array | string): Buffer {
  const size = typeof value === 'string' ? Buffer.byteLength(value) : value.byteLength;
  const out = Buffer.allocUnsafe(1 + varintSize(size) + size);
  out[0] = tag(number, WireType.Bytes);
  const offset = writeVarint(out, 1, size);
  if (typeof value === 'string') out.write(value, offset);
  else out.set(value, offset);
  return out;
}

/** The same with proto3's rule for a single field: nothing at all when the value is empty. */
export function optionalField(number: number, value: Uint8Array | string): Buffer {
  return value.length === 0 ? NOTHING : bytesField(number, value);
}

/** One byte is enough: no message here has a field above 15. */
function tag(number: number, wireType: WireType): number {
  return (number << 3) | wireType;
}

/**
 * Walks over the fields of the message in `bytes` from `start` to `end`; makes no object per field.
 *
 *   while (reader.next()) if (reader.number === 1) text = reader.text();
 *
 * After `next()` the getters describe that field, until the next `next()`.
 */
export class ProtobufReader {
  /** Number of the current field. */
  number = 0;
  /** How the current field is laid out. */
  wireType = WireType.Varint;
  /** Value of a `Varint` field as int32: the low 32 bits, signed. */
  int32 = 0;
  /** Where the bytes of a `Bytes` field begin. */
  start = 0;
  /** Offset behind the current field. */
  end: number;
  readonly #bytes: Buffer;
  readonly #limit: number;

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes;
    this.#limit = end;
    this.end = start;
  }

  /**
   * Moves to the next field; `false` at the end.
   * @throws ProtocolError when the bytes are not a message: cut short, a varint over 10 bytes, field 0, a group.
   */
  next(): boolean {
    if (this.end >= this.#limit) return false;
    const head = this.#varint();
    this.number = Math.floor(head / 8);
    if (this.number === 0) throw new ProtocolError('protobuf field number 0: numbers start at 1');
    this.wireType = head % 8;
    switch (this.wireType) {
      case WireType.Varint:
        this.#varint();
        break;
      case WireType.Fixed64:
        this.#skip(8);
        break;
      case WireType.Bytes:
        this.#skip(this.#varint());
        break;
      case WireType.Fixed32:
        this.#skip(4);
        break;
      default:
        throw new ProtocolError(
          `protobuf wire type ${this.wireType as number}: only 0, 1, 2 and 5 are in use`,
        );
    }
    return true;
  }

  /** Whether the current field is field `number` and holds a number. */
  isVarint(number: number): boolean {
    return this.number === number && this.wireType === WireType.Varint;
  }

  /** Whether the current field is field `number` and holds bytes. */
  isBytes(number: number): boolean {
    return this.number === number && this.wireType === WireType.Bytes;
  }

  /** The bytes of a `Bytes` field as UTF-8 text. */
  text(): string {
    return this.#bytes.toString('utf8', this.start, this.end);
  }

  /** A copy of the bytes of a `Bytes` field, in memory of its own. */
  copy(): Uint8Array {
    return new Uint8Array(this.#bytes.subarray(this.start, this.end));
  }

  /** Reads at `end`; exact up to 2^53, which is all a length or a tag may reach. */
  #varint(): number {
    let value = 0;
    let low = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.end >= this.#limit) throw truncated();
      const byte = this.#bytes[this.end++]!;
      if (shift < 32) low |= (byte & 0x7f) << shift;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) {
        this.int32 = low;
        return value;
      }
    }
    throw new ProtocolError('protobuf varint too long: at most 10 bytes');
  }

  #skip(size: number): void {
    if (size > this.#limit - this.end) throw truncated();
    this.start = this.end;
    this.end += size;
  }
}

function truncated(): ProtocolError {
  return new ProtocolError('protobuf message cut short');
}
