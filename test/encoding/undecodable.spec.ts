import { describe, expect, it } from 'vitest';

import { undecodable } from '../../lib/encoding/undecodable.js';
import { DrpcError } from '../../lib/errors/drpc-error.js';

describe('undecodable', () => {
  it.each([
    ['server', 3, 'a message of "sum" is not valid json'],
    ['client', 13, 'an answer of "sum" is not valid json'],
  ] as const)('has the code of the %s: %d', (reader, code, message) => {
    const cause = new SyntaxError('no JSON');
    const error = undecodable(reader, 'sum', 'json', cause);
    expect(error).toBeInstanceOf(DrpcError);
    expect(error).toMatchObject({ code, message, cause });
  });

  it('shows names as text of one line', () => {
    expect(undecodable('server', 'a\nb', 'c\nd', undefined).message).toBe(
      'a message of "a\\nb" is not valid c\\nd',
    );
  });
});
