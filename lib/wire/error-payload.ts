import { isUtf8 } from 'node:buffer';

import { DrpcCode } from '../errors/codes.js';
import { DrpcError, type ErrorDetail } from '../errors/drpc-error.js';
import { bytesField, optionalField, ProtobufReader, varintField } from '../errors/protobuf.js';
import { withoutStack } from '../errors/without-stack.js';

/**
 * The two layouts of an Error frame's payload; which one a peer reads is fixed by its generation.
 *
 *   storj    code (8 bytes, big-endian) | text
 *   status   01 | google.rpc.Status { 1: code, 2: message, 3: details }
 *
 * @see storj/drpc drpcwire/error.go; docs/protocol.md, Errors
 */
export type ErrorForm = 'storj' | 'status';

/** The payload sent never gets longer: its frame is not split and goes out whatever the writer's cap says. */
const MAX_PAYLOAD_SIZE = 64 * 1024;

/** What details leave to the message in the status form. */
const MIN_MESSAGE_SIZE = 1024;

/** Details above this number are dropped on receipt: two bytes on the wire would cost a hundred in memory. */
const MAX_DETAILS = 64;

const STORJ_HEADER_SIZE = 8;
const STATUS_VERSION = 1;
/** Tag and length of a field of up to 64 KiB. */
const MAX_FIELD_HEAD_SIZE = 4;
const MAX_INT32 = 2 ** 31 - 1;
const MAX_UINT64 = 2n ** 64n - 1n;
const CUT_MARK = '...';
const FIRST_PRINTABLE = 0x20;

/**
 * The payload of an Error frame, at most 64 KiB: a longer message is cut at a character, and details that do
 * not fit are left out, the last ones first. A `rawCode` travels in place of code 2 where the form can hold it.
 */
export function marshalError(error: DrpcError, form: ErrorForm): Buffer {
  return form === 'storj' ? marshalStorj(error) : marshalStatus(error);
}

/**
 * The error in the payload `bytes[start, end)` of a received Error frame, in whichever form it is. Nothing of
 * it is borrowed. Never throws: a payload that is no error is described by the error returned, with the texts
 * of the Go implementations, because the stream ends with an error either way.
 */
export function unmarshalError(bytes: Buffer, start: number, end: number): DrpcError {
  return withoutStack(() => unmarshal(bytes, start, end));
}

function unmarshal(bytes: Buffer, start: number, end: number): DrpcError {
  const size = end - start;
  if (size === 0) return new DrpcError(DrpcCode.Unknown, 'drpcwire: empty error data');
  const first = bytes[start]!;
  if (first === STATUS_VERSION) return unmarshalStatus(bytes, start + 1, end);
  // No application numbers its errors above 2^56, but if one does, its first byte is not 0.
  if (size >= STORJ_HEADER_SIZE) return unmarshalStorj(bytes, start, end);
  // Too short for a storj code. Readable text is what a storj peer calls bad data; else it is a status version.
  return isUtf8(bytes.subarray(start, end)) && first >= FIRST_PRINTABLE
    ? new DrpcError(
        DrpcCode.Unknown,
        `${bytes.toString('utf8', start, end)} (drpcwire note: invalid error data)`,
      )
    : new DrpcError(DrpcCode.Unknown, `drpcwire: unsupported error version: ${first}`);
}

function marshalStorj(error: DrpcError): Buffer {
  const { code, rawCode, message } = error;
  const text = cutText(message, MAX_PAYLOAD_SIZE - STORJ_HEADER_SIZE);
  const out = Buffer.allocUnsafe(STORJ_HEADER_SIZE + Buffer.byteLength(text));
  out.writeBigUInt64BE(
    rawCode !== undefined && rawCode >= 0n && rawCode <= MAX_UINT64 ? rawCode : BigInt(code),
  );
  out.write(text, STORJ_HEADER_SIZE);
  return out;
}

function unmarshalStorj(bytes: Buffer, start: number, end: number): DrpcError {
  return withCode(bytes.readBigUInt64BE(start), bytes.toString('utf8', start + STORJ_HEADER_SIZE, end));
}

function marshalStatus(error: DrpcError): Buffer {
  const head = Buffer.concat([Buffer.of(STATUS_VERSION), varintField(1, statusCode(error))]);
  let room = MAX_PAYLOAD_SIZE - head.length - MIN_MESSAGE_SIZE;
  const details: Buffer[] = [];
  for (const { typeUrl, value } of error.details) {
    const detail = bytesField(3, Buffer.concat([optionalField(1, typeUrl), optionalField(2, value)]));
    if (detail.length > room) break;
    room -= detail.length;
    details.push(detail);
  }
  const message = cutText(error.message, room + MIN_MESSAGE_SIZE - MAX_FIELD_HEAD_SIZE);
  return Buffer.concat([head, optionalField(2, message), ...details]);
}

function statusCode({ code, rawCode }: DrpcError): number {
  // 0 is OK in this form, so a storj peer's "no code" stays Unknown; int32 holds the rest of the small ones.
  return rawCode !== undefined && rawCode > 0n && rawCode <= MAX_INT32 ? Number(rawCode) : code;
}

function unmarshalStatus(bytes: Buffer, start: number, end: number): DrpcError {
  const details: ErrorDetail[] = [];
  let code = 0;
  let message = '';
  try {
    const reader = new ProtobufReader(bytes, start, end);
    while (reader.next()) {
      if (reader.isVarint(1)) code = reader.int32;
      else if (reader.isBytes(2)) message = reader.text();
      else if (reader.isBytes(3) && details.length < MAX_DETAILS) {
        details.push(readDetail(new ProtobufReader(bytes, reader.start, reader.end)));
      }
    }
  } catch (cause) {
    const why = DrpcError.from(cause).message;
    return new DrpcError(DrpcCode.Unknown, `drpcwire: failed to unmarshal error: ${why}`, { cause });
  }
  return withCode(BigInt(code), message, details);
}

function readDetail(reader: ProtobufReader): ErrorDetail {
  let typeUrl = '';
  let value: Uint8Array = new Uint8Array(0);
  while (reader.next()) {
    if (reader.isBytes(1)) typeUrl = reader.text();
    else if (reader.isBytes(2)) value = reader.copy();
  }
  return { typeUrl, value };
}

/** A received code: one of 1 to 16 is itself; any other number, 0 included, is Unknown and kept as `rawCode`. */
function withCode(code: bigint, message: string, details?: readonly ErrorDetail[]): DrpcError {
  return code > 0n && code <= DrpcCode.Unauthenticated
    ? new DrpcError(Number(code), message, { details })
    : new DrpcError(DrpcCode.Unknown, message, { details, rawCode: code });
}

/** `text` in at most `max` bytes of UTF-8, cut between two characters. */
function cutText(text: string, max: number): string {
  // A character has at most 3 bytes per UTF-16 unit, so most texts need not be measured.
  if (text.length * 3 <= max || Buffer.byteLength(text) <= max) return text;
  const bytes = Buffer.from(text.slice(0, max));
  let end = max - CUT_MARK.length;
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end) + CUT_MARK;
}
