import { parseArgs } from 'node:util';

import { simulate, Violation } from './simulation.js';

const USAGE = `npm run simulate -- [--seeds N] [--seed S] [--log]

  --seeds  how many seeds; default 1000, with --seed 1
  --seed   the first one; default: from the clock
  --log    print what happens
`;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    seed: { type: 'string' },
    log: { type: 'boolean', default: false },
    help: { type: 'boolean' },
  },
});
if (values.help) {
  process.stdout.write(USAGE);
  process.exit(0);
}

const first = values.seed === undefined ? Date.now() % 2 ** 32 : Number(values.seed);
const count = Number(values.seeds ?? (values.seed === undefined ? 1000 : 1));
const outcomes = new Map<string, number>();
const met = new Map<string, number>();
let frames = 0;
let failures = 0;
const since = performance.now();
for (let i = 0; i < count; i++) {
  const seed = (first + i) % 2 ** 32;
  try {
    const run = await simulate(seed);
    frames += run.frames;
    for (const [outcome, times] of run.outcomes) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + times);
    for (const situation of run.met) met.set(situation, (met.get(situation) ?? 0) + 1);
    if (values.log) console.log(run.log.join('\n'));
  } catch (error) {
    failures++;
    if (values.log && error instanceof Violation) console.log(error.log.join('\n'));
    console.error(`\nseed ${seed}:`, error instanceof Violation ? error.cause : error);
    console.error(`\nAgain: npm run simulate -- --seed ${seed} --log\n`);
    if (failures >= 5) break;
  }
}
const seconds = ((performance.now() - since) / 1000).toFixed(1);
console.log(`${count} seeds from ${first}, ${frames} frames, ${seconds} s, ${failures} failed`);
for (const [outcome, times] of [...outcomes].sort(([, a], [, b]) => b - a))
  console.log(`${String(times).padStart(8)}  ${outcome}`);
for (const [situation, times] of met) console.log(`${String(times).padStart(8)} x ${situation}`);
process.exitCode = failures > 0 ? 1 : 0;
