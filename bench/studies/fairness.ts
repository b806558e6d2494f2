import type { Pair } from '../end-host.js';
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
const STREAMS = [1, 16];
const ROUNDS = 3;

interface Found {
  p50: number[];
  p99: number[];
  bulk: number[];
}

/** Bulk throughput against the latency of small calls on the same connection, by what the writer takes at once. */
export const fairness: Study = {
  title: 'Fairness',
  about: 'one call of 32 B after the other, 1 ms apart, beside streams of 64 KiB messages; core',
  run: async ({ progress }) => {
    const cells = STREAMS.flatMap((streams) =>
      SIZES.map((writer) => ({ streams, writer, found: { p50: [], p99: [], bulk: [] } as Found })),
    );
    for (let round = 1; round <= ROUNDS; round++) {
      for (const { streams, writer, found } of cells) {
        progress(`round ${round}: ${streams} bulk streams, writes of ${writer.writeSize / KIB} KiB`);
        await withPair('core', { maxStreams: 1000, writer }, ({ client }) => measure(client, streams, found));
      }
    }
    return table(
      ['bulk streams', 'KiB at once', 'bulk, MB/s', 'calls, median ms', 'calls, p99 ms'],
      cells.map(({ streams, writer: { writeSize }, found: { bulk, p50, p99 } }) => {
        const size = `${writeSize / KIB}${writeSize === DEFAULT_WRITE_SIZE ? ' (default)' : ''}`;
        return [String(streams), size, ...[bulk, p50, p99].map((values) => short(summarize(values).median))];
      }),
    );
  },
};

async function measure(client: Pair['client'], streams: number, found: Found): Promise<void> {
  const ask = (ms: number) =>
    client.ask(
      'besideBulk',
      { streams, bulkSize: 64 * KIB, callSize: 32, leadMs: 300, ms, pauseMs: 1 },
      TASK_LIMIT_MS,
    );
  await ask(600);
  const { p50Ms, p99Ms, bulkBytesPerSecond } = await ask(1500);
  found.p50.push(p50Ms);
  found.p99.push(p99Ms);
  found.bulk.push(bulkBytesPerSecond / 1e6);
}
