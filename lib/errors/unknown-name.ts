import { escapeName } from './escape.js';

/** Says that `name` is none of those there are, and which of them it looks like. */
export function unknownName(what: string, name: string, known: readonly string[]): string {
  const meant = nearest(name, known);
  const question = meant === undefined ? ': there' : `, did you mean ${meant}? There`;
  return `${what} ${escapeName(name)} is not known${question} are ${known.toSorted().join(', ')}`;
}

/** The same for the first property of `options` that is none of them; `undefined` where all are. */
export function unknownNameIn(
  what: string,
  options: object | undefined,
  known: readonly string[],
): string | undefined {
  for (const name in options) if (!known.includes(name)) return unknownName(what, name, known);
  return undefined;
}

/** The name that differs least, if no more than a third of it does; case does not count. */
function nearest(name: string, known: readonly string[]): string | undefined {
  let found: string | undefined;
  let least = Math.floor(Math.min(name.length, 60) / 3) + 0.5;
  for (const candidate of known) {
    const steps = distance(name.toLowerCase(), candidate.toLowerCase());
    if (steps >= least) continue;
    least = steps;
    found = candidate;
  }
  return found;
}

/** How many characters have to be put in, left out or changed to make `b` of `a`. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 0; i < a.length; i++) {
    const above = row;
    row = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const changed = above[j]! + (a[i] === b[j] ? 0 : 1);
      row.push(Math.min(changed, above[j + 1]! + 1, row[j]! + 1));
    }
  }
  return row[b.length]!;
}
