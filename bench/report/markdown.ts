import { NOISE, REFERENCE } from '../contestants.js';
import { cellOf, judge, toldOf, type Cell, type Results, type Row, type Verdict } from '../results.js';
import { short, withSpread, withUnit } from './numbers.js';

const MARKS: Record<Verdict, string> = { goal: '✔✔', reached: '✔', short: '✘' };

/** The whole report: measured table, targets, noise and notes. */
export function markdownReport(results: Results): string {
  return [heading(results), measured(results), targets(results), noise(results), notes(results)]
    .filter((part) => part !== '')
    .join('\n\n')
    .concat('\n');
}

function heading({ at, node, cpus, loadBefore, quick, plan }: Results): string {
  const kind = quick ? 'quick run, shorter streams' : 'full run';
  return `# Benchmark

${at.slice(0, 10)}, Node ${node}, ${cpus} cores with a load of ${loadBefore.toFixed(1)} before, ${plan.rounds} rounds, ${kind}. Ratios to ${REFERENCE.name} in the same round,
median of the rounds and half of their spread; where the row has a unit, the value itself. Only ratios within one run
compare; the rate of ${REFERENCE.name} is there to show the scale.`;
}

function measured(results: Results): string {
  const names = results.contestants.map(({ name }) => name).filter((name) => name !== REFERENCE.name);
  const head = ['', REFERENCE.name, ...names];
  const rows = results.rows.map((row) => {
    const limit = cellOf(row, REFERENCE.name);
    const first = limit?.value ? withUnit(limit.value.median, row.unit) : '–';
    return [nameOf(row), first, ...names.map((name) => told(row, cellOf(row, name)))];
  });
  return table(head, rows);
}

function nameOf(row: Row): string {
  const unit = row.absolute ? ` (${row.unit})` : '';
  return `${row.title}${unit}${arrow(row)}`;
}

function arrow(row: Row): string {
  return row.better === 'lower' ? ' ↓' : '';
}

function told(row: Row, cell: Cell | undefined): string {
  const summary = toldOf(row, cell);
  if (summary) return row.absolute ? short(summary.median) : withSpread(summary);
  return cell?.failed ? 'failed' : '–';
}

/** Must and goal beside what was measured, for the contestants that are held to them. */
function targets(results: Results): string {
  const held = results.contestants.filter(({ goal }) => goal !== undefined);
  if (held.length === 0) return '';
  const head = ['', ...held.flatMap(({ name }) => [name, 'must / goal', ''])];
  const rows = results.rows
    .filter((row) => row.targets !== undefined)
    .map((row) => [
      nameOf(row),
      ...held.flatMap(({ name, goal }) => {
        const target = row.targets![goal!];
        const summary = toldOf(row, cellOf(row, name));
        return [
          summary ? short(summary.median) : '–',
          `${short(target[0])} / ${short(target[1])}`,
          summary ? MARKS[judge(row, summary, target)] : '',
        ];
      }),
    ]);
  return `## Targets

${MARKS.goal} goal reached, ${MARKS.reached} first number reached, ${MARKS.short} short of it; ↓ less is better.

${table(head, rows)}`;
}

function noise(results: Results): string {
  const ratios = results.rows.flatMap((row) => {
    const again = row.absolute ? undefined : cellOf(row, NOISE.name)?.ratio;
    return again ? [again] : [];
  });
  if (ratios.length === 0) return '';
  const medians = ratios.map(({ median }) => median);
  return `## Noise

The same code under two names: medians from ${short(Math.min(...medians))} to ${short(Math.max(...medians))}, single rounds from
${short(Math.min(...ratios.map(({ min }) => min)))} to ${short(Math.max(...ratios.map(({ max }) => max)))}. A difference that is not clearly larger says nothing.`;
}

function notes(results: Results): string {
  const lines = [
    ...Object.entries(results.missing).map(([name, reason]) => `- ${name} took no part: ${reason}`),
    ...Object.entries(results.impossible).map(([name, reason]) => `- ${name} was left out: ${reason}`),
  ];
  const said = new Map<string, Set<string>>();
  for (const row of results.rows) {
    for (const { contestant, note } of row.cells) {
      if (note === undefined) continue;
      const line = `${contestant}: ${note.split('\n').slice(0, 2).join(': ')}`;
      said.set(line, (said.get(line) ?? new Set()).add(row.workload));
    }
  }
  for (const [line, workloads] of said) lines.push(`- ${[...workloads].join(', ')}: ${line}`);
  return lines.length === 0 ? '' : `## Notes\n\n${lines.join('\n')}`;
}

export function table(head: string[], rows: string[][]): string {
  const widths = head.map((cell, i) => Math.max(3, cell.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: string[]) =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(' | ')} |`;
  const rule = widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`));
  return [line(head), `| ${rule.join(' | ')} |`, ...rows.map(line)].join('\n');
}
