import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { ProtocolError } from '../../lib/errors/drpc-error.js';
import {
  assertUserMetadata,
  decodeMetadata,
  encodeMetadata,
  ENTRY_OVERHEAD,
  isReservedKey,
  mergeMetadata,
  metadataSize,
  type Metadata,
} from '../../lib/metadata/metadata.js';
import { vectorsNamed } from '../helpers/vectors.js';

function decodeHex(hex: string): Metadata {
  return decodeMetadata(Buffer.from(hex, 'hex'));
}

describe('golden vectors of metadata', () => {
  const readable = vectorsNamed<{ entries: Metadata }>('metadata_').filter(
    ({ decoded }) => decoded.type === 'metadata',
  );
  const refused = vectorsNamed('metadata_').filter(({ decoded }) => decoded.type === 'error');
  // What the Go decoder refuses and we read: an empty value as protobuf libraries write it.
  const omitted = 'metadata_omitted_value_rejected';
  // Two bytes strings for one record: a decoder reads both, an encoder writes neither.
  const twice = 'metadata_duplicate_key_last_wins';

  it('are all in one of the tables below', () => {
    expect([readable.length, refused.length]).toEqual([8, 3]);
  });

  it.each(readable)('$name is read', ({ hex, decoded }) => {
    expect({ ...decodeHex(hex) }).toEqual(decoded.entries);
  });

  it.each(readable.filter(({ name }) => name !== twice))('$name is written', ({ hex, decoded }) => {
    expect(encodeMetadata(decoded.entries).toString('hex')).toBe(hex);
  });

  it.each(refused.filter(({ name }) => name !== omitted))('$name is refused', ({ hex }) => {
    expect(() => decodeHex(hex)).toThrow(ProtocolError);
  });

  it(`${omitted} is read: the one deliberate difference`, () => {
    const [vector] = refused.filter(({ name }) => name === omitted);
    expect({ ...decodeHex(vector!.hex) }).toEqual({ key: '' });
  });
});

describe('encodeMetadata', () => {
  it('writes an empty key and an empty value, which storj insists on', () => {
    expect(encodeMetadata({ '': '' }).toString('hex')).toBe('0a040a001200');
  });

  it('writes keys in lower case and values as they are', () => {
    expect({ ...decodeMetadata(encodeMetadata({ 'X-Trace': 'AbC', ÄH: 'Ö' })) }).toEqual({
      'x-trace': 'AbC',
      äh: 'Ö',
    });
  });

  it('writes nothing for no pairs', () => {
    expect(encodeMetadata({}).length).toBe(0);
  });

  it('writes own pairs only', () => {
    expect(encodeMetadata(Object.create({ inherited: 'x' })).length).toBe(0);
  });

  it('writes lengths of more than one byte', () => {
    const metadata = { [`k${'y'.repeat(130)}`]: 'v'.repeat(20_000) };
    expect({ ...decodeMetadata(encodeMetadata(metadata)) }).toEqual(metadata);
  });
});

describe('decodeMetadata', () => {
  it('reads what encodeMetadata wrote', () => {
    const key = fc.string({ unit: 'binary' }).map((text) => text.toLowerCase());
    const metadata = fc.dictionary(key, fc.string({ unit: 'binary' }));
    fc.assert(
      fc.property(metadata, (pairs) => {
        expect({ ...decodeMetadata(encodeMetadata(pairs)) }).toEqual({ ...pairs });
      }),
    );
  });

  it('reads only between its bounds and borrows nothing', () => {
    const payload = encodeMetadata({ key: 'value' });
    const bytes = Buffer.concat([Buffer.of(0xff), payload, Buffer.of(0xff)]);
    const metadata = decodeMetadata(bytes, 1, 1 + payload.length);
    bytes.fill(0);
    expect({ ...metadata }).toEqual({ key: 'value' });
  });

  it.each([
    ['the value', '0a030a016b', { k: '' }],
    ['the key', '0a03120176', { '': 'v' }],
    ['both', '0a00', { '': '' }],
  ])('takes an omitted field for the empty string: %s', (_what, hex, metadata) => {
    expect({ ...decodeHex(hex) }).toEqual(metadata);
  });

  it.each([
    ['capitals', '0a0b0a07582d54726163651200', { 'x-trace': '' }],
    ['capitals beyond ASCII', '0a070a02c384120141', { ä: 'A' }],
    ['a capital first', '0a060a014b120131' + '0a060a016b120132', { k: '2' }],
    ['a capital last', '0a060a016b120132' + '0a060a014b120131', { k: '1' }],
  ])('answers keys in lower case, the last of those that differ only in case: %s', (_what, hex, metadata) => {
    expect({ ...decodeHex(hex) }).toEqual(metadata);
  });

  it('reads lengths that are spelled longer than needed', () => {
    expect({ ...decodeHex('0a87000a81006b120176') }).toEqual({ k: 'v' });
  });

  it('gives a key of a peer no power over prototypes', () => {
    const bytes = encodeMetadata(JSON.parse('{"__proto__":"x","constructor":"y"}') as Metadata);
    const metadata = decodeMetadata(bytes);
    expect(Object.getPrototypeOf(metadata)).toBeNull();
    expect(Object.entries(metadata)).toEqual([
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ]);
    expect('toString' in metadata).toBe(false);
  });

  it.each([
    ['another field outside', '12060a016b120176', 'field 2'],
    ['a number for an entry', '0801', 'field 1 of wire type 0'],
    ['another field in an entry', '0a090a016b1201761a0178', 'field 3'],
    ['a number for a key', '0a0508011201 76', 'field 1 of wire type 0'],
    ['a number for a value', '0a050a016b1001', 'field 2 of wire type 0'],
    ['value before key', '0a061201760a016b', 'field 1'],
    ['two keys', '0a060a016b0a016b', 'field 1'],
    ['two values', '0a09' + '0a016b' + '120176' + '120177', 'field 2'],
    ['an entry beyond the end', '0a070a016b120176', 'cut short'],
    ['a value beyond its entry', '0a060a016b120276', 'cut short'],
    ['a length without its end', '0a80', 'cut short'],
  ])('refuses %s', (_what, hex, text) => {
    const bytes = hex.replace(' ', '');
    expect(() => decodeHex(bytes)).toThrow(ProtocolError);
    expect(() => decodeHex(bytes)).toThrow(text);
  });

  it('answers any bytes with metadata or a ProtocolError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 30 }), (bytes) => {
        let outcome: unknown;
        try {
          outcome = Object.getPrototypeOf(decodeMetadata(Buffer.from([0x0a, ...bytes])));
        } catch (error) {
          outcome = error;
        }
        expect(outcome === null || outcome instanceof ProtocolError).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('metadataSize', () => {
  it('is the encoded size and what each entry costs beside it', () => {
    const bytes = encodeMetadata({ a: '1', b: '' });
    expect(metadataSize(bytes)).toBe(bytes.length + 2 * ENTRY_OVERHEAD);
    expect(metadataSize(Buffer.concat([Buffer.of(1), bytes, Buffer.of(1)]), 1, 1 + bytes.length)).toBe(
      bytes.length + 2 * ENTRY_OVERHEAD,
    );
    expect(metadataSize(Buffer.alloc(0))).toBe(0);
  });

  it('is at least what the smallest entries cost, also those of one key', () => {
    expect(metadataSize(Buffer.from('0a00'.repeat(10), 'hex'))).toBe(10 * (2 + ENTRY_OVERHEAD));
  });

  it('refuses what is cut short', () => {
    expect(() => metadataSize(Buffer.from('0a07', 'hex'))).toThrow(ProtocolError);
  });
});

describe('mergeMetadata', () => {
  it.each<[string, (Metadata | undefined)[], Metadata]>([
    ['nothing', [], {}],
    ['nothing but undefined', [undefined], {}],
    ['keys of any case', [{ A: '1', b: '2' }], { a: '1', b: '2' }],
    ['keys of one source that differ only in case', [{ a: '1', A: '2' }], { a: '2' }],
    ['several sources', [{ a: '1', B: '1' }, undefined, { A: '2' }, { a: '3' }], { a: '3', b: '1' }],
  ])('makes one record of %s', (_what, sources, merged) => {
    expect({ ...mergeMetadata(...sources) }).toEqual(merged);
  });

  it('keeps own keys only, and names of prototypes as keys', () => {
    const merged = mergeMetadata(Object.create({ inherited: 'x' }), JSON.parse('{"__PROTO__":"y"}'));
    expect(Object.getPrototypeOf(merged)).toBeNull();
    expect(Object.entries(merged)).toEqual([['__proto__', 'y']]);
  });
});

describe('isReservedKey', () => {
  it.each(['grpc-timeout', 'GRPC-Timeout', 'drpc-', 'drpc-compression', 'Drpc-X'])(
    'says yes to %s',
    (key) => {
      expect(isReservedKey(key)).toBe(true);
    },
  );

  it.each(['', 'drpc', 'grpc-timeouts', 'grpc-', 'x-drpc-compression', 'timeout'])('says no to %j', (key) => {
    expect(isReservedKey(key)).toBe(false);
  });
});

describe('assertUserMetadata', () => {
  it.each([{}, { a: 'b' }, { '': '' }, Object.create(null)])('takes %o', (metadata) => {
    expect(() => assertUserMetadata(metadata)).not.toThrow();
  });

  it.each([
    [{ 'grpc-timeout': '1S' }, 'metadata key "grpc-timeout": grpc-timeout and drpc-* are reserved'],
    [{ 'DRPC-\n': 'x' }, 'metadata key "DRPC-\\n": grpc-timeout and drpc-* are reserved'],
    [{ a: 'b', n: 1 }, 'metadata value of "n" is a number: must be a string'],
    [{ a: undefined }, 'metadata value of "a" is undefined: must be a string'],
    [{ a: null }, 'metadata value of "a" is null: must be a string'],
    [{ a: ['b'] }, 'metadata value of "a" is an Array: must be a string'],
    [undefined, 'metadata is undefined: must be an object of strings'],
    [null, 'metadata is null: must be an object of strings'],
    [['a'], 'metadata is an Array: must be an object of strings'],
    [new Map([['a', 'b']]), 'metadata is a Map: must be an object of strings'],
    [new Headers({ a: 'b' }), 'metadata is a Headers: must be an object of strings'],
    ['a=b', 'metadata is a string: must be an object of strings'],
  ])('refuses %o', (metadata, text) => {
    expect(() => assertUserMetadata(metadata)).toThrow(new TypeError(text));
  });
});
