import { short } from '../report/numbers.js';
import {
  callCost,
  KIB,
  memory,
  TASK_LIMIT_MS,
  table,
  withPair,
  type Study,
  type StudyOptions,
} from './study.js';

const STREAMS = [0, 100, 1000, 10_000];
const CONNECTIONS = [1, 10, 100, 1000];
const WARM_MS = 4000;
const MS = 1000;

/** Whether a call costs the same however many streams and connections there are, and what those hold. */
export const scale: Study = {
  title: 'Scale',
  about: '64 calls of 32 B at once, beside idle streams or spread over connections; processor time of a call',
  run: async (options) => `${await besideStreams(options)}\n\n${await overConnections(options)}`,
};

async function besideStreams({ contestants, progress }: StudyOptions): Promise<string> {
  const rows: string[][] = [];
  for (const name of contestants) {
    await withPair(name, { maxStreams: 20_000 }, async (pair) => {
      await callCost(pair, 64, WARM_MS);
      const empty = await memory(pair);
      for (const streams of STREAMS) {
        progress(`${name}: ${streams} idle streams`);
        if (streams > 0) await pair.client.ask('hold', { streams }, TASK_LIMIT_MS);
        const used = await memory(pair);
        const cost = await callCost(pair, 64, MS);
        const each = (end: 'client' | 'server') =>
          streams === 0 ? '–' : short(Math.max(used[end] - empty[end], 0) / streams / KIB);
        rows.push([
          name,
          streams.toLocaleString('en-US'),
          short(cost.client),
          short(cost.server),
          `${each('client')} + ${each('server')}`,
        ]);
        if (streams > 0) await pair.client.ask('release', undefined, TASK_LIMIT_MS);
      }
    });
  }
  return table(['', 'idle streams', 'client, us', 'server, us', 'KiB a stream'], rows);
}

async function overConnections({ contestants, progress }: StudyOptions): Promise<string> {
  const rows: string[][] = [];
  for (const name of contestants) {
    const empty = await withPair(name, { maxStreams: 1000 }, async (pair) => {
      await callCost(pair, 64, WARM_MS);
      return memory(pair);
    });
    for (const connections of CONNECTIONS) {
      progress(`${name}: ${connections} connections`);
      await withPair(name, { maxStreams: 1000, connections }, async (pair) => {
        await callCost(pair, 64, WARM_MS);
        const used = await memory(pair);
        const cost = await callCost(pair, 64, MS);
        const each = (end: 'client' | 'server') =>
          connections === 1 ? '–' : short(Math.max(used[end] - empty[end], 0) / (connections - 1) / KIB);
        rows.push([
          name,
          connections.toLocaleString('en-US'),
          short(cost.client),
          short(cost.server),
          `${each('client')} + ${each('server')}`,
        ]);
      });
    }
  }
  return table(['', 'connections', 'client, us', 'server, us', 'KiB a connection'], rows);
}
