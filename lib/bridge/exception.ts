import { RpcException } from '@nestjs/microservices';
import { DrpcCode } from '../errors/codes.js';
import type { ErrorDetail } from '../errors/drpc-error.js';

export interface DrpcExceptionOptions {
  /** Typed attachments for the caller; they travel in the status form only. */
  details?: readonly ErrorDetail[] | undefined;
  /** The error behind this one; stays in this process. */
  cause?: unknown;
}

/**
 * What a handler, guard, pipe, interceptor or filter throws to answer the caller with an error: all of it is
 * meant for the caller. Needs no filter.
 */
export class DrpcException extends RpcException {
  override name = 'DrpcException';
  readonly code: DrpcCode;
  readonly details: readonly ErrorDetail[];

  constructor(code: DrpcCode, message: string, { details = [], cause }: DrpcExceptionOptions = {}) {
    super({ code, message });
    this.code = code;
    this.details = details;
    if (cause !== undefined) this.cause = cause;
  }

  static invalidArgument(message: string, options?: DrpcExceptionOptions): DrpcException {
    return new DrpcException(DrpcCode.InvalidArgument, message, options);
  }

  static notFound(message: string, options?: DrpcExceptionOptions): DrpcException {
    return new DrpcException(DrpcCode.NotFound, message, options);
  }

  static alreadyExists(message: string, options?: DrpcExceptionOptions): DrpcException {
    return new DrpcException(DrpcCode.AlreadyExists, message, options);
  }

  static permissionDenied(message: string, options?: DrpcExceptionOptions): DrpcException {
    return new DrpcException(DrpcCode.PermissionDenied, message, options);
  }

  static resourceExhausted(message: string, options?: DrpcExceptionOptions): DrpcException {
    return new DrpcException(DrpcCode.ResourceExhausted, message, options);
  }

  static failedPrecondition(message: string, options?: DrpcExceptionOptions): DrpcException {
    return new DrpcException(DrpcCode.FailedPrecondition, message, options);
  }

  static aborted(message: string, options?: DrpcExceptionOptions): DrpcException {
    return new DrpcException(DrpcCode.Aborted, message, options);
  }

  static unimplemented(message: string, options?: DrpcExceptionOptions): DrpcException {
    return new DrpcException(DrpcCode.Unimplemented, message, options);
  }

  static unavailable(message: string, options?: DrpcExceptionOptions): DrpcException {
    return new DrpcException(DrpcCode.Unavailable, message, options);
  }

  static unauthenticated(message: string, options?: DrpcExceptionOptions): DrpcException {
    return new DrpcException(DrpcCode.Unauthenticated, message, options);
  }
}
