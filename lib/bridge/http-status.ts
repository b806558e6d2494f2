import type { HttpException } from '@nestjs/common';
import { DrpcCode } from '../errors/codes.js';
import { textOfViolations, violationsOf } from './violations.js';

const CODES: ReadonlyMap<number, DrpcCode> = new Map([
  [400, DrpcCode.InvalidArgument],
  [401, DrpcCode.Unauthenticated],
  [403, DrpcCode.PermissionDenied],
  [404, DrpcCode.NotFound],
  [405, DrpcCode.Unimplemented],
  [406, DrpcCode.InvalidArgument],
  [408, DrpcCode.DeadlineExceeded],
  [409, DrpcCode.AlreadyExists],
  [410, DrpcCode.NotFound],
  [412, DrpcCode.FailedPrecondition],
  [413, DrpcCode.ResourceExhausted],
  [415, DrpcCode.InvalidArgument],
  [422, DrpcCode.InvalidArgument],
  [429, DrpcCode.ResourceExhausted],
  [500, DrpcCode.Internal],
  [501, DrpcCode.Unimplemented],
  [502, DrpcCode.Unavailable],
  [503, DrpcCode.Unavailable],
  [504, DrpcCode.DeadlineExceeded],
]);

/** The code for an HTTP status; Unknown for one that says nothing to a caller of an rpc. */
export function codeOfHttpStatus(status: number): DrpcCode {
  return CODES.get(status) ?? DrpcCode.Unknown;
}

/** What an HttpException tells its caller: its messages where there are several, as after a validation. */
export function messageOfHttpException(exception: HttpException): string {
  const response: unknown = exception.getResponse();
  if (typeof response === 'string') return response;
  // Typed as text or an object, but what another service answered is handed on as it is.
  const message = (response as { message?: unknown } | null | undefined)?.message;
  if (typeof message === 'string') return message;
  const violations = violationsOf(exception);
  return violations ? textOfViolations(violations) : exception.message;
}
