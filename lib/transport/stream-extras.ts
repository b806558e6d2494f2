import type { MessageRule } from '../bridge/message-validator.js';
import { RequestShape } from './route.js';

/** The key of a handler's extras under which `@DrpcStream()` says how the request is taken. */
export const STREAM_EXTRA = 'drpcStream';

export interface StreamExtra {
  readonly shape: RequestShape.Observable | RequestShape.Iterable;
  /** What each message has to be. */
  readonly rule: MessageRule | undefined;
}

/** What `@DrpcStream()` left in the extras of a handler. */
export function readStreamExtra(extras: Readonly<Record<string, unknown>>): StreamExtra | undefined {
  return extras[STREAM_EXTRA] as StreamExtra | undefined;
}
