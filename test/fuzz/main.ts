import { parseArgs } from 'node:util';

import { Random } from '../simulation/random.js';
import { targets } from './targets.js';

const USAGE = `npm run fuzz -- [--seconds N] [--runs N] [--seed S] [--target NAME]

  --seconds  how long to go on, over all targets; default 10
  --runs     so many inputs for each target instead
  --seed     the first seed; each further input has the next one; default: from the clock
  --target   only this one: ${targets.map(({ name }) => name).join(', ')}
`;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    runs: { type: 'string' },
    seed: { type: 'string' },
    target: { type: 'string' },
    help: { type: 'boolean' },
  },
});
if (values.help) {
  process.stdout.write(USAGE);
  process.exit(0);
}

const chosen = targets.filter(({ name }) => values.target === undefined || name === values.target);
if (chosen.length === 0) throw new Error(`no target ${values.target}: see --help`);
const first = values.seed === undefined ? Date.now() % 2 ** 32 : Number(values.seed);
const runs = values.runs === undefined ? Infinity : Number(values.runs);
const seconds = runs === Infinity ? Number(values.seconds) / chosen.length : Infinity;

let failures = 0;
for (const target of chosen) {
  const end = performance.now() + seconds * 1000;
  let count = 0;
  for (; count < runs && performance.now() < end; count++) {
    const seed = (first + count) % 2 ** 32;
    try {
      await target.run(new Random(seed));
    } catch (error) {
      failures++;
      console.error(`\n${target.name} broke a rule with seed ${seed}:\n`, error);
      console.error(`\nAgain: npm run fuzz -- --target ${target.name} --seed ${seed} --runs 1\n`);
      count++;
      break;
    }
  }
  console.log(`${target.name}: ${count} inputs, from seed ${first}`);
}
process.exitCode = failures > 0 ? 1 : 0;
