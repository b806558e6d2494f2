import { describe, expect, it } from 'vitest';

import { typeName } from '../../lib/errors/type-name.js';

describe('typeName', () => {
  it.each([
    [undefined, 'undefined'],
    [null, 'null'],
    ['', 'a string'],
    [0, 'a number'],
    [1n, 'a bigint'],
    [() => 1, 'a function'],
    [Symbol('s'), 'a symbol'],
    [{}, 'an Object'],
    [[], 'an Array'],
    [new Map(), 'a Map'],
    [new Uint8Array(), 'a Uint8Array'],
    [Object.create(null), 'an object'],
    [{ constructor: undefined }, 'an object'],
    [{ constructor: null }, 'an object'],
    [{ constructor: { name: 5 } }, 'an object'],
    [{ constructor: { name: '\n[Nest] all is well' } }, 'an object'],
    [{ constructor: { name: { toString: 1, valueOf: 1 } } }, 'an object'],
    [
      new (class {
        static readonly name = 5;
      })(),
      'an object',
    ],
  ])('%# says %2$s', (value, name) => {
    expect(typeName(value)).toBe(name);
  });
});
