import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';

/** The end of a connection that reads a message. */
export type Reader = 'server' | 'client';

/**
 * The error for a message that its encoding can not read; it names rpc and encoding, and what the encoding threw
 * stays behind as the cause.
 *
 * A request is its caller's fault: code 3. An answer is not: 3 would tell whoever called rightly that his argument is
 * wrong, and a gateway that the fault is its user's. It has code 13, as in gRPC ("Error parsing response proto").
 */
export function undecodable(reader: Reader, rpc: string, encoding: string, cause: unknown): DrpcError {
  const [code, what] =
    reader === 'server' ? [DrpcCode.InvalidArgument, 'a message'] : [DrpcCode.Internal, 'an answer'];
  return new DrpcError(code, `${what} of "${escapeName(rpc)}" is not valid ${escapeName(encoding)}`, {
    cause,
  });
}
