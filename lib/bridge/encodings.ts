import { bytesEncoding, jsonEncoding, type Encoding } from '../encoding/encoding.js';
import { typeName } from '../errors/type-name.js';

/** Encodings that are known by name. */
export type EncodingName = 'json' | 'bytes';

const ENCODINGS: ReadonlyMap<unknown, Encoding> = new Map<unknown, Encoding>([
  ['json', jsonEncoding],
  ['bytes', bytesEncoding as Encoding],
]);

/**
 * The encoding that a name stands for, or the user's own.
 * @param what names the setting in the error
 * @throws TypeError for anything else.
 */
export function resolveEncoding(value: unknown, what: string): Encoding {
  const known = ENCODINGS.get(value);
  if (known) return known;
  if (isEncoding(value)) return value;
  const shown = typeof value === 'string' ? `"${value}"` : typeName(value);
  throw new TypeError(
    `${what} is ${shown}: must be 'json', 'bytes' or an Encoding (name, marshal, unmarshal)`,
  );
}

function isEncoding(value: unknown): value is Encoding {
  if (typeof value !== 'object' || value === null) return false;
  const { name, marshal, unmarshal } = value as Partial<Encoding>;
  return typeof name === 'string' && typeof marshal === 'function' && typeof unmarshal === 'function';
}
