import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { helpText, readCliOptions, type CliOptions } from './cli-options.js';
import type { Entry } from './contestants.js';
import { killAll } from './end-host.js';
import { chart } from './report/chart.js';
import { comparison } from './report/compare.js';
import { markdownReport } from './report/markdown.js';
import type { Results, Row } from './results.js';
import { runWorkload, type KeptPairs } from './runner.js';

/** Share of the cores that others may use before it is worth a word. */
const BUSY = 0.25;

process.on('exit', killAll);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => process.exit(130));
}

let options: CliOptions;
try {
  options = readCliOptions(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\nnpm run bench -- --help says what there is.\n`);
  process.exit(2);
}
if (options.help) {
  process.stdout.write(helpText());
  process.exit();
}
// Read first: a wrong path should not cost a whole run.
const before = options.compare === undefined ? undefined : await readResults(options.compare);

const results = await measure(options);
await mkdir(options.out, { recursive: true });
const report = markdownReport(results);
const changes = before ? comparison(before, results) : '';
await writeFile(join(options.out, 'results.json'), `${JSON.stringify(results, undefined, 2)}\n`);
await writeFile(join(options.out, 'results.md'), changes ? `${report}\n${changes}` : report);
await writeFile(join(options.out, 'chart.svg'), chart(results));
process.stdout.write(`${report}\n${changes}`);
progress(`results.json, results.md and chart.svg are in ${options.out}`);
process.exit(ownFailed(results) ? 1 : 0);

async function measure({ quick, plan, workloads, contestants }: CliOptions): Promise<Results> {
  const missing: Record<string, string> = {};
  const impossible: Record<string, string> = {};
  const present: Entry[] = [];
  for (const entry of contestants) {
    const reason = await entry.missing?.();
    if (reason === undefined) present.push(entry);
    else missing[entry.name] = reason;
  }
  for (const [name, reason] of Object.entries(missing)) progress(`${name} takes no part: ${reason}`);

  const loadBefore = loadavg()[0]!;
  if (loadBefore > BUSY * availableParallelism()) {
    progress(`the machine is busy with something else (load ${loadBefore.toFixed(1)}): expect noise`);
  }

  const rows: Row[] = [];
  const kept: KeptPairs | undefined = plan.keepsProcesses ? new Map() : undefined;
  for (const workload of workloads) {
    if (workload.impossible !== undefined) {
      impossible[workload.name] = workload.impossible;
      continue;
    }
    const begin = performance.now();
    rows.push(...(await runWorkload(workload, present, plan, kept)));
    progress(`${workload.name}: ${((performance.now() - begin) / 1000).toFixed(1)} s`);
  }
  return {
    format: 1,
    at: new Date().toISOString(),
    node: process.versions.node,
    cpus: availableParallelism(),
    loadBefore,
    quick,
    plan,
    contestants: present.map(({ name, title, goal }) => ({ name, title, ...(goal ? { goal } : {}) })),
    missing,
    impossible,
    rows,
  };
}

async function readResults(path: string): Promise<Results> {
  try {
    const results = JSON.parse(await readFile(path, 'utf8')) as Results;
    if (results.format !== 1) throw new Error(`format ${String(results.format)} is not known here`);
    return results;
  } catch (error) {
    process.stderr.write(`--compare ${path}: ${(error as Error).message}\n`);
    process.exit(2);
  }
}

/** A peer that fails is a result; one of our own, or the limit itself, is a fault. */
function ownFailed({ contestants, rows }: Results): boolean {
  const own = new Set(
    contestants.filter(({ name, goal }) => goal || name.startsWith('raw-')).map(({ name }) => name),
  );
  return rows.some((row) => row.cells.some((cell) => cell.failed && own.has(cell.contestant)));
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}
