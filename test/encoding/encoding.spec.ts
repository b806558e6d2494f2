import { runInNewContext } from 'node:vm';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  bytesEncoding,
  jsonEncoding,
  marshalChecked,
  unmarshalMessage,
  type Encoding,
} from '../../lib/encoding/encoding.js';

function marshalJson(value: unknown): Buffer {
  return Buffer.from(jsonEncoding.marshal(value) as string);
}

describe('jsonEncoding', () => {
  it('has a name', () => {
    expect(jsonEncoding.name).toBe('json');
  });

  it('comes back as it was', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const bytes = marshalJson(value);
        const plain = JSON.parse(JSON.stringify(value)) as unknown; // -0 has no JSON form
        expect(jsonEncoding.unmarshal(bytes)).toEqual(plain);
        expect(
          jsonEncoding.unmarshalRange(
            Buffer.concat([Buffer.from('x'), bytes, Buffer.from('y')]),
            1,
            bytes.length + 1,
          ),
        ).toEqual(plain);
      }),
    );
  });

  it('has the empty message for undefined', () => {
    expect(jsonEncoding.marshal(undefined)).toBe('');
    expect(jsonEncoding.unmarshal(Buffer.alloc(0))).toBeUndefined();
    expect(jsonEncoding.unmarshalRange(Buffer.from('{}'), 1, 1)).toBeUndefined();
  });

  it.each([null, false, 0, ''])('does not take %o for undefined', (value) => {
    const bytes = marshalJson(value);
    expect(bytes.length).toBeGreaterThan(0);
    expect(jsonEncoding.unmarshal(bytes)).toBe(value);
  });

  it('reads a plain Uint8Array that is a part of a larger memory', () => {
    const whole = new TextEncoder().encode('xx{"größe":1}yy');
    expect(jsonEncoding.unmarshal(whole.subarray(2, whole.length - 2))).toEqual({ größe: 1 });
  });

  it.each([
    ['a function', () => 1, 'a function has no JSON form'],
    ['a symbol', Symbol('s'), 'a symbol has no JSON form'],
    ['an object that hides itself', { toJSON: () => undefined }, 'an Object has no JSON form'],
  ])('refuses %s, which would arrive as undefined', (_what, value, text) => {
    expect(() => jsonEncoding.marshal(value)).toThrow(new TypeError(text));
  });

  it('lets the errors of JSON through', () => {
    const circle: unknown[] = [];
    circle.push(circle);
    expect(() => jsonEncoding.marshal(circle)).toThrow(TypeError);
    expect(() => jsonEncoding.marshal(1n)).toThrow(TypeError);
  });

  it.each(['{', 'undefined', '{"a":1}}', '\0'])('refuses the message %j', (text) => {
    expect(() => jsonEncoding.unmarshal(Buffer.from(text))).toThrow(SyntaxError);
  });

  it('gives a key of a peer no power over prototypes', () => {
    const value = jsonEncoding.unmarshal(Buffer.from('{"__proto__":{"admin":true}}')) as object;
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(Object.keys(value)).toEqual(['__proto__']);
    expect('admin' in value).toBe(false);
    expect('admin' in {}).toBe(false);
  });
});

describe('bytesEncoding', () => {
  it('has a name', () => {
    expect(bytesEncoding.name).toBe('bytes');
  });

  it('sends the bytes themselves, without a copy', () => {
    const buffer = Buffer.from('abc');
    const array = Uint8Array.of(1, 2);
    const foreign = runInNewContext('Uint8Array.of(7)') as Uint8Array;
    expect(bytesEncoding.marshal(buffer)).toBe(buffer);
    expect(bytesEncoding.marshal(array)).toBe(array);
    expect(bytesEncoding.marshal(foreign)).toBe(foreign);
  });

  it.each([
    ['text', 'a string'],
    [undefined, 'undefined'],
    [null, 'null'],
    [7, 'a number'],
    [[1, 2], 'an Array'],
    [new ArrayBuffer(2), 'an ArrayBuffer'],
    [new DataView(new ArrayBuffer(2)), 'a DataView'],
    [new Uint16Array(1), 'a Uint16Array'],
    [{ type: 'Buffer', data: [1] }, 'an Object'],
    [Object.create(null), 'an object'],
  ])('refuses %o by name', (value, name) => {
    const text = `value is ${name}: must be a Buffer or Uint8Array`;
    expect(() => bytesEncoding.marshal(value as Uint8Array)).toThrow(new TypeError(text));
  });

  it('gives the receiver a Buffer that is its own', () => {
    const bytes = Buffer.from('xabcx');
    const value = bytesEncoding.unmarshal(bytes.subarray(1, 4));
    bytes.fill(0);
    expect(value).toEqual(Buffer.from('abc'));
  });

  it("does not copy what is the receiver's already", () => {
    const bytes = Buffer.from('abc');
    expect(bytesEncoding.unmarshalOwned(bytes)).toBe(bytes);
  });

  it('carries the empty message', () => {
    expect(bytesEncoding.marshal(Buffer.alloc(0)).length).toBe(0);
    expect(bytesEncoding.unmarshal(new Uint8Array(0))).toEqual(Buffer.alloc(0));
  });
});

describe('unmarshalMessage', () => {
  const own = Buffer.from('own');
  const keeper = { keepMessage: () => own };
  const base: Encoding = { name: 'told', marshal: () => '', unmarshal: (bytes) => ['whole', String(bytes)] };
  const ranged: Encoding = {
    ...base,
    unmarshalRange: (bytes, start, end) => ['range', String(bytes), start, end],
  };
  const owned: Encoding = { ...ranged, unmarshalOwned: (bytes) => ['owned', bytes] };

  it.each([
    ['all of them', base, ['whole', 'bc']],
    ['a range', ranged, ['range', 'abcd', 1, 3]],
    ['what the keeper gives for good', owned, ['owned', own]],
  ])('gives the encoding %s, whichever it can take', (_what, encoding, told) => {
    expect(unmarshalMessage(encoding, keeper, Buffer.from('abcd'), 1, 3)).toEqual(told);
  });
});

describe('marshalChecked', () => {
  const giving = (message: unknown): Encoding => ({
    name: 'own',
    marshal: () => message as string,
    unmarshal: () => undefined,
  });

  it.each(['', 'text', Buffer.alloc(0), Buffer.from('b'), new Uint8Array(2)])('takes %o', (message) => {
    expect(marshalChecked(giving(message), 1)).toBe(message);
  });

  it('takes bytes of another realm', () => {
    const message: unknown = runInNewContext('new Uint8Array(2)');
    expect(marshalChecked(giving(message), 1)).toBe(message);
  });

  it.each<[unknown, string]>([
    [undefined, 'undefined'],
    [null, 'null'],
    [5, 'a number'],
    [{}, 'an Object'],
    [new Uint16Array(1), 'a Uint16Array'],
    [Promise.resolve('x'), 'a Promise'],
  ])('refuses %o, whose size nobody knows', (message, name) => {
    expect(() => marshalChecked(giving(message), 1)).toThrow(
      new TypeError(`own encoding: marshal() gave ${name}: must be a Uint8Array or a string`),
    );
  });
});
