import { availableParallelism, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { CONTESTANTS } from './contestants.js';
import { killAll } from './end-host.js';
import { fairness } from './studies/fairness.js';
import { garbage } from './studies/garbage.js';
import { scale } from './studies/scale.js';
import { soak } from './studies/soak.js';
import type { Study } from './studies/study.js';

const STUDIES: Readonly<Record<string, Study>> = { fairness, scale, garbage, soak };
const OWN = CONTESTANTS.filter(({ goal }) => goal).map(({ name }) => name);
const DEFAULT_CONTESTANTS = ['core', 'nest-drpc'];
const DEFAULT_MINUTES = 10;

const USAGE = `Questions about our own code that a comparison with peers does not answer. Each prints a Markdown table.

npm run bench:study -- NAME [NAME ...] [options]

${Object.entries(STUDIES)
  .map(([name, { about }]) => `  ${name.padEnd(10)} ${about}`)
  .join('\n')}

  --contestants a,b   of ${OWN.join(', ')}; default ${DEFAULT_CONTESTANTS.join(',')}
  --minutes N         how long a soak takes, for each; default ${DEFAULT_MINUTES}
`;

process.on('exit', killAll);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => process.exit(130));
}

function fail(message: string): never {
  process.stderr.write(`${message}\n\n${USAGE}`);
  process.exit(2);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    contestants: { type: 'string' },
    minutes: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  },
});
if (values.help) {
  process.stdout.write(USAGE);
  process.exit();
}
if (positionals.length === 0) fail('a study must be named');
const studies = positionals.map((name) => STUDIES[name] ?? fail(`no study is called "${name}"`));
const contestants = values.contestants?.split(',') ?? DEFAULT_CONTESTANTS;
for (const name of contestants) if (!OWN.includes(name)) fail(`no contestant of ours is called "${name}"`);
const minutes = Number(values.minutes ?? DEFAULT_MINUTES);
if (!(minutes > 0 && minutes <= 600))
  fail(`--minutes ${values.minutes}: a number above 0 and up to 600 is wanted`);

const load = loadavg()[0]!.toFixed(1);
process.stdout.write(
  `Node ${process.versions.node}, ${availableParallelism()} cores with a load of ${load} before.\n`,
);
for (const study of studies) {
  const found = await study.run({
    contestants,
    minutes,
    progress: (line) => process.stderr.write(`${line}\n`),
  });
  process.stdout.write(`\n## ${study.title}\n\n${study.about}.\n\n${found}\n`);
}
process.exit();
