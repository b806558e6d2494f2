import { createRegistry, fromBinary, toJson, type JsonValue } from '@bufbuild/protobuf';
import { beforeAll, describe, expect, it } from 'vitest';

import type { Encoding } from '../../lib/encoding/encoding.js';
import { isDescMethod, loadDescReader, type DescReader } from '../../lib/service/protobuf-es.js';
import { AllTypesSchema, Color, file_greeter, Greeter } from '../fixtures/gen/greeter_pb.js';
import { golden, goldens, hexOf, type Golden } from './helpers/goldens.js';

const registry = createRegistry(file_greeter);

let reader: DescReader;
let allTypes: Encoding;

beforeAll(async () => {
  reader = await loadDescReader();
  allTypes = reader.method(Greeter.method.echoAll).serverEncoding;
});

function read(name: string): unknown {
  return allTypes.unmarshal(Buffer.from(golden(name).hex, 'hex'));
}

function json(bytes: Uint8Array): JsonValue {
  return toJson(AllTypesSchema, fromBinary(AllTypesSchema, bytes), { registry });
}

/** Go writes a float with as few digits as tell it from other floats, JavaScript all of them. */
function withWholeFloats(expected: Golden['json']): Golden['json'] {
  const { fFloat } = expected;
  return typeof fFloat === 'number' ? { ...expected, fFloat: Math.fround(fFloat) } : expected;
}

describe('a method of protoc-gen-es', () => {
  it.each([
    ['sayHello', '/interop.v1.Greeter/SayHello', false, false],
    ['listHellos', '/interop.v1.Greeter/ListHellos', false, true],
    ['collectHellos', '/interop.v1.Greeter/CollectHellos', true, false],
    ['chat', '/interop.v1.Greeter/Chat', true, true],
  ] as const)('%s has its rpc and its shape', (localName, rpc, requestStream, responseStream) => {
    const desc = Greeter.method[localName];
    expect(reader.method(desc)).toMatchObject({
      rpc,
      name: desc.name,
      localName,
      requestStream,
      responseStream,
    });
  });

  it('belongs to its service', () => {
    const service = reader.service(Greeter);
    expect(service).toMatchObject({ name: 'interop.v1.Greeter', localName: 'Greeter' });
    expect(service.methods.map(({ name }) => name)).toEqual(Greeter.methods.map(({ name }) => name));
  });

  it('is told from a name', () => {
    expect(isDescMethod(Greeter.method.chat)).toBe(true);
    expect(isDescMethod({ service: 'Greeter', method: 'Chat' })).toBe(false);
    expect(isDescMethod(Greeter)).toBe(false);
  });
});

describe('the encoding of protoc-gen-es', () => {
  it('writes what the other side reads', () => {
    const { serverEncoding, clientEncoding } = reader.method(Greeter.method.sayHello);
    const request = clientEncoding.marshal({ name: 'Go' });
    expect(serverEncoding.unmarshal(request as Uint8Array)).toMatchObject({ name: 'Go', hang: false });
    const response = serverEncoding.marshal({ message: 'Hello', index: 1 });
    expect(clientEncoding.unmarshal(response as Uint8Array)).toMatchObject({ message: 'Hello', index: 1 });
  });

  it.each(goldens)('reads what Go writes: $name', ({ hex, json: expected }) => {
    const message = allTypes.unmarshal(Buffer.from(hex, 'hex'));
    expect(toJson(AllTypesSchema, message as never, { registry })).toEqual(withWholeFloats(expected));
  });

  // Maps have no order; Go sorts them, and JavaScript puts numbers first.
  it.each(goldens.filter(({ name }) => name !== 'maps'))('writes what Go writes: $name', ({ hex }) => {
    expect(hexOf(allTypes.marshal(allTypes.unmarshal(Buffer.from(hex, 'hex'))))).toBe(hex);
  });

  it('writes maps that hold what those of Go hold', () => {
    const { hex, json: expected } = golden('maps');
    const written = Buffer.from(hexOf(allTypes.marshal(allTypes.unmarshal(Buffer.from(hex, 'hex')))), 'hex');
    expect(written).toHaveLength(hex.length / 2);
    expect(json(written)).toEqual(expected);
  });

  it('writes messages that are given by their fields', () => {
    const bytes = allTypes.marshal({
      fInt64: -(2n ** 63n),
      fColor: Color.GREEN,
      choice: { case: 'cNested', value: { name: 'n' } },
      mBoolColor: { false: Color.RED },
      wTimestamp: { seconds: 1n },
      rBytes: [new Uint8Array([1])],
    });
    expect(json(Buffer.from(hexOf(bytes), 'hex'))).toEqual({
      fInt64: '-9223372036854775808',
      fColor: 'COLOR_GREEN',
      cNested: { name: 'n' },
      mBoolColor: { false: 'COLOR_RED' },
      wTimestamp: '1970-01-01T00:00:01Z',
      rBytes: ['AQ=='],
    });
  });

  it('has 64-bit numbers exact, enums as numbers and oneofs as a case', () => {
    expect(read('above 2^53')).toMatchObject({ fInt64: 9007199254740993n, fUint64: 9223372036854775809n });
    expect(read('unknown enum number')).toMatchObject({ fColor: 42, rColor: [Color.RED, 42] });
    expect(read('oneof string, empty')).toMatchObject({ choice: { case: 'cString', value: '' } });
    expect(read('empty')).toMatchObject({ choice: { case: undefined }, fInt64: 0n, fString: '', rInt32: [] });
  });

  it.each([undefined, null])('takes %s for a message without fields', (value) => {
    expect(hexOf(allTypes.marshal(value))).toBe('');
  });

  it.each([
    ['a wrong type', { fNested: 5, fInt32: '5' }],
    ['a number out of range', { fInt32: 2 ** 31 }],
    ['a 64-bit number out of range', { fInt64: 2n ** 63n }],
  ])('refuses %s', (_what, value) => {
    expect(() => allTypes.marshal(value)).toThrow(Error);
  });

  it.each([
    ['half a message', '7205'],
    ['a field number that cannot be', '00'],
    ['text that is no UTF-8', '7201ff'],
  ])('refuses %s', (_what, hex) => {
    expect(() => allTypes.unmarshal(Buffer.from(hex, 'hex'))).toThrow(Error);
  });

  it('keeps fields that it does not know', () => {
    const unknown = 'f8ff7f01'; // field 262143: 1
    expect(hexOf(allTypes.marshal(allTypes.unmarshal(Buffer.from(unknown, 'hex'))))).toBe(unknown);
  });

  it('keeps nothing of borrowed memory', () => {
    const borrowed = Buffer.from('00007a03010203f8ff7f0100', 'hex');
    const message = allTypes.unmarshal(borrowed.subarray(2, 11)) as { fBytes: Uint8Array };
    borrowed.fill(0xff);
    expect(hexOf(message.fBytes)).toBe('010203');
    expect(hexOf(allTypes.marshal(message))).toBe('7a03010203f8ff7f01');
  });

  it('does not copy what it may keep', () => {
    const owned = Buffer.from('7a03010203', 'hex');
    const { fBytes } = allTypes.unmarshalOwned!(owned) as { fBytes: Uint8Array };
    expect(fBytes.buffer).toBe(owned.buffer);
  });
});
