import { BadRequestException, HttpException } from '@nestjs/common';
import { describe, expect, it } from 'vitest';

import { textOfViolations, violationsOf } from '../../lib/bridge/violations.js';

describe('violationsOf', () => {
  it('reads a list of texts', () => {
    expect(violationsOf(new BadRequestException(['one', 'two']))).toEqual([
      { field: '', description: 'one' },
      { field: '', description: 'two' },
    ]);
  });

  it('reads texts by field', () => {
    const message = { name: ['one', 'two'], 'address.city': ['three'] };
    expect(violationsOf(new BadRequestException({ message, statusCode: 400 }))).toEqual([
      { field: 'name', description: 'one' },
      { field: 'name', description: 'two' },
      { field: 'address.city', description: 'three' },
    ]);
  });

  it.each([
    ['a text', new BadRequestException('text')],
    ['nothing', new BadRequestException()],
    ['a response that is text', new HttpException('text', 400)],
    ['something else by name', new BadRequestException({ message: { name: 'one' } })],
    ['no object', new BadRequestException({ message: 5 })],
    ['null', new BadRequestException({ message: null })],
  ])('finds none in an exception with %s', (_what, exception) => {
    expect(violationsOf(exception)).toBeUndefined();
  });
});

describe('textOfViolations', () => {
  it('is one line', () => {
    const violations = ['one', 'two'].map((description) => ({ field: 'a', description }));
    expect(textOfViolations(violations)).toBe('one; two');
  });
});
