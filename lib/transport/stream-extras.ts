import { RequestShape } from './route.js';

/** The key of a handler's extras under which `@DrpcStream()` says how the request is taken. */
export const STREAM_EXTRA = 'drpcStream';

export interface StreamExtra {
  readonly shape: RequestShape.Observable | RequestShape.Iterable;
}

/** What `@DrpcStream()` left in the extras of a handler. */
export function readStreamExtras(extras: Readonly<Record<string, unknown>>): StreamExtra | undefined {
  return extras[STREAM_EXTRA] as StreamExtra | undefined;
}
