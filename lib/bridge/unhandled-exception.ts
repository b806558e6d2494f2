import { HttpException, IntrinsicException } from '@nestjs/common';
import { BaseRpcContext, BaseRpcExceptionFilter } from '@nestjs/microservices';
import { throwError, type Observable } from 'rxjs';

// There may be two copies of the library in a process, of which one has the filter: classes do not tell.
const UNHANDLED = Symbol.for('nestjs-drpc.unhandled-exception');
const MAPPING = Symbol.for('nestjs-drpc.mapping-context');

/**
 * Carries what a handler's pipeline threw and no filter of the application took, as it was thrown. What
 * arrives without it comes from a filter and is meant for the caller.
 */
export class UnhandledException {
  readonly exception: unknown;

  constructor(exception: unknown) {
    this.exception = exception;
  }

  /** Whether it is one, made by whichever copy of the library. */
  static isOne(this: void, value: unknown): value is UnhandledException {
    return isMarked(value, UNHANDLED);
  }

  /** Whether Nest wants it in no log; HttpExceptions only because their caller is told. */
  get isSilent(): boolean {
    return this.exception instanceof IntrinsicException && !(this.exception instanceof HttpException);
  }
}

/** The context of a call whose exceptions are mapped by the transport; see {@link passUnhandledExceptions}. */
export abstract class MappingContext extends BaseRpcContext {}

Object.defineProperty(UnhandledException.prototype, UNHANDLED, { value: true });
Object.defineProperty(MappingContext.prototype, MAPPING, { value: true });

function isMarked(value: unknown, mark: symbol): boolean {
  return typeof value === 'object' && value !== null && (value as Record<symbol, unknown>)[mark] === true;
}

interface ArgumentsHost {
  getArgs(): unknown[];
}

const PATCHED = Symbol.for('nestjs-drpc.unhandled-exceptions');

/**
 * Lets exceptions that no filter took through to the transport. Nest's last filter makes "Internal server
 * error" of everything but an RpcException, statuses and validation messages with it, and the filters of a
 * handler lie in a closure that a strategy cannot reach. So the last filter itself, which is also what an
 * application's filters call by `super.catch()`, hands on what belongs to a call of ours; calls of other
 * transports are not touched. Done once a process, whoever asks first.
 */
export function passUnhandledExceptions(): void {
  const prototype = BaseRpcExceptionFilter.prototype as unknown as {
    [PATCHED]?: boolean;
    catch: (this: unknown, exception: unknown, host: ArgumentsHost) => Observable<unknown>;
  };
  if (prototype[PATCHED]) return;
  const original = prototype.catch;
  prototype.catch = function (exception, host) {
    // The context stands behind the payload; a filter may pass a host of its own making.
    if (!isMarked(host?.getArgs?.()[1], MAPPING)) return original.call(this, exception, host);
    return throwError(() => new UnhandledException(exception));
  };
  Object.defineProperty(prototype, PATCHED, { value: true });
}
