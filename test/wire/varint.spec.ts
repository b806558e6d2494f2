import { describe, expect, it } from 'vitest';
import { ProtocolError } from '../../lib/errors/drpc-error.js';
import { appendVarint, uint64, VarintReader, varintSize, type Uint64 } from '../../lib/wire/varint.js';
import { Prng } from '../helpers/prng.js';
import { vectorsNamed } from '../helpers/vectors.js';

const MAX = 2n ** 64n - 1n;

/** The value at the beginning of `bytes` and what it took; `undefined` while bytes are missing. */
function read(bytes: Uint8Array, at = 0): { value: Uint64; end: number } | undefined {
  const reader = new VarintReader();
  const end = reader.read(bytes, at, bytes.length);
  return end < 0 ? undefined : { value: reader.value, end };
}

function write(value: Uint64): Buffer {
  const bytes = Buffer.alloc(12);
  return bytes.subarray(0, appendVarint(bytes, 0, value));
}

/** Both sides of every power of two. */
const EDGES = Array.from({ length: 65 }, (_, power) => [2n ** BigInt(power) - 1n, 2n ** BigInt(power)])
  .flat()
  .filter((value) => value <= MAX);

describe('VarintReader', () => {
  const vectors = vectorsNamed<{ value: string }>('varint_').filter(
    ({ decoded }) => decoded.type === 'varint',
  );

  it.each(vectors.map((vector) => [vector.name, vector] as const))('reads %s', (_name, { hex, decoded }) => {
    const bytes = Buffer.from(hex, 'hex');
    expect(read(bytes)).toEqual({ value: uint64(BigInt(decoded.value)), end: bytes.length });
  });

  it.each(vectors.map((vector) => [vector.name, vector] as const))(
    'waits for the rest of %s, cut at every byte',
    (_name, { hex }) => {
      const bytes = Buffer.from(hex, 'hex');
      for (let size = 0; size < bytes.length; size++) expect(read(bytes.subarray(0, size))).toBeUndefined();
    },
  );

  it('waits for more where the vectors say that it is incomplete', () => {
    const incomplete = vectorsNamed('varint_incomplete')[0]!;
    expect(read(Buffer.from(incomplete.hex, 'hex'))).toBeUndefined();
  });

  it('refuses ten bytes that all say that more follow', () => {
    const tooLong = vectorsNamed('varint_too_long')[0]!;
    expect(() => read(Buffer.from(tooLong.hex, 'hex'))).toThrow(ProtocolError);
    expect(() => read(Buffer.alloc(10, 0x80))).toThrow('varint too long');
  });

  it('does not refuse nine of them: the tenth may end it', () => {
    expect(read(Buffer.alloc(9, 0x80))).toBeUndefined();
  });

  it('accepts spellings longer than needed', () => {
    expect(read(Buffer.from('8100', 'hex'))).toEqual({ value: 1, end: 2 });
    expect(read(Buffer.from('81808080808080808000', 'hex'))).toEqual({ value: 1, end: 10 });
  });

  it('answers a number while that is exact, and a bigint above', () => {
    expect(read(write(Number.MAX_SAFE_INTEGER))!.value).toBe(Number.MAX_SAFE_INTEGER);
    expect(read(write(2n ** 53n))!.value).toBe(2n ** 53n);
  });

  it('reads where it is told to, and not beyond the end it is given', () => {
    const bytes = Buffer.from('ffff05ffff', 'hex');
    expect(read(bytes, 2)).toEqual({ value: 5, end: 3 });
    const reader = new VarintReader();
    expect(reader.read(Buffer.from('8001', 'hex'), 0, 1)).toBe(-1);
  });
});

describe('appendVarint', () => {
  it.each(EDGES.map((value) => [value]))('writes %s so that it reads back, in the least bytes', (value) => {
    const bytes = write(uint64(value));
    const bits = value.toString(2).length;
    expect(bytes.length).toBe(Math.ceil(bits / 7));
    expect(read(bytes)).toEqual({ value: uint64(value), end: bytes.length });
  });

  it('writes the golden vectors whose form is the shortest', () => {
    const longForms = ['varint_10th_byte_excess_bits_dropped', 'varint_10th_byte_value2_is_zero'];
    for (const { name, hex, decoded } of vectorsNamed<{ value: string }>('varint_')) {
      if (decoded.type !== 'varint' || longForms.includes(name)) continue;
      expect(write(uint64(BigInt(decoded.value))).toString('hex')).toBe(hex);
    }
  });

  it('reads back whatever random number it wrote', () => {
    const random = new Prng(1);
    for (let i = 0; i < 2000; i++) {
      const value = random.bytes(8).readBigUInt64LE() >> BigInt(random.int(64));
      expect(read(write(uint64(value)))!.value).toBe(uint64(value));
    }
  });
});

describe('varintSize', () => {
  it.each(EDGES.map((value) => [value]))('says how many bytes %s takes', (value) => {
    expect(varintSize(uint64(value))).toBe(write(uint64(value)).length);
  });
});

describe('uint64', () => {
  it('makes a number of what a number holds exactly, and leaves the rest', () => {
    expect(uint64(0n)).toBe(0);
    expect(uint64(BigInt(Number.MAX_SAFE_INTEGER))).toBe(Number.MAX_SAFE_INTEGER);
    expect(uint64(2n ** 53n)).toBe(2n ** 53n);
    expect(uint64(MAX)).toBe(MAX);
  });
});
