import type { Entry } from './contestants.js';
import { REFERENCE } from './contestants.js';
import { Pair } from './end-host.js';
import type { Cell, Row } from './results.js';
import { summarize } from './statistics.js';
import { DEFAULT_SETTINGS, type Plan, type Sample, type Workload } from './workloads.js';

/** What one contestant has shown in one workload, round by round; a hole is a round that failed. */
class Track {
  readonly samples: (Sample | undefined)[] = [];
  failure: string | undefined;
  pair: Pair | undefined;
  readonly entry: Entry;

  constructor(entry: Entry) {
    this.entry = entry;
  }

  /** The first failure ends this contestant's part in the workload. */
  async attempt(action: (pair: Pair) => Promise<void>): Promise<void> {
    if (this.failure !== undefined || !this.pair) return;
    try {
      await action(this.pair);
    } catch (error) {
      this.failure = error instanceof Error ? error.message : String(error);
      await this.stop();
    }
  }

  async start(workload: Workload): Promise<void> {
    if (this.failure !== undefined) return;
    this.pair = new Pair(this.entry.name);
    await this.attempt((pair) => pair.start(workload.settings ?? DEFAULT_SETTINGS));
  }

  async stop(): Promise<void> {
    await this.pair?.kill();
    this.pair = undefined;
  }
}

/** Runs one workload over all contestants in turns: A B C, A B C, ... */
export async function runWorkload(workload: Workload, entries: readonly Entry[], plan: Plan): Promise<Row[]> {
  const able = entries.filter(
    ({ shapes, workloads = [workload.name] }) =>
      workload.shapes.every((shape) => shapes.includes(shape)) && workloads.includes(workload.name),
  );
  const tracks = able.map((entry) => new Track(entry));
  try {
    if (workload.fresh) await runFresh(workload, tracks, plan);
    else await runTogether(workload, tracks, plan);
  } finally {
    await Promise.all(tracks.map((track) => track.stop()));
  }
  return rowsOf(workload, tracks);
}

async function runTogether(workload: Workload, tracks: Track[], plan: Plan): Promise<void> {
  await Promise.all(tracks.map((track) => track.start(workload)));
  for (const track of tracks) {
    await track.attempt(async (pair) => void (await workload.warmUp(pair, plan)));
  }
  for (let round = 0; round < plan.rounds; round++) {
    for (const track of tracks) {
      await track.attempt(async (pair) => {
        track.samples[round] = await workload.measure(pair, plan);
      });
    }
  }
}

async function runFresh(workload: Workload, tracks: Track[], plan: Plan): Promise<void> {
  for (let round = 0; round < plan.heavyRounds; round++) {
    for (const track of tracks) {
      await track.start(workload);
      await track.attempt(async (pair) => {
        await workload.warmUp(pair, plan);
        track.samples[round] = await workload.measure(pair, plan);
      });
      await track.stop();
    }
  }
}

function rowsOf(workload: Workload, tracks: Track[]): Row[] {
  const reference = tracks.find((track) => track.entry === REFERENCE);
  return workload.metrics.map((metric) => {
    const valueIn = (track: Track | undefined, round: number) => track?.samples[round]?.values[metric.name];
    const cells = tracks.map((track): Cell => {
      const cell: Cell = { contestant: track.entry.name, values: [], ratios: [] };
      const rounds = track.samples.length;
      for (let round = 0; round < rounds; round++) {
        const value = valueIn(track, round);
        if (value === undefined) continue;
        cell.values.push(value);
        const limit = valueIn(reference, round);
        if (!metric.absolute && limit) cell.ratios.push(value / limit);
      }
      if (cell.values.length > 0) cell.value = summarize(cell.values);
      if (cell.ratios.length > 0) cell.ratio = summarize(cell.ratios);
      const note = track.failure ?? track.samples.findLast((sample) => sample?.note)?.note;
      if (note !== undefined) cell.note = note;
      if (track.failure !== undefined) cell.failed = true;
      return cell;
    });
    return {
      workload: workload.name,
      metric: metric.name,
      title: metric.title,
      unit: metric.unit,
      better: metric.better,
      absolute: metric.absolute ?? false,
      judged: metric.judged ?? (metric.absolute ? 'value' : 'ratio'),
      ...(metric.targets ? { targets: metric.targets } : {}),
      cells,
    };
  });
}
