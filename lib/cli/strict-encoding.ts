import type { MethodDefinition } from '../service/service-definition.js';

/**
 * The client's encoding of a method, which refuses a field that there is not: @grpc/proto-loader leaves it out without
 * a word. What was encoded and is decoded again has every field, but for those of a oneof that are not set.
 */
export function strictEncoding({
  clientEncoding,
  serverEncoding,
}: MethodDefinition): MethodDefinition['clientEncoding'] {
  return {
    name: clientEncoding.name,
    marshal(message) {
      const bytes = Buffer.from(clientEncoding.marshal(message));
      const field = unknownField(message, serverEncoding.unmarshal(bytes));
      if (field === undefined) return bytes;
      throw new TypeError(`no field is called "${field}" (names are in camelCase)`);
    },
    unmarshal: (bytes) => clientEncoding.unmarshal(bytes),
  };
}

/** The way to the first of them, as in `items.0.name`. */
function unknownField(given: unknown, known: unknown): string | undefined {
  // The fields of a google.protobuf.Any are those of another type.
  if (!isObject(given) || !isObject(known) || '@type' in given) return undefined;
  for (const [name, value] of Object.entries(given)) {
    // It is as good as not there.
    if (value === null) continue;
    if (!Object.hasOwn(known, name)) return name;
    const inside = unknownField(value, known[name]);
    if (inside !== undefined) return `${name}.${inside}`;
  }
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
