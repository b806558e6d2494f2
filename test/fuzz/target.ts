import { Random } from '../simulation/random.js';

/** One thing that is fuzzed: makes an input of a seed, runs it, and throws when a rule is broken. */
export interface Target {
  readonly name: string;
  run(random: Random): void | Promise<void>;
}

/** Throws with `what` unless `claim` holds. */
export function must(claim: boolean, what: string | (() => string)): asserts claim {
  if (!claim) throw new Error(typeof what === 'string' ? what : what());
}
