import { describe, expect, it } from 'vitest';

import { Random } from '../simulation/random.js';
import type { Target } from './target.js';
import { targets } from './targets.js';

/** Inputs for each target in an ordinary test run; `npm run fuzz` goes on as long as asked. */
const INPUTS = 2000;

/** The first seed from `first` on whose input breaks a rule, told with the command that repeats it. */
async function firstFailure(target: Target, first: number, count: number): Promise<string | undefined> {
  for (let seed = first; seed < first + count; seed++) {
    try {
      await target.run(new Random(seed));
    } catch (error) {
      const again = `npm run fuzz -- --target ${target.name} --seed ${seed} --runs 1`;
      return `${again}\n${error instanceof Error ? error.stack : String(error)}`;
    }
  }
  return undefined;
}

describe('fuzzing', () => {
  it.each(targets.map((target) => [target.name, target] as const))('%s', async (_name, target) => {
    expect(await firstFailure(target, 1, INPUTS)).toBeUndefined();
  });
});
