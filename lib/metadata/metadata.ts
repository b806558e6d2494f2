import { ProtocolError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';
import { ProtobufReader, varintSize, WireType, writeVarint } from '../errors/protobuf.js';
import { typeName } from '../errors/type-name.js';

/** Facts about a call that travel before its Invoke: one string per key, keys in lower case. */
export type Metadata = Record<string, string>;

/**
 * What an entry costs beside its bytes: three words in a hash table that may be half empty, and the heads of the two
 * strings, 24 bytes each. Without it, 64 KiB of entries of 6 bytes each were an object of half a MiB.
 */
export const ENTRY_OVERHEAD = 100;

const ENTRY_TAG = (1 << 3) | WireType.Bytes;
const KEY_TAG = (1 << 3) | WireType.Bytes;
const VALUE_TAG = (2 << 3) | WireType.Bytes;

/**
 * The payload of an InvokeMetadata frame; keys go out in lower case. Own memory.
 *
 *   0a len { 0a len key 12 len value }   for each pair, both fields always there
 *
 * Not what a protobuf library would write: that leaves out an empty key or value, and storj's decoder then
 * closes the connection.
 * @see storj/drpc drpcmetadata/metadata.go; docs/protocol.md, Metadata
 */
export function encodeMetadata(metadata: Readonly<Metadata>): Buffer {
  const pairs = Object.entries(metadata).map(([name, value]) => {
    const key = name.toLowerCase();
    const keySize = Buffer.byteLength(key);
    const valueSize = Buffer.byteLength(value);
    return { key, keySize, value, valueSize, entrySize: fieldSize(keySize) + fieldSize(valueSize) };
  });
  const out = Buffer.allocUnsafe(pairs.reduce((size, { entrySize }) => size + fieldSize(entrySize), 0));
  let offset = 0;
  for (const { key, keySize, value, valueSize, entrySize } of pairs) {
    offset = writeHead(out, offset, ENTRY_TAG, entrySize);
    offset = writeHead(out, offset, KEY_TAG, keySize);
    offset += out.write(key, offset);
    offset = writeHead(out, offset, VALUE_TAG, valueSize);
    offset += out.write(value, offset);
  }
  return out;
}

/**
 * The pairs in the payload `bytes[start, end)` of an InvokeMetadata frame: a record without prototype, so no
 * key of a peer (`__proto__`) means anything; the last of equal keys wins. Nothing of it is borrowed. Go sends keys
 * as they were written; here they are in lower case, so a handler need not know which spelling its caller chose.
 *
 * As strict as the Go decoder, with one deliberate difference: a key or value that is left out is the empty
 * string, because that is how protobuf libraries write one.
 * @throws ProtocolError on anything else: other fields, another order, bytes that are cut short.
 */
export function decodeMetadata(bytes: Buffer, start = 0, end = bytes.length): Metadata {
  const metadata = Object.create(null) as Metadata;
  const reader = new ProtobufReader(bytes, start, end);
  while (reader.next()) {
    if (!reader.isBytes(1)) throw unexpectedField(reader);
    readEntry(new ProtobufReader(bytes, reader.start, reader.end), metadata);
  }
  return metadata;
}

/**
 * What the metadata in `bytes[start, end)` count as: their bytes, and {@link ENTRY_OVERHEAD} for each entry. Makes
 * nothing of them, so that it can be asked before they are decoded.
 * @throws ProtocolError when their fields can not be told apart.
 */
export function metadataSize(bytes: Buffer, start = 0, end = bytes.length): number {
  const reader = new ProtobufReader(bytes, start, end);
  let size = end - start;
  while (reader.next()) size += ENTRY_OVERHEAD;
  return size;
}

/** One record of several, without prototype, keys in lower case; of keys that differ only in case the last wins. */
export function mergeMetadata(...sources: readonly (Readonly<Metadata> | undefined)[]): Metadata {
  const merged = Object.create(null) as Metadata;
  for (const source of sources) {
    for (const [key, value] of Object.entries(source ?? {})) merged[key.toLowerCase()] = value;
  }
  return merged;
}

/** Whether the protocol keeps `key` for itself, in any case: `grpc-timeout` and `drpc-*`. */
export function isReservedKey(key: string): boolean {
  const name = key.toLowerCase();
  return name === 'grpc-timeout' || name.startsWith('drpc-');
}

/**
 * Checks metadata that a user wants to send.
 * @throws TypeError naming key and rule: not an object, a reserved key, a value that is not a string.
 */
export function assertUserMetadata(metadata: unknown): asserts metadata is Metadata {
  // A Map or Headers has no properties: all its pairs would silently stay behind.
  if (typeof metadata !== 'object' || metadata === null || Symbol.iterator in metadata) {
    throw new TypeError(`metadata is ${typeName(metadata)}: must be an object of strings`);
  }
  for (const [key, value] of Object.entries(metadata)) {
    if (isReservedKey(key)) {
      throw new TypeError(`metadata key "${escapeName(key)}": grpc-timeout and drpc-* are reserved`);
    }
    if (typeof value !== 'string') {
      throw new TypeError(`metadata value of "${escapeName(key)}" is ${typeName(value)}: must be a string`);
    }
  }
}

function readEntry(reader: ProtobufReader, metadata: Metadata): void {
  let key = '';
  let value = '';
  let last = 0;
  while (reader.next()) {
    const isKey = reader.isBytes(1);
    if ((!isKey && !reader.isBytes(2)) || reader.number <= last) throw unexpectedField(reader);
    if (isKey) key = reader.text();
    else value = reader.text();
    last = reader.number;
  }
  metadata[key.toLowerCase()] = value;
}

function unexpectedField({ number, wireType }: ProtobufReader): ProtocolError {
  return new ProtocolError(
    `invalid metadata: field ${number} of wire type ${wireType}: only key 1 and value 2, in this order`,
  );
}

function fieldSize(size: number): number {
  return 1 + varintSize(size) + size;
}

function writeHead(out: Buffer, offset: number, tag: number, size: number): number {
  out[offset] = tag;
  return writeVarint(out, offset + 1, size);
}
