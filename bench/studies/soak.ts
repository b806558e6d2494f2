import { short } from '../report/numbers.js';
import { callCost, memory, MIB, table, withPair, type Study } from './study.js';

const STEPS = 10;

/** Whether memory or cost grow slowly at full load. */
export const soak: Study = {
  title: 'Soak',
  about: '64 calls of 32 B at once, without a pause; memory is what is left once the garbage is gone',
  run: async ({ contestants, minutes, progress }) => {
    const parts: string[] = [];
    for (const name of contestants) {
      const rows: string[][] = [];
      await withPair(name, { maxStreams: 1000 }, async (pair) => {
        await callCost(pair, 64, 3000);
        for (let step = 1; step <= STEPS; step++) {
          const cost = await callCost(pair, 64, (minutes * 60_000) / STEPS);
          const used = await memory(pair);
          const at = `${short((minutes * step) / STEPS)} min`;
          progress(`${name}: ${at}`);
          rows.push([
            at,
            `${short(cost.perSecond / 1000)} k/s`,
            short(cost.client),
            short(cost.server),
            short(used.client / MIB),
            short(used.server / MIB),
          ]);
        }
      });
      const head = [name, 'calls', 'client, us', 'server, us', 'client, MiB', 'server, MiB'];
      parts.push(table(head, rows));
    }
    return parts.join('\n\n');
  },
};
