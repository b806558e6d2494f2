import { inspect } from 'node:util';

import { describe, expect, it } from 'vitest';

import { DrpcCode } from '../../lib/errors/codes.js';
import {
  CanceledError,
  ClosedError,
  DeadlineError,
  DrpcError,
  EofError,
  messageWithCode,
  MessageSizeError,
  ProtocolError,
} from '../../lib/errors/drpc-error.js';

describe('DrpcError', () => {
  it('carries code, message, cause and details', () => {
    const cause = new Error('socket');
    const details = [{ typeUrl: 'x/y.Z', value: Uint8Array.of(1) }];
    const error = new DrpcError(DrpcCode.NotFound, 'no such order', { cause, details });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: 'DrpcError', code: 5, message: 'no such order', cause, details });
    expect(error.rawCode).toBeUndefined();
  });

  it('has no details and no cause of its own', () => {
    const error = new DrpcError(DrpcCode.Internal, 'x');
    expect(error.details).toEqual([]);
    expect('cause' in error).toBe(false);
    expect('cause' in new DrpcError(DrpcCode.Internal, 'x', { cause: undefined })).toBe(false);
  });

  it.each([
    [0, 0n],
    [17, 17n],
    [404, 404n],
    [Number.MAX_SAFE_INTEGER, 9007199254740991n],
    [-1, undefined],
    [1.5, undefined],
    [Number.NaN, undefined],
    [2 ** 60, undefined],
  ])('makes the foreign code %d Unknown with rawCode %s', (code, rawCode) => {
    expect(new DrpcError(code, 'x')).toMatchObject({ code: DrpcCode.Unknown, rawCode });
  });

  it('keeps a rawCode that is given', () => {
    expect(new DrpcError(DrpcCode.Unknown, 'x', { rawCode: 1n << 63n }).rawCode).toBe(1n << 63n);
  });

  it('can be logged as JSON and inspected when it has a rawCode', () => {
    const error = new DrpcError(DrpcCode.Unknown, 'x', { rawCode: 404n });
    expect(JSON.parse(JSON.stringify(error))).toEqual({ name: 'DrpcError', code: 2, details: [] });
    expect(inspect(error)).toContain('DrpcError: x');
  });
});

describe('DrpcError subclasses', () => {
  it.each([
    [ProtocolError, 'ProtocolError', DrpcCode.Internal],
    [ClosedError, 'ClosedError', DrpcCode.Unavailable],
    [CanceledError, 'CanceledError', DrpcCode.Canceled],
    [DeadlineError, 'DeadlineError', DrpcCode.DeadlineExceeded],
    [MessageSizeError, 'MessageSizeError', DrpcCode.ResourceExhausted],
    [EofError, 'EofError', DrpcCode.OutOfRange],
  ])('%o has its name and code', (Class, name, code) => {
    const cause = new Error('below');
    const error = new Class('text', { cause });
    expect(error).toBeInstanceOf(DrpcError);
    expect(error).toMatchObject({ name, code, message: 'text', cause });
  });

  it('are told apart by class, not by code', () => {
    expect(new DrpcError(DrpcCode.Canceled, 'x')).not.toBeInstanceOf(CanceledError);
    expect(new CanceledError()).not.toBeInstanceOf(DeadlineError);
  });

  it('have a text where the class says it all', () => {
    expect(new CanceledError().message).toBe('canceled');
    expect(new DeadlineError().message).toBe('deadline exceeded');
  });
});

describe('DrpcError.from', () => {
  it('returns a DrpcError as it is', () => {
    const error = new ClosedError('gone');
    expect(DrpcError.from(error)).toBe(error);
  });

  it('keeps the text of another Error and has it as cause', () => {
    const cause = new RangeError('too far');
    expect(DrpcError.from(cause)).toMatchObject({ code: DrpcCode.Unknown, message: 'too far', cause });
  });

  it('makes the reason of an AbortSignal a CanceledError', () => {
    const controller = new AbortController();
    controller.abort();
    const error = DrpcError.from(controller.signal.reason);
    expect(error).toBeInstanceOf(CanceledError);
    expect(error.cause).toBe(controller.signal.reason);
  });

  it('makes the reason of a timed out AbortSignal a DeadlineError', () => {
    const reason = new DOMException('The operation was aborted due to timeout', 'TimeoutError');
    expect(DrpcError.from(reason)).toBeInstanceOf(DeadlineError);
  });

  it('does not read the number of a DOMException or the text code of a system error as a status', () => {
    expect(DrpcError.from(new DOMException('x', 'NotFoundError')).code).toBe(DrpcCode.Unknown); // its number is 8
    const reset = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
    expect(DrpcError.from(reset).code).toBe(DrpcCode.Unknown);
  });

  it('reads code and message of a plain object', () => {
    expect(DrpcError.from({ code: 5, message: 'gone' })).toMatchObject({ code: 5, message: 'gone' });
    expect(DrpcError.from({ code: 99, message: 'own' })).toMatchObject({ code: 2, rawCode: 99n });
    expect(DrpcError.from({ code: '5', message: 'gone' })).toMatchObject({ code: 2, message: 'gone' });
  });

  it.each([
    ['text', 'text'],
    [undefined, 'thrown value is not an error: undefined'],
    [null, 'thrown value is not an error: object'],
    [7, 'thrown value is not an error: number'],
    [{ code: 5 }, 'thrown value is not an error: object'],
  ])('makes %o an Unknown error', (value, message) => {
    expect(DrpcError.from(value)).toMatchObject({ code: DrpcCode.Unknown, message });
  });
});

describe('messageWithCode', () => {
  it.each<[unknown, string]>([
    [undefined, 'lost'],
    [new Error('no code'), 'lost'],
    [Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }), 'lost (ECONNRESET)'],
    [new ProtocolError('a number is no code of Node'), 'lost'],
    [null, 'lost'],
  ])('of an error with the cause %o', (cause, text) => {
    expect(messageWithCode(new ClosedError('lost', { cause }))).toBe(text);
  });
});
