/** A message type as @grpc/proto-loader describes it: a DescriptorProto. */
export interface ProtoType {
  readonly name: string;
  readonly field: readonly ProtoField[];
  readonly nestedType: readonly ProtoType[];
  readonly options?: { readonly mapEntry?: boolean } | null;
}

interface ProtoField {
  readonly name: string;
  readonly label: string;
  readonly type: string;
  /** Of a message or enum; relative, to be looked up from the inside out. */
  readonly typeName: string;
}

/** What the messages of a type need on their way in and out; a message itself is never changed. */
export interface MapKeyRepairs {
  beforeEncode(message: unknown): unknown;
  afterDecode(message: unknown): unknown;
}

type KeyRepair = (key: string) => string;
type Direction = 'beforeEncode' | 'afterDecode';

/** A field that has something to repair in it. */
interface Step {
  readonly name: string;
  readonly holds: 'message' | 'list' | 'map';
  /** Of a map whose keys need it. */
  readonly keys: Readonly<Partial<Record<Direction, KeyRepair>>>;
  /** What to do in its messages. */
  readonly inside: readonly Step[];
}

// Decoded, such a key is eight characters that hold a byte each; where the entry has left it out, which 0 may be, it is right.
const SIGNED = { afterDecode: (key: string) => decoded(key, (bytes) => bytes.readBigInt64LE()) };
const UNSIGNED = { afterDecode: (key: string) => decoded(key, (bytes) => bytes.readBigUInt64LE()) };

/** What protobuf.js does to the keys of maps, by the type of the key; the other types are right. */
const KEY_REPAIRS: Readonly<Record<string, Step['keys']>> = {
  // The truth of a text is encoded, and `false` is a text.
  TYPE_BOOL: { beforeEncode: (key) => (key === 'false' ? '' : key) },
  TYPE_INT64: SIGNED,
  TYPE_SINT64: SIGNED,
  TYPE_SFIXED64: SIGNED,
  TYPE_UINT64: UNSIGNED,
  TYPE_FIXED64: UNSIGNED,
};

/**
 * Repairs maps with boolean or 64-bit keys, which @grpc/proto-loader gets wrong: their keys are `true`, `false`
 * and decimal numbers in both directions. Costs nothing for messages that have none.
 */
export class ProtoMapKeys {
  /** By full name, with those nested in them. */
  readonly #types = new Map<string, ProtoType>();
  /** The full names of those with something to repair in them. */
  readonly #affected = new Set<string>();
  readonly #steps = new Map<string, Step[]>();

  /** @param types by full name */
  constructor(types: Iterable<readonly [string, ProtoType]>) {
    for (const [name, type] of types) this.#add(name, type);
    let before: number;
    do {
      before = this.#affected.size;
      for (const [name, type] of this.#types) {
        if (type.field.some((field) => this.#isAffected(name, field))) this.#affected.add(name);
      }
    } while (this.#affected.size > before);
  }

  /** `undefined` where nothing is to be repaired. */
  repairsOf(type: ProtoType): MapKeyRepairs | undefined {
    if (this.#affected.size === 0) return undefined;
    const name = this.#nameOf(type);
    if (name === undefined || !this.#affected.has(name)) return undefined;
    const steps = this.#stepsOf(name);
    return {
      beforeEncode: (message) => repair(message, steps, 'beforeEncode'),
      afterDecode: (message) => repair(message, steps, 'afterDecode'),
    };
  }

  #add(name: string, type: ProtoType): void {
    this.#types.set(name, type);
    for (const nested of type.nestedType) this.#add(`${name}.${nested.name}`, nested);
  }

  /** The loader does not say the full name of a method's types: a type is known by what is in it. */
  #nameOf(type: ProtoType): string | undefined {
    const alike = [...this.#types].filter(([, { name }]) => name === type.name);
    const text = JSON.stringify(type);
    const same = alike.length > 1 ? alike.find(([, other]) => JSON.stringify(other) === text) : alike[0];
    return same?.[0];
  }

  #isAffected(parent: string, field: ProtoField): boolean {
    const name = this.#lookup(parent, field);
    if (name === undefined) return false;
    return this.#affected.has(name) || keyRepairsOf(this.#types.get(name)!) !== undefined;
  }

  /** The full name of a field's message type. */
  #lookup(scope: string, field: ProtoField): string | undefined {
    if (field.type !== 'TYPE_MESSAGE' && field.type !== 'TYPE_GROUP') return undefined;
    const { typeName } = field;
    const entry = `${scope}.${typeName}`;
    if (this.#isEntry(entry) && typeName.toLowerCase() === field.name.toLowerCase()) return entry;
    for (let outer = scope; ; outer = outer.slice(0, Math.max(outer.lastIndexOf('.'), 0))) {
      const name = outer === '' ? typeName : `${outer}.${typeName}`;
      // The entries of a map are a type, named for the field, which may be the name of a message as well.
      if (this.#types.has(name) && !this.#isEntry(name)) return name;
      if (outer === '') return undefined;
    }
  }

  #isEntry(name: string): boolean {
    return this.#types.get(name)?.options?.mapEntry === true;
  }

  #stepsOf(name: string): readonly Step[] {
    const known = this.#steps.get(name);
    if (known) return known;
    const steps: Step[] = [];
    this.#steps.set(name, steps); // before it is filled: a type may hold itself
    for (const field of this.#types.get(name)!.field) {
      if (this.#isAffected(name, field)) steps.push(this.#stepOf(name, field));
    }
    return steps;
  }

  #stepOf(parent: string, field: ProtoField): Step {
    const name = this.#lookup(parent, field)!;
    if (!this.#isEntry(name)) {
      const holds = field.label === 'LABEL_REPEATED' ? 'list' : 'message';
      return { name: field.name, holds, keys: {}, inside: this.#stepsOf(name) };
    }
    const type = this.#types.get(name)!;
    const value = type.field.find((entry) => entry.name === 'value');
    const valueName = value && this.#lookup(name, value);
    const inside = valueName !== undefined && this.#affected.has(valueName) ? this.#stepsOf(valueName) : [];
    return { name: field.name, holds: 'map', keys: keyRepairsOf(type) ?? {}, inside };
  }
}

function decoded(key: string, read: (bytes: Buffer) => bigint): string {
  return key === '0' ? key : String(read(Buffer.from(key, 'latin1')));
}

function keyRepairsOf({ options, field }: ProtoType): Step['keys'] | undefined {
  if (options?.mapEntry !== true) return undefined;
  return KEY_REPAIRS[field.find(({ name }) => name === 'key')?.type ?? ''];
}

function repair(message: unknown, steps: readonly Step[], direction: Direction): unknown {
  // What is no message is the encoder's to refuse.
  if (typeof message !== 'object' || message === null || Array.isArray(message)) return message;
  const repaired: Record<string, unknown> = { ...message };
  for (const step of steps) {
    const value = repaired[step.name];
    if (typeof value === 'object' && value !== null) {
      repaired[step.name] = repairField(value, step, direction);
    }
  }
  return repaired;
}

function repairField(value: object, { holds, keys, inside }: Step, direction: Direction): unknown {
  if (holds === 'message') return repair(value, inside, direction);
  if (holds === 'list') {
    return Array.isArray(value) ? value.map((item) => repair(item, inside, direction)) : value;
  }
  const repairKey = keys[direction];
  const entries = Object.entries(value).map(([key, item]): [string, unknown] => [
    repairKey ? repairKey(key) : key,
    inside.length > 0 ? repair(item, inside, direction) : item,
  ]);
  return Object.fromEntries(entries);
}
