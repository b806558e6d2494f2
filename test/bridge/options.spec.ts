import { describe, expect, it } from 'vitest';
import {
  assertKnownOptions,
  booleanOption,
  choiceOption,
  methodsOption,
  numberOption,
  objectOption,
  textOption,
} from '../../lib/bridge/options.js';
import type { Clock } from '../../lib/clock/clock.js';

describe('numberOption', () => {
  const rule = { default: 10, min: 1, max: 20 };

  it('is the default only for undefined', () => {
    expect(numberOption('size', undefined, rule)).toBe(10);
    expect(numberOption('size', 0, { ...rule, min: 0 })).toBe(0);
  });

  it.each([1, 20])('takes %d', (value) => {
    expect(numberOption('size', value, rule)).toBe(value);
  });

  it.each([0, 21, -1, 1.5, Number.NaN, Infinity])(
    'refuses %d by name, value and what is allowed',
    (value) => {
      expect(() => numberOption('size', value, rule)).toThrow(
        new RangeError(`option size is ${value}: must be a whole number from 1 to 20`),
      );
    },
  );

  it.each([
    ['10', '"10"'],
    [null, 'null'],
    [true, 'true'],
    [{}, 'an Object'],
    [10n, 'a bigint'],
  ])('refuses %s, shown as %s', (value, shown) => {
    expect(() => numberOption('size', value, rule)).toThrow(
      new TypeError(`option size is ${shown}: must be a number, a whole number from 1 to 20`),
    );
  });

  it('takes Infinity where there is no greatest', () => {
    const open = { default: Infinity, min: 1, max: Infinity };
    expect(numberOption('size', Infinity, open)).toBe(Infinity);
    expect(() => numberOption('size', 0, open)).toThrow(
      'option size is 0: must be a whole number of at least 1, or Infinity',
    );
  });
});

describe('the other options', () => {
  it('are their default for undefined', () => {
    expect(booleanOption('on', undefined, true)).toBe(true);
    expect(choiceOption('mode', undefined, ['a', 'b'], 'b')).toBe('b');
    expect(textOption('url', undefined)).toBeUndefined();
    expect(objectOption('tls', undefined)).toBeUndefined();
    expect(methodsOption<Clock>('clock', undefined, 'a Clock', ['now'])).toBeUndefined();
  });

  it('are what is given where it is allowed', () => {
    expect(booleanOption('on', false, true)).toBe(false);
    expect(choiceOption('mode', 'a', ['a', 'b'], 'b')).toBe('a');
    expect(textOption('url', 'x')).toBe('x');
    const object = {};
    expect(objectOption('tls', object)).toBe(object);
    const bare = Object.assign(Object.create(null), { a: 1 }) as object;
    expect(objectOption('tls', bare)).toBe(bare);
    const clock = new (class {
      now(): number {
        return 0;
      }
    })();
    expect(methodsOption('clock', clock, 'a Clock', ['now'])).toBe(clock);
  });

  it('name themselves, the value and what is allowed where it is not', () => {
    expect(() => booleanOption('on', 1, true)).toThrow('option on is 1: must be true or false');
    expect(() => choiceOption('mode', 'c', ['a', 'b'], 'b')).toThrow(
      `option mode is "c": must be 'a' or 'b'`,
    );
    expect(() => textOption('url', '')).toThrow('option url is "": must be text that is not empty');
    expect(() => textOption('url', 5)).toThrow('option url is 5: must be text that is not empty');
    expect(() => objectOption('tls', null as never)).toThrow('option tls is null: must be an object');
    expect(() => objectOption('tls', 'x' as never)).toThrow('option tls is "x": must be an object');
    expect(() => objectOption('tls', [])).toThrow('option tls is an Array: must be an object');
    expect(() => objectOption('tls', new Map())).toThrow('option tls is a Map: must be an object');
    const clock = { now: () => 0, after: 1 };
    expect(() => methodsOption('clock', clock, 'a Clock', ['now', 'after'])).toThrow(
      'option clock has no method after: must be a Clock',
    );
    expect(() => methodsOption('clock', null as never, 'a Clock', [])).toThrow(
      'option clock is null: must be an object',
    );
  });

  it('are all known: a misspelt one is refused', () => {
    expect(() => assertKnownOptions({ b: 1 }, ['b', 'a'])).not.toThrow();
    expect(() => assertKnownOptions({ c: 1 }, ['b', 'a'])).toThrow('option c is not known: there are a, b');
    expect(() => assertKnownOptions({ modes: 1 }, ['mode', 'a'])).toThrow(
      'option modes is not known, did you mean mode? There are a, mode',
    );
  });
});
