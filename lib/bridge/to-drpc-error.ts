import { HttpException } from '@nestjs/common';
import { GrpcException, RpcException } from '@nestjs/microservices';
import { encodeBadRequest } from '../errors/bad-request.js';
import { DrpcCode } from '../errors/codes.js';
import { CanceledError, DeadlineError, DrpcError } from '../errors/drpc-error.js';
import { withoutRefusal } from '../errors/error-info.js';
import { DrpcException } from './exception.js';
import { codeOfHttpStatus, messageOfHttpException } from './http-status.js';
import { UnhandledException } from './unhandled-exception.js';
import { violationsOf } from './violations.js';

/** All that a caller learns of a fault that was not meant for it. */
export const INTERNAL_MESSAGE = 'Internal server error';

/** What Nest throws when a guard says no; a plain RpcException, so that only the text tells. */
const FORBIDDEN_MESSAGE = 'Forbidden resource';

export interface Answer {
  /** For the caller. */
  readonly error: DrpcError;
  /** What went wrong where nobody meant it, to be logged. */
  readonly fault: unknown;
}

/**
 * The error a caller gets for whatever came out of a handler's pipeline.
 * Meant for the caller: DrpcException, RpcException, HttpException by its status, GrpcException, and what a
 * filter of the application throws as text or `{ code, message }`. Everything else is a fault: code 2 and no
 * word of it. So is a DrpcError, which a call of the handler to another service brought, but for 1 and 4.
 * Never throws, whatever was thrown.
 * @param forwardErrors whether a DrpcError is meant for the caller
 */
export function toDrpcError(thrown: unknown, forwardErrors: boolean): Answer {
  try {
    return answerTo(thrown, forwardErrors);
  } catch (fault) {
    // An exception of the application can have getters that throw, or details that are none.
    return { error: new DrpcError(DrpcCode.Unknown, INTERNAL_MESSAGE, { cause: fault }), fault };
  }
}

function answerTo(thrown: unknown, forwardErrors: boolean): Answer {
  const isUnhandled = UnhandledException.isOne(thrown);
  const exception = isUnhandled ? thrown.exception : thrown;
  const error = exception instanceof Error ? meantError(exception, forwardErrors) : undefined;
  if (error) return { error, fault: undefined };
  if (!isUnhandled) {
    const meant = meantValue(exception);
    if (meant) return { error: meant, fault: undefined };
  }
  const fault =
    isUnhandled && thrown.isSilent ? undefined : (exception ?? new Error('a handler threw nothing'));
  return { error: new DrpcError(DrpcCode.Unknown, INTERNAL_MESSAGE, { cause: exception }), fault };
}

function meantError(exception: Error, forwardErrors: boolean): DrpcError | undefined {
  if (exception instanceof DrpcException) {
    const { code, message, details } = exception;
    return withoutRefusal(new DrpcError(code, message, { details, cause: exception }));
  }
  if (exception instanceof RpcException) return fromRpcException(exception);
  if (exception instanceof HttpException) {
    const code = codeOfHttpStatus(exception.getStatus());
    const violations = code === DrpcCode.InvalidArgument ? violationsOf(exception) : undefined;
    const details = violations && [encodeBadRequest(violations)];
    return new DrpcError(code, messageOfHttpException(exception), { details, cause: exception });
  }
  if (exception instanceof GrpcException) {
    return new DrpcError(exception.getCode() as number, exception.message, { cause: exception });
  }
  if (!(exception instanceof DrpcError)) return undefined;
  if (forwardErrors) return withoutRefusal(exception);
  if (exception.code === DrpcCode.Canceled) return new CanceledError(undefined, { cause: exception });
  if (exception.code === DrpcCode.DeadlineExceeded) return new DeadlineError(undefined, { cause: exception });
  return undefined;
}

function fromRpcException(exception: RpcException): DrpcError {
  const inner: unknown = exception.getError();
  if (inner === FORBIDDEN_MESSAGE) return new DrpcError(DrpcCode.PermissionDenied, FORBIDDEN_MESSAGE);
  const code = typeof inner === 'object' && inner !== null ? codeOf(inner) : DrpcCode.Unknown;
  return new DrpcError(code, exception.message, { cause: exception });
}

/** Text or an object that a filter threw. */
function meantValue(value: unknown): DrpcError | undefined {
  if (typeof value === 'string') return new DrpcError(DrpcCode.Unknown, value);
  if (typeof value !== 'object' || value === null || value instanceof Error) return undefined;
  const { message } = value as { message?: unknown };
  return typeof message === 'string' ? new DrpcError(codeOf(value), message, { cause: value }) : undefined;
}

/** As Nest's gRPC filter reads it: `code`, or `status` where that is a number. */
function codeOf(value: object): DrpcCode {
  const { code, status } = value as { code?: unknown; status?: unknown };
  if (typeof code === 'number') return code;
  return typeof status === 'number' ? status : DrpcCode.Unknown;
}
