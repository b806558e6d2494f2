import { RpcException } from '@nestjs/microservices';
import { describe, expect, it } from 'vitest';
import { DrpcException } from '../../lib/bridge/exception.js';
import { DrpcCode } from '../../lib/errors/codes.js';

describe('DrpcException', () => {
  it('is an RpcException, so that filters for those take it', () => {
    const exception = new DrpcException(DrpcCode.NotFound, 'no such row');
    expect(exception).toBeInstanceOf(RpcException);
    expect(exception).toBeInstanceOf(Error);
    expect(exception.getError()).toEqual({ code: 5, message: 'no such row' });
    expect(exception).toMatchObject({ name: 'DrpcException', code: 5, message: 'no such row', details: [] });
    expect('cause' in exception).toBe(false);
  });

  it('keeps details and cause', () => {
    const cause = new Error('behind');
    const details = [{ typeUrl: 'type.googleapis.com/x', value: Buffer.from('y') }];
    const exception = new DrpcException(DrpcCode.Internal, 'text', { details, cause });
    expect(exception.details).toBe(details);
    expect(exception.cause).toBe(cause);
  });

  it.each([
    ['invalidArgument', DrpcCode.InvalidArgument],
    ['notFound', DrpcCode.NotFound],
    ['alreadyExists', DrpcCode.AlreadyExists],
    ['permissionDenied', DrpcCode.PermissionDenied],
    ['resourceExhausted', DrpcCode.ResourceExhausted],
    ['failedPrecondition', DrpcCode.FailedPrecondition],
    ['aborted', DrpcCode.Aborted],
    ['unimplemented', DrpcCode.Unimplemented],
    ['unavailable', DrpcCode.Unavailable],
    ['unauthenticated', DrpcCode.Unauthenticated],
  ] as const)('%s makes one with its code', (name, code) => {
    const cause = new Error('behind');
    expect(DrpcException[name]('text', { cause })).toMatchObject({ code, message: 'text', cause });
  });
});
