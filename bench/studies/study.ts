import { Pair } from '../end-host.js';
import type { EndSettings } from '../contestant.js';

/** A question about our own code that a table of peers does not answer. */
export interface Study {
  title: string;
  /** One line: what is asked, and how. */
  about: string;
  /** The Markdown of what was found. */
  run(options: StudyOptions): Promise<string>;
}

export interface StudyOptions {
  /** Of our own contestants. */
  contestants: readonly string[];
  /** How long a soak takes. */
  minutes: number;
  progress: (line: string) => void;
}

export const TASK_LIMIT_MS = 60_000;
export const KIB = 1024;
export const MIB = 1024 * KIB;

/** Runs `task` with both ends of a contestant, in processes of their own that do not outlive it. */
export async function withPair<T>(
  name: string,
  settings: EndSettings,
  task: (pair: Pair) => Promise<T>,
): Promise<T> {
  const pair = new Pair(name);
  try {
    await pair.start(settings);
    return await task(pair);
  } finally {
    await pair.kill();
  }
}

export interface CallCost {
  perSecond: number;
  /** Microseconds of processor time of one call, at each end. */
  client: number;
  server: number;
}

/** Keeps `atOnce` small calls under way for `ms` and says what one of them cost. */
export async function callCost({ client, server }: Pair, atOnce: number, ms: number): Promise<CallCost> {
  const cpu = async () => ({
    client: await client.ask('cpuTime', undefined, TASK_LIMIT_MS),
    server: await server.ask('cpuTime', undefined, TASK_LIMIT_MS),
  });
  const before = await cpu();
  const { calls, failed, perSecond } = await client.ask(
    'unary',
    { size: 32, atOnce, ms, maxCalls: 1e9 },
    ms + TASK_LIMIT_MS,
  );
  if (failed > 0) throw new Error(`${failed} of ${calls + failed} calls failed`);
  const after = await cpu();
  return {
    perSecond,
    client: (after.client - before.client) / calls,
    server: (after.server - before.server) / calls,
  };
}

/** Bytes in use at both ends, without garbage. */
export async function memory({ client, server }: Pair): Promise<{ client: number; server: number }> {
  return {
    client: await client.ask('usedMemory', undefined, TASK_LIMIT_MS),
    server: await server.ask('usedMemory', undefined, TASK_LIMIT_MS),
  };
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const rule = head.map((_, i) => (i === 0 ? '---' : '---:'));
  return [line(head), line(rule), ...rows.map(line)].join('\n');
}
