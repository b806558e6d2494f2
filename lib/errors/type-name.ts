/** What `value` is, for the message of a TypeError: `a string`, `an Array`, `a Map`, `null`. */
export function typeName(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  const name = typeof value === 'object' ? String(value.constructor?.name ?? 'object') : typeof value;
  return `${/^[aeio]/i.test(name) ? 'an' : 'a'} ${name}`;
}
