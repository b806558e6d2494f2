import { RpcException } from '@nestjs/microservices';
import { describe, expect, it } from 'vitest';
import { DrpcException } from '../../lib/bridge/exception.js';
import { toDrpcError } from '../../lib/bridge/to-drpc-error.js';
import { UnhandledException } from '../../lib/bridge/unhandled-exception.js';
import { DrpcCode } from '../../lib/errors/codes.js';
import { ClosedError, DeadlineError, DrpcError } from '../../lib/errors/drpc-error.js';
import { isStreamRefused, streamRefused } from '../../lib/errors/error-info.js';

describe('toDrpcError', () => {
  it('keeps details of a DrpcException', () => {
    const details = [{ typeUrl: 'type.googleapis.com/x', value: Buffer.from('y') }];
    const { error, fault } = toDrpcError(new DrpcException(DrpcCode.Aborted, 'text', { details }), false);
    expect(error).toMatchObject({ code: DrpcCode.Aborted, message: 'text', details });
    expect(fault).toBeUndefined();
  });

  it.each([
    [{ code: 0, message: 'x' }, DrpcCode.Unknown],
    [{ code: 17, message: 'x' }, DrpcCode.Unknown],
    [{ code: 'ENOENT', message: 'x' }, DrpcCode.Unknown],
    [{ code: 'ENOENT', status: 5, message: 'x' }, DrpcCode.NotFound],
    [{ status: 'error', message: 'x' }, DrpcCode.Unknown],
    [{ code: 16, message: 'x' }, DrpcCode.Unauthenticated],
  ])('reads the code of an RpcException of %j, and of such an object of a filter', (inner, code) => {
    expect(toDrpcError(new RpcException(inner), false).error).toMatchObject({ code, message: 'x' });
    expect(toDrpcError(inner, false).error).toMatchObject({ code, message: 'x' });
    expect(toDrpcError(inner, false).fault).toBeUndefined();
  });

  it.each([['text'], [{ code: 5, message: 'x' }]])(
    'does not take what a handler throws for meant: %j',
    (value) => {
      const { error, fault } = toDrpcError(new UnhandledException(value), false);
      expect(error).toMatchObject({ code: DrpcCode.Unknown, message: 'Internal server error', cause: value });
      expect(fault).toBe(value);
    },
  );

  it.each([[{ code: 5 }], [5], [new Error('secret')]])(
    'does not understand %s, not even of a filter',
    (value) => {
      expect(toDrpcError(value, false)).toMatchObject({
        error: { code: DrpcCode.Unknown, message: 'Internal server error' },
        fault: value,
      });
    },
  );

  it('has a fault to log for nothing at all', () => {
    expect(toDrpcError(undefined, false).fault).toEqual(new Error('a handler threw nothing'));
  });

  it('answers what throws when it is looked at, and has the throw to log', () => {
    const fault = new Error('secret');
    const thrown = {
      get message(): string {
        throw fault;
      },
    };
    expect(toDrpcError(thrown, false)).toMatchObject({
      error: { code: DrpcCode.Unknown, message: 'Internal server error' },
      fault,
    });
  });

  it('lets no error of the application say that the call was never started', () => {
    const refusal = streamRefused('another service is busy');
    const { code, message, details } = refusal;
    const other = { typeUrl: 'type.googleapis.com/x', value: Buffer.from('y') };
    for (const thrown of [refusal, new DrpcException(code, message, { details: [...details, other] })]) {
      const { error } = toDrpcError(thrown, true);
      expect(error).toMatchObject({ code, message });
      expect(isStreamRefused(error)).toBe(false);
    }
    expect(
      toDrpcError(new DrpcException(code, message, { details: [...details, other] }), true).error.details,
    ).toEqual([other]);
  });

  it('hides errors of calls to other services, but for a cancel and a deadline', () => {
    expect(toDrpcError(new ClosedError('host 10.0.0.1'), false)).toMatchObject({
      error: { code: DrpcCode.Unknown, message: 'Internal server error' },
      fault: { message: 'host 10.0.0.1' },
    });
    expect(toDrpcError(new DeadlineError('host 10.0.0.1'), false)).toMatchObject({
      error: { code: DrpcCode.DeadlineExceeded, message: 'deadline exceeded' },
      fault: undefined,
    });
  });

  it('passes them on when it is told to', () => {
    const error = new DrpcError(DrpcCode.NotFound, 'text');
    expect(toDrpcError(error, true)).toEqual({ error, fault: undefined });
    expect(toDrpcError(new UnhandledException(error), true).error).toBe(error);
  });
});
