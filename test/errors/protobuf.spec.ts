import { describe, expect, it } from 'vitest';

import { ProtocolError } from '../../lib/errors/drpc-error.js';
import {
  bytesField,
  optionalField,
  ProtobufReader,
  varintField,
  varintSize,
  WireType,
  writeVarint,
} from '../../lib/errors/protobuf.js';

function readerOf(hex: string): ProtobufReader {
  const bytes = Buffer.from(hex, 'hex');
  return new ProtobufReader(bytes, 0, bytes.length);
}

describe('writeVarint', () => {
  it.each([
    [0, '00'],
    [127, '7f'],
    [128, '8001'],
    [16384, '808001'],
    [2 ** 32, '8080808010'],
    [Number.MAX_SAFE_INTEGER, 'ffffffffffffff0f'],
  ])('writes %d as %s', (value, hex) => {
    const target = Buffer.alloc(12);
    expect(writeVarint(target, 1, value)).toBe(1 + hex.length / 2);
    expect(varintSize(value)).toBe(hex.length / 2);
    expect(target.toString('hex', 1, 1 + hex.length / 2)).toBe(hex);
  });
});

describe('fields', () => {
  it('have a tag and, but for numbers, a length', () => {
    expect(varintField(1, 300).toString('hex')).toBe('08ac02');
    expect(bytesField(2, 'hé').toString('hex')).toBe('120368c3a9');
    expect(bytesField(3, Uint8Array.of(1, 2)).toString('hex')).toBe('1a020102');
    expect(bytesField(2, '').toString('hex')).toBe('1200');
  });

  it('are left out when optional and empty', () => {
    expect(optionalField(2, '').length).toBe(0);
    expect(optionalField(2, new Uint8Array(0)).length).toBe(0);
    expect(optionalField(2, 'x').toString('hex')).toBe('120178');
  });
});

describe('ProtobufReader', () => {
  it('walks over fields of every wire type', () => {
    const reader = readerOf(`08ac02${'11'}${'00'.repeat(8)}1a0201021d00000000`);
    const seen: [number, WireType][] = [];
    while (reader.next()) seen.push([reader.number, reader.wireType]);
    expect(seen).toEqual([
      [1, WireType.Varint],
      [2, WireType.Fixed64],
      [3, WireType.Bytes],
      [3, WireType.Fixed32],
    ]);
  });

  it('gives the value of the current field', () => {
    const reader = readerOf('08ac02120368c3a9');
    reader.next();
    expect(reader.isVarint(1)).toBe(true);
    expect(reader.isVarint(2)).toBe(false);
    expect(reader.isBytes(1)).toBe(false);
    expect(reader.int32).toBe(300);
    reader.next();
    expect(reader.isBytes(2)).toBe(true);
    expect(reader.isVarint(2)).toBe(false);
    expect(reader.text()).toBe('hé');
    expect(reader.next()).toBe(false);
  });

  it('copies bytes out into memory of their own', () => {
    const bytes = Buffer.from('1a020102', 'hex');
    const reader = new ProtobufReader(bytes, 0, bytes.length);
    reader.next();
    const copy = reader.copy();
    bytes.fill(0xff);
    expect([...copy]).toEqual([1, 2]);
    expect(copy.buffer.byteLength).toBe(2);
  });

  it('reads a negative number as protobuf writes it, in ten bytes', () => {
    const reader = readerOf('08ffffffffffffffffff01');
    reader.next();
    expect(reader.int32).toBe(-1);
  });

  it('stays inside its bounds', () => {
    const bytes = Buffer.from('ffff08010aff', 'hex');
    const reader = new ProtobufReader(bytes, 2, 4);
    expect(reader.next()).toBe(true);
    expect(reader.next()).toBe(false);
  });

  it.each([
    ['a varint without its end', '0880', 'cut short'],
    ['a tag alone', '08', 'cut short'],
    ['a length beyond the end', '0a0561', 'cut short'],
    ['a length near 2^64', '0affffffffffffffffff0161', 'cut short'],
    ['half a fixed64', '0900000000', 'cut short'],
    ['half a fixed32', '0d0000', 'cut short'],
    ['a varint of 11 bytes', `08${'80'.repeat(10)}01`, 'varint too long'],
    ['field number 0', '0001', 'field number 0'],
    ['a group', '0b0c', 'wire type 3'],
    ['a wire type that does not exist', '0f', 'wire type 7'],
  ])('refuses %s', (_what, hex, text) => {
    const reader = readerOf(hex);
    expect(() => reader.next()).toThrow(ProtocolError);
    expect(() => readerOf(hex).next()).toThrow(text);
  });
});
