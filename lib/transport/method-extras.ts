import type { MethodRef } from '../service/bind-methods.js';

/** The key of a handler's extras under which `@DrpcMethod()` says which rpc it serves. */
export const METHOD_EXTRA = 'drpcMethod';

/** What `@DrpcMethod()` left in the extras of a handler. */
export function readMethodExtra(extras: Readonly<Record<string, unknown>>): MethodRef | undefined {
  return extras[METHOD_EXTRA] as MethodRef | undefined;
}
