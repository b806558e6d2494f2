/** What `value` is, for the message of a TypeError: `a string`, `an Array`, `a Map`, `null`. */
export function typeName(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  const name = typeof value === 'object' ? className(value) : typeof value;
  return `${/^[aeio]/i.test(name) ? 'an' : 'a'} ${name}`;
}

/** What a peer sent as JSON may say `constructor` as well; only a class can have a name. */
function className({ constructor }: object): string {
  const name: unknown = typeof constructor === 'function' ? constructor.name : undefined;
  return typeof name === 'string' ? name : 'object';
}
