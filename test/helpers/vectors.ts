import { readFileSync } from 'node:fs';

/** A golden vector: bytes as they stand on the wire and what they mean; the fields depend on the type. */
export interface Vector<Decoded = Record<string, unknown>> {
  readonly name: string;
  readonly hex: string;
  readonly decoded: Decoded & { readonly type: string };
}

const vectors = JSON.parse(
  readFileSync(new URL('../fixtures/vectors.json', import.meta.url), 'utf8'),
) as Vector[];

/** The golden vectors whose name begins with `prefix`; never none, so that a table of tests cannot be empty. */
export function vectorsNamed<Decoded>(prefix: string): Vector<Decoded>[] {
  const found = vectors.filter(({ name }) => name.startsWith(prefix));
  if (found.length === 0) throw new Error(`no golden vector is named ${prefix}…`);
  return found as unknown as Vector<Decoded>[];
}
