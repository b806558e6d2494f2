import { unmarshalMessage } from '../encoding/encoding.js';
import { undecodable } from '../encoding/undecodable.js';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import { streamRefused } from '../errors/error-info.js';
import { escapeName } from '../errors/escape.js';
import type { Stream } from '../stream/stream.js';
import type { Route } from './route.js';

/**
 * The value of a request message.
 * @throws DrpcError with code 3 that names rpc and encoding, or says what is wrong with the value; and whatever the
 *   class of a message throws.
 */
export function readRequest(
  route: Route,
  stream: Stream,
  bytes: Buffer,
  start: number,
  end: number,
): unknown {
  let value: unknown;
  try {
    value = unmarshalMessage(route.encoding, stream, bytes, start, end);
  } catch (error) {
    throw undecodable('server', route.rpc, route.encoding.name, error);
  }
  return route.validate ? route.validate(value) : value;
}

export function missingRequest(rpc: string): DrpcError {
  return new DrpcError(
    DrpcCode.InvalidArgument,
    `no message came for "${escapeName(rpc)}": its handler takes one`,
  );
}

/** Never started, so that the client may try again. */
export function tooManyHandlers(limit: number): DrpcError {
  return streamRefused(`the server is busy: ${limit} handlers are running, which is as many as may`);
}
