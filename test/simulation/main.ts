import { parseArgs } from 'node:util';

import { simulatePool } from './pool-simulation.js';
import { simulate, Violation, type Run } from './simulation.js';

const SIMULATIONS: Readonly<Record<string, (seed: number) => Promise<Run>>> = {
  connection: simulate,
  pool: simulatePool,
};

/** So many failures of one simulation are enough. */
const MAX_FAILURES = 5;

const USAGE = `npm run simulate -- [--of connection|pool] [--seeds N] [--seed S] [--log]

  --of     one connection, or a pool of them and its servers; default: both
  --seeds  how many seeds of each; default 1000, with --seed 1
  --seed   the first one; default: from the clock
  --log    print what happens
`;

const { values } = parseArgs({
  options: {
    of: { type: 'string' },
    seeds: { type: 'string' },
    seed: { type: 'string' },
    log: { type: 'boolean', default: false },
    help: { type: 'boolean' },
  },
});
const names = values.of === undefined ? Object.keys(SIMULATIONS) : [values.of];
const unknown = names.find((name) => !Object.hasOwn(SIMULATIONS, name));
if (values.help || unknown !== undefined) {
  process.stdout.write(USAGE);
  process.exit(unknown === undefined ? 0 : 1);
}

const first = values.seed === undefined ? Date.now() % 2 ** 32 : Number(values.seed);
const count = Number(values.seeds ?? (values.seed === undefined ? 1000 : 1));
for (const name of names) if ((await runAll(name)) > 0) process.exitCode = 1;

/** Runs the seeds of one simulation and says what came of them. Answers how many failed. */
async function runAll(name: string): Promise<number> {
  const outcomes = new Map<string, number>();
  const met = new Map<string, number>();
  let frames = 0;
  let seeds = 0;
  let failures = 0;
  const since = performance.now();
  while (seeds < count && failures < MAX_FAILURES) {
    const seed = (first + seeds++) % 2 ** 32;
    try {
      const run = await SIMULATIONS[name]!(seed);
      frames += run.frames;
      for (const [outcome, times] of run.outcomes)
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + times);
      for (const situation of run.met) met.set(situation, (met.get(situation) ?? 0) + 1);
      if (values.log) console.log(run.log.join('\n'));
    } catch (error) {
      failures++;
      if (values.log && error instanceof Violation) console.log(error.log.join('\n'));
      console.error(`\n${name}, seed ${seed}:`, error instanceof Violation ? error.cause : error);
      console.error(`\nAgain: npm run simulate -- --of ${name} --seed ${seed} --log\n`);
    }
  }
  const seconds = ((performance.now() - since) / 1000).toFixed(1);
  console.log(`${name}: ${seeds} seeds from ${first}, ${frames} frames, ${seconds} s, ${failures} failed`);
  for (const [outcome, times] of [...outcomes].sort(([, a], [, b]) => b - a))
    console.log(`${String(times).padStart(8)}  ${outcome}`);
  for (const [situation, times] of met) console.log(`${String(times).padStart(8)} x ${situation}`);
  return failures;
}
