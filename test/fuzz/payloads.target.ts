import { DrpcError, ProtocolError } from '../../lib/errors/drpc-error.js';
import { encodeErrorInfo } from '../../lib/errors/error-info.js';
import { decodeMetadata, encodeMetadata } from '../../lib/metadata/metadata.js';
import { marshalError, unmarshalError } from '../../lib/wire/error-payload.js';
import type { Random } from '../simulation/random.js';
import { mutate } from './slow-frames.js';
import { must, type Target } from './target.js';

const NAMES = [
  'a',
  '',
  '__proto__',
  'constructor',
  'toString',
  'grpc-timeout',
  'drpc-compression',
  'schlüssel',
];

function text(random: Random): string {
  return random.chance(0.5) ? random.pick(NAMES) : random.bytes(random.size(200)).toString('latin1');
}

/** Metadata is decoded as its slow twin says, or refused; and what was encoded comes back. */
export const metadataTarget: Target = {
  name: 'metadata',
  run(random) {
    const pairs = Array.from(
      { length: random.int(0, 6) },
      () => [text(random).toLowerCase(), text(random)] as const,
    );
    const metadata = Object.assign(Object.create(null), Object.fromEntries(pairs)) as Record<string, string>;
    for (const [key, value] of pairs)
      Object.defineProperty(metadata, key, { value, enumerable: true, writable: true });
    const encoded = encodeMetadata(metadata);
    must(
      sameMetadata(decodeMetadata(encoded), new Map(Object.entries(metadata))),
      'encoded metadata comes back changed',
    );
    const bytes = random.chance(0.2) ? random.bytes(random.size(60)) : mutate(random, encoded);
    const slow = decodeSlowly(bytes);
    let fast: Record<string, string> | undefined;
    try {
      // Somewhere inside of a larger buffer, as it arrives.
      fast = decodeMetadata(Buffer.concat([Buffer.from('<'), bytes, Buffer.from('>')]), 1, 1 + bytes.length);
    } catch (error) {
      must(error instanceof ProtocolError, () => `metadata throws ${String(error)}`);
    }
    must(
      (fast === undefined) === (slow === undefined),
      () => `decoded: ${fast !== undefined}, twin: ${slow !== undefined}`,
    );
    if (fast && slow) {
      must(Object.getPrototypeOf(fast) === null, 'decoded metadata has a prototype');
      must(
        sameMetadata(fast, slow),
        () => `decoded ${JSON.stringify(fast)}, twin: ${JSON.stringify([...slow])}`,
      );
    }
  },
};

function sameMetadata(record: Record<string, string>, map: ReadonlyMap<string, string>): boolean {
  const keys = Object.keys(record);
  return keys.length === map.size && keys.every((key) => map.get(key) === record[key]);
}

/** The twin of the decoder: each level of the message as a list of fields; `undefined` when it is none. */
function decodeSlowly(bytes: Buffer): Map<string, string> | undefined {
  const result = new Map<string, string>();
  for (const entry of fieldsOf(bytes) ?? [undefined]) {
    if (entry?.number !== 1n) return undefined;
    const fields = fieldsOf(entry.data);
    if (!fields || fields.length > 2) return undefined;
    if (fields.some(({ number }) => number !== 1n && number !== 2n)) return undefined;
    if (fields.length === 2 && (fields[0]!.number !== 1n || fields[1]!.number !== 2n)) return undefined;
    const valueOf = (wanted: bigint): string =>
      fields.find(({ number }) => number === wanted)?.data.toString() ?? '';
    result.set(valueOf(1n).toLowerCase(), valueOf(2n));
  }
  return result;
}

/** The fields of a message that has only such with bytes. */
function fieldsOf(bytes: Buffer): { number: bigint; data: Buffer }[] | undefined {
  const fields: { number: bigint; data: Buffer }[] = [];
  let at = 0;
  const number = (): bigint | undefined => {
    let value = 0n;
    for (let size = 0; size < 10; size++) {
      const byte = bytes[at++];
      if (byte === undefined) return undefined;
      value += BigInt(byte % 128) * 128n ** BigInt(size);
      if (byte < 128) return value;
    }
    return undefined;
  };
  while (at < bytes.length) {
    const tag = number();
    if (tag === undefined || tag % 8n !== 2n) return undefined;
    const length = number();
    if (length === undefined || length > BigInt(bytes.length - at)) return undefined;
    fields.push({ number: tag / 8n, data: bytes.subarray(at, at + Number(length)) });
    at += Number(length);
  }
  return fields;
}

/** An Error frame's payload always reads as an error with a code of 1 to 16, and what was written comes back. */
export const errorPayloadTarget: Target = {
  name: 'error-payload',
  run(random) {
    const code = random.int(1, 16);
    const message = text(random);
    const details = random.chance(0.3)
      ? [encodeErrorInfo({ reason: text(random), domain: text(random), metadata: { a: text(random) } })]
      : [];
    const form = random.pick(['storj', 'status'] as const);
    const written = marshalError(new DrpcError(code, message, { details }), form);
    const read = unmarshalError(written, 0, written.length);
    must(
      read.code === code && read.message === message,
      () => `${code} ${message} comes back as ${String(read)}`,
    );
    must(form === 'storj' || read.details.length === details.length, 'details are lost');
    const bytes = random.chance(0.2)
      ? Buffer.concat([Buffer.of(random.int(0, 1)), random.bytes(random.size(60))])
      : mutate(random, written);
    const error = unmarshalError(
      Buffer.concat([Buffer.from('<'), bytes, Buffer.from('>')]),
      1,
      1 + bytes.length,
    );
    must(Number.isInteger(error.code) && error.code >= 1 && error.code <= 16, `code ${error.code}`);
    must(typeof error.message === 'string', 'no message');
  },
};
