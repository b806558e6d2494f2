import { DEFAULT_BULK_SIZE, DEFAULT_WRITE_SIZE } from '../../lib/wire/mux-writer.js';
import { short } from '../report/numbers.js';
import { summarize } from '../statistics.js';
import { KIB, MIB, TASK_LIMIT_MS, table, withPair, type Study } from './study.js';

const SIZES: readonly { writeSize: number; bulkSize: number }[] = [
  { writeSize: 16 * KIB, bulkSize: 16 * KIB },
  { writeSize: 64 * KIB, bulkSize: 64 * KIB },
  { writeSize: DEFAULT_WRITE_SIZE, bulkSize: DEFAULT_BULK_SIZE },
  { writeSize: 256 * KIB, bulkSize: 256 * KIB },
  { writeSize: MIB, bulkSize: MIB },
];
const ROUNDS = 3;

/** Bulk throughput against the latency of small calls on the same connection, by what the writer takes at once. */
export const fairness: Study = {
  title: 'Fairness',
  about: 'one call of 32 B after the other, 1 ms apart, beside a stream of 64 KiB messages; core',
  run: async ({ progress }) => {
    const found = SIZES.map(() => ({ p50: [] as number[], p99: [] as number[], bulk: [] as number[] }));
    for (let round = 0; round < ROUNDS; round++) {
      for (const [i, writer] of SIZES.entries()) {
        progress(`round ${round + 1}: writes of ${writer.writeSize / KIB} KiB`);
        await withPair('core', { maxStreams: 1000, writer }, async ({ client }) => {
          const ask = (ms: number) =>
            client.ask(
              'besideBulk',
              { bulkSize: 64 * KIB, callSize: 32, leadMs: 300, ms, pauseMs: 1 },
              TASK_LIMIT_MS,
            );
          await ask(600);
          const { p50Ms, p99Ms, bulkBytesPerSecond } = await ask(1500);
          found[i]!.p50.push(p50Ms);
          found[i]!.p99.push(p99Ms);
          found[i]!.bulk.push(bulkBytesPerSecond / 1e6);
        });
      }
    }
    return table(
      ['at once, in KiB', 'bulk stream, MB/s', 'small calls, median ms', 'small calls, p99 ms'],
      SIZES.map(({ writeSize }, i) => {
        const { bulk, p50, p99 } = found[i]!;
        const mark = writeSize === DEFAULT_WRITE_SIZE ? ' (default)' : '';
        return [
          `${writeSize / KIB}${mark}`,
          ...[bulk, p50, p99].map((values) => short(summarize(values).median)),
        ];
      }),
    );
  },
};
