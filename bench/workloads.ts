import { setTimeout as pause } from 'node:timers/promises';
import type { EndSettings } from './contestant.js';
import type { Shape } from './contestants.js';
import type { Duration } from './drive/measured-time.js';
import type { Pair } from './end-host.js';

/** How long and how often; `--quick` is another plan. */
export interface Plan {
  rounds: number;
  /** Rounds of the workloads that start new processes each time. */
  heavyRounds: number;
  warmMs: number;
  /** Warming goes on until so many calls or messages have gone through, but no longer than `warmLimitMs`. */
  warmCount: number;
  warmLimitMs: number;
  /** Each turn begins with so many ms that do not count: while others had theirs, caches and heap have cooled down. */
  leadMs: number;
  ms: number;
  /** Share of the messages that the counted streams carry in the full plan. */
  streamShare: number;
  stopMs: number;
  /** Workloads share processes where they can, which saves the time to start them. */
  keepsProcesses: boolean;
}

export const FULL: Plan = {
  rounds: 5,
  heavyRounds: 3,
  warmMs: 2000,
  warmCount: 100_000,
  warmLimitMs: 4000,
  leadMs: 150,
  ms: 600,
  streamShare: 1,
  stopMs: 2500,
  keepsProcesses: false,
};

export const QUICK: Plan = {
  rounds: 3,
  heavyRounds: 1,
  warmMs: 100,
  warmCount: 3000,
  warmLimitMs: 200,
  leadMs: 0,
  ms: 80,
  streamShare: 0.2,
  stopMs: 500,
  keepsProcesses: true,
};

export type Unit = 'per s' | 'MB/s' | 'ms' | 'KiB' | 'MiB' | 'calls';

/** What must be reached, and the goal. */
export type Target = readonly [must: number, goal: number];

export interface Metric {
  name: string;
  title: string;
  unit: Unit;
  better: 'higher' | 'lower';
  /** Bytes and counts mean the same on every machine; all else is told by its ratio to the reference. */
  absolute?: boolean;
  targets?: { core: Target; nest: Target };
}

export interface Sample {
  values: Record<string, number>;
  note?: string;
}

export interface Workload {
  name: string;
  title: string;
  shapes: readonly Shape[];
  metrics: readonly Metric[];
  settings?: EndSettings;
  /**
   * Each round gets new processes, since the last round leaves its traces there: in their memory, so that even the first
   * round needs new ones (`memory`), or in what they still do (`work`).
   */
  fresh?: 'memory' | 'work';
  /** Why this system can not run it. */
  impossible?: string;
  warmUp(pair: Pair, plan: Plan): Promise<unknown>;
  measure(pair: Pair, plan: Plan): Promise<Sample>;
}

export const DEFAULT_SETTINGS: EndSettings = { maxStreams: 1000 };

const IDLE_STREAMS = 10_000;
const TASK_LIMIT_MS = 45_000;
const SEEN_LIMIT_MS = 2000;
const KIB = 1024;
const MIB = 1024 * 1024;

export const WORKLOADS: readonly Workload[] = [
  unary('unary-32-1', 'unary 32 B, 1 at a time', 32, 1, [0.85, 0.95], [0.75, 0.85]),
  unary('unary-32-64', 'unary 32 B, 64 at once', 32, 64, [0.35, 0.6], [0.2, 0.3]),
  unary('unary-32-512', 'unary 32 B, 512 at once', 32, 512, [0.25, 0.5], [0.13, 0.2]),
  unary('unary-1k-64', 'unary 1 KiB, 64 at once', KIB, 64, [0.5, 0.75], [0.3, 0.45]),
  unary('unary-64k-64', 'unary 64 KiB, 64 at once', 64 * KIB, 64, [0.6, 0.9], [0.5, 0.7]),
  download('stream-32', 'one stream of 100k x 32 B', 1, 100_000, 32, [0.15, 0.35], [0.1, 0.2]),
  download('streams-64', '64 streams of 5k x 32 B', 64, 5000, 32, [0.12, 0.3], [0.08, 0.15]),
  download('stream-64k', 'one stream of 64 KiB messages', 1, 1600, 64 * KIB, [0.7, 0.9], [0.5, 0.7]),
  pingPong(),
  idle(),
  cancel(),
  stopped(),
  besideBulk(),
];

function unary(
  name: string,
  title: string,
  size: number,
  atOnce: number,
  core: Target,
  nest: Target,
): Workload {
  const run = (pair: Pair, duration: Duration, calls = atOnce, maxCalls = 5_000_000) =>
    pair.client.ask('unary', { size, atOnce: calls, ...duration, maxCalls }, TASK_LIMIT_MS);
  return {
    name,
    title,
    shapes: ['unary'],
    metrics: [{ name: 'rate', title, unit: 'per s', better: 'higher', targets: { core, nest } }],
    warmUp: async (pair, { warmMs, warmCount, warmLimitMs }) => {
      // One at a time, it would take too long until all the code is compiled.
      const calls = Math.max(atOnce, 64);
      const first = await run(pair, { ms: warmMs }, calls);
      const missing = warmCount - first.calls;
      if (missing > 0) await run(pair, { ms: warmLimitMs }, calls, missing);
    },
    measure: async (pair, { leadMs, ms }) => {
      const { calls, failed, perSecond } = await run(pair, { leadMs, ms });
      if (failed > 0) throw new Error(`${failed} of ${calls + failed} calls failed`);
      return { values: { rate: perSecond } };
    },
  };
}

function download(
  name: string,
  title: string,
  streams: number,
  fullCount: number,
  size: number,
  core: Target,
  nest: Target,
): Workload {
  const run = (pair: Pair, duration: Duration, { streamShare }: Plan, maxRepeats = 1000) => {
    const count = Math.ceil(fullCount * streamShare);
    return pair.client.ask('download', { streams, count, size, ...duration, maxRepeats }, TASK_LIMIT_MS);
  };
  const inBytes = size >= KIB;
  return {
    name,
    title,
    shapes: ['download'],
    metrics: [
      { name: 'rate', title, unit: inBytes ? 'MB/s' : 'per s', better: 'higher', targets: { core, nest } },
    ],
    warmUp: async (pair, plan) => {
      const { messages } = await run(pair, { ms: plan.warmMs }, plan);
      const repeats = Math.ceil((plan.warmCount - messages) / (streams * fullCount * plan.streamShare));
      if (repeats > 0) await run(pair, { ms: plan.warmLimitMs }, plan, repeats);
    },
    measure: async (pair, plan) => {
      const { leadMs, ms } = plan;
      const { perSecond } = await run(pair, { leadMs, ms }, plan);
      return { values: { rate: inBytes ? (perSecond * size) / 1e6 : perSecond } };
    },
  };
}

function pingPong(): Workload {
  const title = 'bidi ping-pong 32 B, 64 streams';
  const run = (pair: Pair, { leadMs = 0, ms }: Duration) =>
    pair.client.ask('pingPong', { streams: 64, size: 32, leadMs, ms }, TASK_LIMIT_MS);
  return {
    name: 'ping-pong-64',
    title,
    shapes: ['pingPong'],
    metrics: [
      {
        name: 'rate',
        title,
        unit: 'per s',
        better: 'higher',
        targets: { core: [0.35, 0.6], nest: [0.2, 0.35] },
      },
    ],
    warmUp: (pair, { warmMs }) => run(pair, { ms: warmMs }),
    measure: async (pair, plan) => ({ values: { rate: (await run(pair, plan)).perSecond } }),
  };
}

/** `of` beside a raw value of `raw`: a time or rate says nothing about another machine, its ratio does. */
function beside(raw: number, of: { core: Target; nest: Target }): { core: Target; nest: Target } {
  const ratio = ([must, goal]: Target): Target => [must / raw, goal / raw];
  return { core: ratio(of.core), nest: ratio(of.nest) };
}

function idle(): Workload {
  const heap: { core: Target; nest: Target } = { core: [3, 1.5], nest: [6, 3] };
  return {
    name: 'idle-10k',
    title: '10,000 idle streams',
    shapes: ['hold'],
    settings: { maxStreams: 2 * IDLE_STREAMS },
    fresh: 'memory',
    metrics: [
      {
        name: 'open',
        title: '10,000 idle streams: open',
        unit: 'ms',
        better: 'lower',
        targets: beside(60, { core: [300, 130], nest: [800, 300] }),
      },
      {
        name: 'client',
        title: '10,000 idle streams: heap per stream, client',
        unit: 'KiB',
        better: 'lower',
        absolute: true,
        targets: heap,
      },
      {
        name: 'server',
        title: '10,000 idle streams: heap per stream, server',
        unit: 'KiB',
        better: 'lower',
        absolute: true,
        targets: heap,
      },
    ],
    warmUp: async (pair, { warmMs }) => {
      await pair.client.ask(
        'unary',
        { size: 32, atOnce: 64, ms: warmMs / 10, maxCalls: 100_000 },
        TASK_LIMIT_MS,
      );
      await pair.client.ask('hold', { streams: 200 }, TASK_LIMIT_MS);
      await pair.client.ask('release', undefined, TASK_LIMIT_MS);
      await pause(100);
    },
    measure: async (pair) => {
      const used = async () => ({
        client: await pair.client.ask('usedMemory', undefined, TASK_LIMIT_MS),
        server: await pair.server.ask('usedMemory', undefined, TASK_LIMIT_MS),
      });
      const before = await used();
      const { openMs } = await pair.client.ask('hold', { streams: IDLE_STREAMS }, TASK_LIMIT_MS);
      const after = await used();
      return {
        values: {
          open: openMs,
          client: (after.client - before.client) / IDLE_STREAMS / KIB,
          server: (after.server - before.server) / IDLE_STREAMS / KIB,
        },
      };
    },
  };
}

/** A rate counts only when the server has seen every cancel. */
function cancel(): Workload {
  const run = (pair: Pair, { leadMs = 0, ms }: Duration) =>
    pair.client.ask('cancelCycles', { atOnce: 64, leadMs, ms, maxCycles: 1_000_000 }, TASK_LIMIT_MS);
  return {
    name: 'cancel',
    title: 'open and cancel, 64 at once',
    shapes: ['hold'],
    metrics: [
      {
        name: 'rate',
        title: 'open and cancel, 64 at once: cycles',
        unit: 'per s',
        better: 'higher',
        targets: beside(165_000, { core: [45_000, 90_000], nest: [20_000, 40_000] }),
      },
      {
        name: 'unseen',
        title: 'open and cancel: cancels the server never saw',
        unit: 'calls',
        better: 'lower',
        absolute: true,
        targets: { core: [0, 0], nest: [0, 0] },
      },
      {
        name: 'failed',
        title: 'open and cancel: calls that failed',
        unit: 'calls',
        better: 'lower',
        absolute: true,
        targets: { core: [0, 0], nest: [0, 0] },
      },
    ],
    warmUp: (pair, { warmMs }) => run(pair, { ms: warmMs }),
    measure: async (pair, plan) => {
      const before = await settledHolds(pair);
      const { perSecond, opened, failed } = await run(pair, plan);
      const after = await settledHolds(pair);
      const held = after.held - before.held;
      const unseen = held - (after.canceled - before.canceled);
      const counts = { unseen, failed };
      if (unseen === 0 && failed === 0) return { values: { rate: perSecond, ...counts } };
      return {
        values: counts,
        note: `of ${opened} streams ${failed} failed and ${unseen} cancels never reached the server`,
      };
    },
  };
}

/** Waits until the server has seen all cancels, or sees no more of them. */
async function settledHolds(pair: Pair) {
  const begin = performance.now();
  let counters = await pair.server.ask('counters', undefined, TASK_LIMIT_MS);
  while (counters.held !== counters.canceled && performance.now() - begin < SEEN_LIMIT_MS) {
    await pause(50);
    const canceled = counters.canceled;
    counters = await pair.server.ask('counters', undefined, TASK_LIMIT_MS);
    if (counters.canceled === canceled && performance.now() - begin > SEEN_LIMIT_MS / 8) break;
  }
  return counters;
}

function stopped(): Workload {
  return {
    name: 'stopped',
    title: 'client stopped while the server produces',
    shapes: ['download'],
    fresh: 'memory',
    ...(process.platform === 'win32' ? { impossible: 'this system can not stop a process' } : {}),
    metrics: [
      {
        name: 'growth',
        title: 'client stopped while the server produces: growth of the server',
        unit: 'MiB',
        better: 'lower',
        absolute: true,
        targets: { core: [32, 8], nest: [32, 8] },
      },
    ],
    warmUp: async () => undefined,
    measure: async (pair, { stopMs }) => {
      const leadMs = Math.min(600, stopMs / 2);
      const { client, server } = pair;
      await server.ask('memoryPeak', undefined, TASK_LIMIT_MS);
      await client.ask('startFlow', { size: 64 * KIB, limitMs: leadMs + stopMs + 1500 }, TASK_LIMIT_MS);
      await pause(leadMs);
      const before = await server.ask('memoryPeak', undefined, TASK_LIMIT_MS);
      client.signal('SIGSTOP');
      let during: number;
      try {
        await pause(stopMs);
        during = await server.ask('memoryPeak', undefined, TASK_LIMIT_MS);
      } finally {
        client.signal('SIGCONT');
      }
      const resumed = await client.ask('flow', undefined, TASK_LIMIT_MS);
      await pause(300);
      const later = await client.ask('flow', undefined, TASK_LIMIT_MS);
      const alive = later.lost === undefined && later.bytes > resumed.bytes;
      return {
        values: { growth: Math.max(0, during - before) / MIB },
        ...(alive ? {} : { note: `the stream did not go on: ${later.lost ?? 'nothing more arrives'}` }),
      };
    },
  };
}

function besideBulk(): Workload {
  const bulk: Target = [300, 300];
  return {
    name: 'beside-bulk',
    title: 'unary 32 B beside a bulk stream',
    shapes: ['unary', 'download'],
    metrics: [
      {
        name: 'p99',
        title: 'unary 32 B beside a bulk stream: p99',
        unit: 'ms',
        better: 'lower',
        targets: beside(5.2, { core: [8, 2], nest: [8, 3] }),
      },
      { name: 'p50', title: 'unary 32 B beside a bulk stream: median', unit: 'ms', better: 'lower' },
      {
        name: 'bulk',
        title: 'unary 32 B beside a bulk stream: the bulk stream',
        unit: 'MB/s',
        better: 'higher',
        // Raw moved so many MB/s with nothing beside it.
        targets: beside(1070, { core: bulk, nest: bulk }),
      },
    ],
    // A peer that knows no cancel would go on producing for ever-later rounds; no workload comes after this one.
    fresh: 'work',
    warmUp: async ({ client }, { warmMs }) => {
      await client.ask('unary', { size: 32, atOnce: 1, ms: warmMs, maxCalls: 100_000 }, TASK_LIMIT_MS);
      await client.ask(
        'download',
        { streams: 1, count: 800, size: 64 * KIB, ms: warmMs, maxRepeats: 100 },
        TASK_LIMIT_MS,
      );
    },
    measure: async ({ client }, { ms }) => {
      const result = await client.ask(
        'besideBulk',
        { bulkSize: 64 * KIB, callSize: 32, leadMs: 200, ms: 4 * ms, pauseMs: 1 },
        TASK_LIMIT_MS,
      );
      return { values: { p99: result.p99Ms, p50: result.p50Ms, bulk: result.bulkBytesPerSecond / 1e6 } };
    },
  };
}
