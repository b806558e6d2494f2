import type { Allocations } from '../memory.js';
import { short } from '../report/numbers.js';
import { TASK_LIMIT_MS, table, withPair, type Study } from './study.js';

const CALLS = 100_000;

/** What one call leaves for the garbage collector, and who makes it. */
export const garbage: Study = {
  title: 'Garbage',
  about: `${CALLS.toLocaleString('en-US')} calls of 32 B, 64 at once; sampled allocations on the heap, in bytes a call`,
  run: async ({ contestants, progress }) => {
    const parts: string[] = [];
    for (const name of contestants) {
      progress(name);
      await withPair(name, { maxStreams: 1000 }, async ({ client, server }) => {
        const run = () =>
          client.ask(
            'unary',
            { size: 32, atOnce: 64, ms: TASK_LIMIT_MS, maxCalls: CALLS },
            2 * TASK_LIMIT_MS,
          );
        await run();
        await client.ask('startAllocations', undefined, TASK_LIMIT_MS);
        await server.ask('startAllocations', undefined, TASK_LIMIT_MS);
        const { calls } = await run();
        const found = {
          client: await client.ask('allocations', undefined, TASK_LIMIT_MS),
          server: await server.ask('allocations', undefined, TASK_LIMIT_MS),
        };
        for (const [end, allocations] of Object.entries(found)) {
          const bytes = short(allocations.bytes / calls);
          parts.push(`${name}, ${end}: ${bytes} bytes a call\n\n${sites(allocations, calls)}`);
        }
      });
    }
    return parts.join('\n\n');
  },
};

function sites({ sites: found }: Allocations, calls: number): string {
  const rows = found.map(({ name, bytes }) => [name, short(bytes / calls)]);
  return table(['made by', 'bytes a call'], rows);
}
