import { parseArgs } from 'node:util';
import { CONTESTANTS, REFERENCE, type Entry } from './contestants.js';
import { FULL, QUICK, WORKLOADS, type Plan, type Workload } from './workloads.js';

export interface CliOptions {
  help: boolean;
  quick: boolean;
  plan: Plan;
  workloads: readonly Workload[];
  contestants: readonly Entry[];
  compare: string | undefined;
  out: string;
}

const MAX_ROUNDS = 100;

/** @throws Error that says which argument is wrong and what would be right. */
export function readCliOptions(args: string[]): CliOptions {
  const { values } = parseArgs({
    args,
    options: {
      help: { type: 'boolean', short: 'h', default: false },
      quick: { type: 'boolean', default: false },
      workloads: { type: 'string' },
      contestants: { type: 'string' },
      rounds: { type: 'string' },
      compare: { type: 'string' },
      out: { type: 'string', default: '.bench' },
    },
  });
  const plan = values.quick ? QUICK : FULL;
  const contestants = values.contestants
    ? choose('contestant', values.contestants, CONTESTANTS)
    : CONTESTANTS.filter((entry) => !values.quick || entry.quick);
  return {
    help: values.help,
    quick: values.quick,
    plan: values.rounds === undefined ? plan : { ...plan, ...roundsOf(values.rounds) },
    workloads: values.workloads ? choose('workload', values.workloads, WORKLOADS) : WORKLOADS,
    contestants: contestants.includes(REFERENCE) ? contestants : [REFERENCE, ...contestants],
    compare: values.compare,
    out: values.out,
  };
}

/** In the order of the table, whatever order they are asked for in. */
function choose<T extends { name: string }>(noun: string, list: string, all: readonly T[]): readonly T[] {
  const names = list.split(',').map((name) => name.trim());
  for (const name of names) {
    if (all.some((item) => item.name === name)) continue;
    throw new Error(`no ${noun} is called "${name}": choose from ${all.map((item) => item.name).join(', ')}`);
  }
  return all.filter((item) => names.includes(item.name));
}

function roundsOf(text: string): Pick<Plan, 'rounds' | 'heavyRounds'> {
  const rounds = Number(text);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > MAX_ROUNDS) {
    throw new Error(`--rounds ${text}: a whole number from 1 to ${MAX_ROUNDS} is wanted`);
  }
  return { rounds, heavyRounds: rounds };
}

export function helpText(): string {
  const list = (items: readonly { name: string; title: string }[]) =>
    items.map(({ name, title }) => `  ${name.padEnd(14)} ${title}`).join('\n');
  return `Measures this library beside its peers. Server and client run in processes of their own; the contestants
take turns within each round, and each result is the ratio to raw-batched in the same round.

Usage: npm run bench -- [options]

Options
  --quick               fewer contestants, short rounds, shorter streams; under a minute
  --workloads a,b       only these workloads
  --contestants a,b     only these contestants; ${REFERENCE.name} always takes part
  --rounds N            rounds for each workload (${FULL.rounds}, and ${FULL.heavyRounds} where each round starts new processes)
  --compare FILE        shows what changed since a results.json that was saved
  --out DIR             where results.json, results.md and chart.svg go (.bench)
  -h, --help            this text

Example
  npm run bench -- --workloads unary-32-64,stream-32 --contestants core,nest-drpc,raw-again --rounds 7
  npm run bench -- --quick --compare .bench/before.json

Workloads
${list(WORKLOADS)}

Contestants
${list(CONTESTANTS)}
`;
}
