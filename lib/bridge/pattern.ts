import { escapeName } from '../errors/escape.js';
import { typeName } from '../errors/type-name.js';

/** Longest rpc name, in bytes. */
export const MAX_PATTERN_LENGTH = 4096;

/** Beyond these Nest puts a marker text in the pattern's place, so that different patterns become one. */
const MAX_DEPTH = 5;
const MAX_KEYS = 20;

/** What names a handler in Nest. */
export type DrpcPattern = string | number | { readonly [key: string]: unknown };

/**
 * The rpc name of a Nest pattern: a string is itself, whatever it contains; an object becomes the text that
 * Nest makes of it, keys in order: `{ cmd: 'sum' }` is `{"cmd":"sum"}`.
 * @throws TypeError for other types, RangeError for a name over `maxLength` bytes or a pattern in whose
 *   place Nest puts a marker text (more than 20 keys, or objects more than 5 levels deep).
 */
export function patternToRpc(pattern: unknown, maxLength = MAX_PATTERN_LENGTH): string {
  const rpc = typeof pattern === 'string' ? pattern : patternToText(pattern);
  // A UTF-16 unit is at most three bytes of UTF-8: the usual name is not measured.
  if (rpc.length * 3 > maxLength && Buffer.byteLength(rpc) > maxLength) {
    throw new RangeError(
      `pattern "${escapeName(rpc, 64)}" is ${Buffer.byteLength(rpc)} bytes long: at most ${maxLength} are allowed`,
    );
  }
  return rpc;
}

function patternToText(pattern: unknown): string {
  if (typeof pattern === 'number') return String(pattern);
  if (typeof pattern !== 'object' || pattern === null) {
    throw new TypeError(`pattern is ${typeName(pattern)}: must be a string, a number or an object`);
  }
  return objectToText(pattern, 0);
}

/** Nest's own normal form, which its tools show: keys sorted by the locale, no JSON escapes but \ and ". */
function objectToText(pattern: object, depth: number): string {
  if (depth > MAX_DEPTH) {
    throw new RangeError(
      `pattern is nested more than ${MAX_DEPTH} levels deep: Nest tells such ones not apart`,
    );
  }
  const entries = Object.entries(pattern);
  if (entries.length > MAX_KEYS) {
    throw new RangeError(
      `pattern has ${entries.length} keys: Nest tells those with more than ${MAX_KEYS} not apart`,
    );
  }
  entries.sort(([a], [b]) => a.localeCompare(b));
  return `{${entries.map(([key, value]) => `"${escape(key)}":${valueToText(value, depth)}`).join(',')}}`;
}

function valueToText(value: unknown, depth: number): string {
  if (typeof value === 'string') return `"${escape(value)}"`;
  return typeof value === 'object' && value !== null ? objectToText(value, depth + 1) : String(value);
}

function escape(text: string): string {
  return text.replace(/\\/g, '\\\\').replace(/"/g, '\\"');
}
