import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';

import { encodeBadRequest } from '../../lib/errors/bad-request.js';
import { BadRequestSchema } from '../../lib/protobuf.js';

describe('encodeBadRequest', () => {
  it.each([
    ['none', []],
    ['one', [{ field: 'name', description: 'name must be a string' }]],
    [
      'several, with empty and long texts',
      [
        { field: '', description: 'größe' },
        { field: 'a.b', description: '' },
        { field: '', description: '' },
        { field: 'x'.repeat(200), description: 'y'.repeat(70_000) },
      ],
    ],
  ])('writes google.rpc.BadRequest: %s', (_what, violations) => {
    const { typeUrl, value } = encodeBadRequest(violations);
    expect(typeUrl).toBe('type.googleapis.com/google.rpc.BadRequest');
    const read = fromBinary(BadRequestSchema, value).fieldViolations;
    expect(read.map(({ field, description }) => ({ field, description }))).toEqual(violations);
  });
});
