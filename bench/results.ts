import type { Summary } from './statistics.js';
import type { Plan, Target, Unit } from './workloads.js';

/** What `results.json` holds. */
export interface Results {
  format: 1;
  at: string;
  node: string;
  cpus: number;
  /** What the machine was doing before the run began: processes that wanted a core, over the last minute. */
  loadBefore: number;
  quick: boolean;
  plan: Plan;
  contestants: { name: string; title: string; goal?: 'core' | 'nest' }[];
  /** Contestants that could not take part, and why. */
  missing: Record<string, string>;
  /** Workloads that could not run here, and why. */
  impossible: Record<string, string>;
  rows: Row[];
}

export interface Row {
  workload: string;
  metric: string;
  title: string;
  unit: Unit;
  better: 'higher' | 'lower';
  /** Told as it is; otherwise by the ratio to the reference of the same round. */
  absolute: boolean;
  targets?: { core: Target; nest: Target };
  cells: Cell[];
}

/** One contestant in one row. No `value`: it did not get there, and `note` says why. */
export interface Cell {
  contestant: string;
  values: number[];
  ratios: number[];
  value?: Summary;
  ratio?: Summary;
  note?: string;
  failed?: boolean;
}

/** What is told of a cell, and what its targets are held against: a ratio, or the plain value of an absolute row. */
export function toldOf(row: Row, cell: Cell | undefined): Summary | undefined {
  return row.absolute ? cell?.value : cell?.ratio;
}

export function cellOf(row: Row, contestant: string): Cell | undefined {
  return row.cells.find((cell) => cell.contestant === contestant);
}

export type Verdict = 'goal' | 'reached' | 'short';

export function judge(row: Row, judged: Summary, [must, goal]: Target): Verdict {
  const reaches = (target: number) =>
    row.better === 'higher' ? judged.median >= target : judged.median <= target;
  if (reaches(goal)) return 'goal';
  return reaches(must) ? 'reached' : 'short';
}
