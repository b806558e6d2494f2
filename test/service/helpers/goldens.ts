import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** A message that Go encoded, beside its protobuf JSON. */
export interface Golden {
  readonly name: string;
  readonly hex: string;
  readonly json: Readonly<Record<string, unknown>>;
}

const fixture = new URL('../../fixtures/go-protobuf.json', import.meta.url);

/** Messages of the type interop.v1.AllTypes in the bytes that Go makes of them. */
export const goldens = (JSON.parse(readFileSync(fixture, 'utf8')) as { values: Golden[] }).values;

export function golden(name: string): Golden {
  const found = goldens.find((value) => value.name === name);
  if (!found) throw new Error(`no golden "${name}"`);
  return found;
}

export const greeterProto = fileURLToPath(new URL('../../interop/proto/greeter.proto', import.meta.url));

/** Bytes as hex digits, whatever form an encoding gives them. */
export function hexOf(message: Uint8Array | string): string {
  return Buffer.from(message as Uint8Array).toString('hex');
}
