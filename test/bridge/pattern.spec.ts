import { ServerTCP } from '@nestjs/microservices';
import { describe, expect, it } from 'vitest';
import { patternToRpc } from '../../lib/bridge/pattern.js';

/** Nest's own normal form. */
function nestRoute(pattern: unknown): string {
  const server = new ServerTCP({});
  server.addHandler(pattern, async () => undefined);
  return [...server.getHandlers().keys()][0]!;
}

describe('patternToRpc', () => {
  it.each(['sum', '', '/pkg.Service/Method', 'true', 'null', '1e3', '"q"', '{"b":1,"a":2}', 'ü{'])(
    'leaves the text %j as it is',
    (text) => {
      expect(patternToRpc(text)).toBe(text);
    },
  );

  it.each([
    [7],
    [0],
    [{ cmd: 'sum' }],
    [{ b: 1, a: { d: 'x', c: [1, 'two'] } }],
    [{ text: 'a "quoted" \\ text', none: null, yes: true, missing: undefined }],
    [{ a: { b: { c: { d: { e: { f: 1 } } } } } }],
    [Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`key${i}`, i]))],
  ])('makes the text of %j that Nest makes', (pattern) => {
    expect(patternToRpc(pattern)).toBe(nestRoute(pattern));
  });

  it('makes the same name of an object whatever the order of its keys', () => {
    expect(patternToRpc({ b: 1, a: 2 })).toBe(patternToRpc({ a: 2, b: 1 }));
  });

  it.each([
    [undefined, 'pattern is undefined: must be a string, a number or an object'],
    [null, 'pattern is null: must be a string, a number or an object'],
    [true, 'pattern is a boolean: must be a string, a number or an object'],
    [Symbol('x'), 'pattern is a symbol: must be a string, a number or an object'],
  ])('refuses %s', (pattern, message) => {
    expect(() => patternToRpc(pattern)).toThrow(new TypeError(message));
  });

  it('refuses what Nest would put a marker text in the place of', () => {
    const wide = Object.fromEntries(Array.from({ length: 21 }, (_, i) => [`key${i}`, i]));
    expect(nestRoute(wide)).toBe('[TOO_MANY_KEYS]');
    expect(() => patternToRpc(wide)).toThrow(
      new RangeError('pattern has 21 keys: Nest tells those with more than 20 not apart'),
    );
    const deep = { a: { b: { c: { d: { e: { f: { g: 1 } } } } } } };
    expect(nestRoute(deep)).toContain('[MAX_DEPTH_REACHED]');
    expect(() => patternToRpc(deep)).toThrow(
      new RangeError('pattern is nested more than 5 levels deep: Nest tells such ones not apart'),
    );
  });

  it('refuses names over the limit, counted in bytes', () => {
    expect(patternToRpc('x'.repeat(4096))).toHaveLength(4096);
    expect(() => patternToRpc('x'.repeat(4097))).toThrow(/is 4097 bytes long: at most 4096 are allowed$/);
    expect(patternToRpc('ü'.repeat(2048))).toHaveLength(2048);
    expect(() => patternToRpc('ü'.repeat(2049))).toThrow(RangeError);
    expect(() => patternToRpc('ab', 1)).toThrow('pattern "ab" is 2 bytes long: at most 1 are allowed');
  });
});
