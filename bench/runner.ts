import type { Entry } from './contestants.js';
import { NOISE, REFERENCE } from './contestants.js';
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
      await this.pair?.kill();
    }
  }

  async start({ settings = DEFAULT_SETTINGS }: Workload, kept?: KeptPairs): Promise<void> {
    if (this.failure !== undefined) return;
    const { name } = this.entry;
    this.pair = kept?.get(name);
    if (this.pair) return;
    this.pair = new Pair(name);
    await this.attempt((pair) => pair.start(settings));
  }

  async stop(kept?: KeptPairs): Promise<void> {
    const { pair, entry, failure } = this;
    this.pair = undefined;
    if (kept && failure === undefined && pair) {
      kept.set(entry.name, pair);
    } else {
      kept?.delete(entry.name);
      await pair?.kill();
    }
  }
}

/** Processes that serve several workloads, by contestant. */
export type KeptPairs = Map<string, Pair>;

/**
 * Runs one workload over all contestants in turns: A B C, A B C, ...
 * With `kept`, workloads that leave no traces share their processes; whoever gave it kills them at last.
 */
export async function runWorkload(
  workload: Workload,
  entries: readonly Entry[],
  plan: Plan,
  kept?: KeptPairs,
): Promise<Row[]> {
  const comparesRatios = workload.metrics.some((metric) => !metric.absolute);
  const able = entries.filter(
    ({ name, shapes, workloads = [workload.name] }) =>
      workload.shapes.every((shape) => shapes.includes(shape)) &&
      workloads.includes(workload.name) &&
      (comparesRatios || name !== NOISE.name),
  );
  const tracks = able.map((entry) => new Track(entry));
  const isFresh = workload.fresh === 'memory' || (workload.fresh === 'work' && plan.heavyRounds > 1);
  try {
    if (isFresh) await runFresh(workload, tracks, plan);
    else await runTogether(workload, tracks, workload.fresh ? plan.heavyRounds : plan.rounds, plan, kept);
  } finally {
    await Promise.all(tracks.map((track) => track.stop(isFresh ? undefined : kept)));
  }
  return rowsOf(workload, tracks);
}

async function runTogether(
  workload: Workload,
  tracks: Track[],
  rounds: number,
  plan: Plan,
  kept: KeptPairs | undefined,
): Promise<void> {
  await Promise.all(tracks.map((track) => track.start(workload, kept)));
  for (const track of tracks) {
    await track.attempt(async (pair) => void (await workload.warmUp(pair, plan)));
  }
  for (let round = 0; round < rounds; round++) {
    for (const track of tracks) {
      await track.attempt(async (pair) => {
        track.samples[round] = await workload.measure(pair, plan);
      });
    }
  }
}

async function runFresh(workload: Workload, tracks: Track[], plan: Plan): Promise<void> {
  for (let round = 0; round < plan.heavyRounds; round++) {
    // Starting processes takes longer than to measure them: where time is short, those of a round start side by side.
    if (plan.keepsProcesses) await Promise.all(tracks.map((track) => track.start(workload)));
    for (const track of tracks) {
      if (!plan.keepsProcesses) await track.start(workload);
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
      ...(metric.targets ? { targets: metric.targets } : {}),
      cells,
    };
  });
}
