import { NOISE } from '../contestants.js';
import { cellOf, toldOf, type Results, type Row } from '../results.js';
import { spread, type Summary } from '../statistics.js';
import { table } from './markdown.js';
import { short } from './numbers.js';

/** No change below this is told as one, however quiet the run was. */
const LEAST_NOISE = 0.05;

/** What has changed since `before`, row by row, for the contestants that are in both. */
export function comparison(before: Results, now: Results): string {
  const rows = now.rows.flatMap((row) => {
    const old = before.rows.find((other) => other.workload === row.workload && other.metric === row.metric);
    if (!old) return [];
    return now.contestants.flatMap(({ name }) => {
      const then = toldOf(old, cellOf(old, name));
      const told = toldOf(row, cellOf(row, name));
      if (!then || !told || name.startsWith('raw-')) return [];
      return [[row.title, name, short(then.median), short(told.median), change(row, old, then, told)]];
    });
  });
  if (rows.length === 0) return `Nothing to compare with the run of ${before.at}.\n`;
  return `## Compared with the run of ${before.at}

${table(['', 'contestant', 'then', 'now', 'change'], rows)}
`;
}

function change(row: Row, old: Row, then: Summary, now: Summary): string {
  if (then.median === 0) return now.median === 0 ? 'same' : 'new';
  const share = now.median / then.median - 1;
  const percent = `${share >= 0 ? '+' : ''}${Math.round(share * 100)}%`;
  const noise = Math.max(LEAST_NOISE, offBy(row), offBy(old), spread(then) / 2, spread(now) / 2);
  if (Math.abs(share) <= noise) return `${percent} (within noise)`;
  return `${percent} ${share > 0 === (row.better === 'higher') ? 'better' : 'worse'}`;
}

/** How far identical code was from being equal in this row. */
function offBy(row: Row): number {
  const again = cellOf(row, NOISE.name)?.ratio;
  return again ? Math.abs(again.median - 1) : 0;
}
