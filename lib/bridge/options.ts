import { escapeName } from '../errors/escape.js';
import { typeName } from '../errors/type-name.js';
import { unknownName } from '../errors/unknown-name.js';

/** What a numeric option may be; whole numbers only. */
export interface NumberRule {
  readonly default: number;
  readonly min: number;
  readonly max: number;
}

/** @throws TypeError or RangeError naming option, value and what is allowed. */
export function numberOption(name: string, value: unknown, rule: NumberRule): number {
  if (value === undefined) return rule.default;
  if (value === Infinity && rule.max === Infinity) return Infinity;
  if (typeof value !== 'number') {
    throw new TypeError(`option ${name} is ${show(value)}: must be a number, ${allowed(rule)}`);
  }
  if (!Number.isSafeInteger(value) || value < rule.min || value > rule.max) {
    throw new RangeError(`option ${name} is ${value}: must be ${allowed(rule)}`);
  }
  return value;
}

/** @param more what it may be as well, for the error */
export function booleanOption(name: string, value: unknown, fallback: boolean, more?: string): boolean {
  if (value === undefined) return fallback;
  if (typeof value === 'boolean') return value;
  const others = more === undefined ? '' : ` or '${more}'`;
  throw new TypeError(`option ${name} is ${show(value)}: must be true or false${others}`);
}

export function choiceOption<const T extends string>(
  name: string,
  value: unknown,
  choices: readonly T[],
  fallback: T,
): T {
  if (value === undefined) return fallback;
  const choice = choices.find((candidate) => candidate === value);
  if (choice !== undefined) return choice;
  throw new TypeError(
    `option ${name} is ${show(value)}: must be ${choices.map((text) => `'${text}'`).join(' or ')}`,
  );
}

export function textOption(name: string, value: unknown): string | undefined {
  if (value === undefined || (typeof value === 'string' && value !== '')) return value;
  throw new TypeError(`option ${name} is ${show(value)}: must be text that is not empty`);
}

/**
 * An object, of whose kind TypeScript knows more than is worth checking; no Array or Map, whose contents are no
 * properties by name.
 */
export function objectOption<T extends object>(name: string, value: T | undefined): T | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'object' && (value as unknown) !== null && !(Symbol.iterator in value)) return value;
  throw new TypeError(`option ${name} is ${show(value)}: must be an object`);
}

/** An object with these methods. @param kind what has them, with its article */
export function methodsOption<T extends object>(
  name: string,
  value: T | undefined,
  kind: string,
  methods: readonly (keyof T & string)[],
): T | undefined {
  const given = objectOption(name, value);
  const missing = given && methods.find((method) => typeof given[method] !== 'function');
  if (missing === undefined) return given;
  throw new TypeError(`option ${name} has no method ${missing}: must be ${kind}`);
}

/** @throws TypeError for a name that is no option: a limit that is misspelt would not hold. */
export function assertKnownOptions(options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new TypeError(`the options are ${show(options)}: must be an object`);
  }
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw new TypeError(unknownName('option', name, known));
  }
}

function allowed({ min, max }: NumberRule): string {
  return max === Infinity
    ? `a whole number of at least ${min}, or Infinity`
    : `a whole number from ${min} to ${max}`;
}

function show(value: unknown): string {
  if (typeof value === 'string') return `"${escapeName(value, 64)}"`;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : typeName(value);
}
