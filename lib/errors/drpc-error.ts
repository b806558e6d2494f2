import { DrpcCode } from './codes.js';

/** A typed attachment of an error: google.protobuf.Any. Travels in the status form only. */
export interface ErrorDetail {
  /** Says what `value` is, as in `type.googleapis.com/google.rpc.ErrorInfo`. */
  readonly typeUrl: string;
  /** The encoded message; owned by the error. */
  readonly value: Uint8Array;
}

/** What a {@link DrpcError} may carry beside code and message. */
export interface DrpcErrorOptions {
  /** The error or value behind this one; stays in this process. */
  cause?: unknown;
  /** Default: none. */
  details?: readonly ErrorDetail[] | undefined;
  /** The code on the wire where it is not one of 1 to 16, see {@link DrpcError.rawCode}. */
  rawCode?: bigint | undefined;
}

const NO_DETAILS: readonly ErrorDetail[] = Object.freeze([]);

/** The end of a call that went wrong: a status code, a message, and what lies behind them. */
export class DrpcError extends Error {
  override name = 'DrpcError';
  /** Always one of 1 to 16. */
  readonly code: DrpcCode;
  readonly details: readonly ErrorDetail[];
  // Behind a getter, so that it is not enumerable: JSON.stringify throws on a bigint, and errors get logged.
  readonly #rawCode: bigint | undefined;

  /**
   * A `code` that is not one of 1 to 16 becomes Unknown instead of a throw (which would hide the error being
   * made); a foreign non-negative integer is kept as `rawCode`.
   */
  constructor(code: DrpcCode, message: string, options: DrpcErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    const known = isErrorCode(code);
    this.code = known ? code : DrpcCode.Unknown;
    this.details = options.details ?? NO_DETAILS;
    this.#rawCode = options.rawCode ?? (known ? undefined : toRawCode(code));
  }

  /**
   * The number on the wire where it is not one of 1 to 16: an application's own code of storj/drpc (up to 64
   * bits), or 0, its "no code". Such an error has code 2, and marshaled again it travels with this number
   * where the form can hold it. Not enumerable.
   */
  get rawCode(): bigint | undefined {
    return this.#rawCode;
  }

  /**
   * Makes a DrpcError of whatever was thrown; the one funnel for foreign values.
   * A DrpcError is returned as it is. An `AbortError` becomes {@link CanceledError}, a `TimeoutError`
   * {@link DeadlineError}, any other Error keeps its message under code Unknown, and a plain
   * `{ code, message }` its code. The value itself becomes the `cause`.
   */
  static from(value: unknown): DrpcError {
    if (value instanceof DrpcError) return value;
    if (typeof value === 'string') return new DrpcError(DrpcCode.Unknown, value);
    if (typeof value !== 'object' || value === null) {
      return new DrpcError(DrpcCode.Unknown, `thrown value is not an error: ${typeof value}`, {
        cause: value,
      });
    }
    const { name, message, code } = value as { name?: unknown; message?: unknown; code?: unknown };
    const text = typeof message === 'string' ? message : 'thrown value is not an error: object';
    if (name === 'AbortError') return new CanceledError(text, { cause: value });
    if (name === 'TimeoutError') return new DeadlineError(text, { cause: value });
    // Numbers on a real Error are not ours to read: a DOMException numbers its names from 1 to 25.
    const usable = !(value instanceof Error) && typeof code === 'number' && typeof message === 'string';
    return new DrpcError(usable ? code : DrpcCode.Unknown, text, { cause: value });
  }
}

/** Bytes or an order of frames that the protocol forbids; ends the connection. Code 13. */
export class ProtocolError extends DrpcError {
  override name = 'ProtocolError';
  constructor(message: string, options?: DrpcErrorOptions) {
    super(DrpcCode.Internal, message, options);
  }
}

/** The connection, or what was asked of it, is closed; `cause` holds Node's error if there was one. Code 14. */
export class ClosedError extends DrpcError {
  override name = 'ClosedError';
  constructor(message: string, options?: DrpcErrorOptions) {
    super(DrpcCode.Unavailable, message, options);
  }
}

/** The call was given up, here or by the peer. Code 1. */
export class CanceledError extends DrpcError {
  override name = 'CanceledError';
  constructor(message = 'canceled', options?: DrpcErrorOptions) {
    super(DrpcCode.Canceled, message, options);
  }
}

/** The deadline of the call passed. Code 4. */
export class DeadlineError extends DrpcError {
  override name = 'DeadlineError';
  constructor(message = 'deadline exceeded', options?: DrpcErrorOptions) {
    super(DrpcCode.DeadlineExceeded, message, options);
  }
}

/** A message, frame or metadata block above its limit; the message names both numbers. Code 8. */
export class MessageSizeError extends DrpcError {
  override name = 'MessageSizeError';
  constructor(message: string, options?: DrpcErrorOptions) {
    super(DrpcCode.ResourceExhausted, message, options);
  }
}

/** A message that its sender does not send: `limit` is its own, or what the peer announced. */
export function messageTooLarge(size: number, limit: number): MessageSizeError {
  return new MessageSizeError(`message of ${size} bytes exceeds the limit of ${limit}`);
}

/**
 * A send on a stream that takes no more messages: the ordinary end, not a fault.
 * Code 11 (OutOfRange), gRPC's number for going past an end. It says that sending is over, never why;
 * the why is what receiving answers.
 */
export class EofError extends DrpcError {
  override name = 'EofError';
  constructor(message: string, options?: DrpcErrorOptions) {
    super(DrpcCode.OutOfRange, message, options);
  }
}

/** The message, and Node's code of what lies behind it where there is one: `connection lost (ECONNRESET)`. */
export function messageWithCode({ message, cause }: Error): string {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  return typeof code === 'string' ? `${message} (${code})` : message;
}

/** Whether `code` is a status an error may have: an integer from 1 to 16. */
function isErrorCode(code: number): boolean {
  return Number.isInteger(code) && code >= DrpcCode.Canceled && code <= DrpcCode.Unauthenticated;
}

function toRawCode(code: number): bigint | undefined {
  return Number.isSafeInteger(code) && code >= 0 ? BigInt(code) : undefined;
}
