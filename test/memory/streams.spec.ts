import { once } from 'node:events';
import type { ChildProcess } from 'node:child_process';
import type { DrpcClient } from 'nestjs-drpc';
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, it } from 'vitest';
import { startCaller } from '../e2e/helpers/joined-apps.js';
import { CompiledPrograms } from './helpers/compiled-programs.js';
import { residentPeak, residentSize } from './helpers/resident.js';

const MIB = 1024 * 1024;
const ROW = MIB;
/** 1 GiB in all. */
const ROWS = 1024;
/** The reader stands still after so many. */
const STEP = 64;
/** Rows that may have been made and not taken: two for the window of 2 MiB, one that waits for credit, one more. */
const MOST_AHEAD = 4;
/**
 * What 1 GiB may add to the service's memory; 45 MiB as a rule. The windows and queues on the way hold some 5 MiB,
 * and a process of Nest grows a little with its first calls. The rest are rows that were sent and that the garbage
 * collector has not come to. Rows that were kept would take 1 GiB.
 */
const MOST_GROWTH = 96 * MIB;

const SERVICE = 'test/memory/programs/streaming-service.ts';

let programs: CompiledPrograms;
let service: ChildProcess;
let client: DrpcClient;

beforeAll(async () => {
  programs = await CompiledPrograms.make(SERVICE);
});

afterAll(() => programs.remove());

beforeEach(async () => {
  service = programs.start(SERVICE);
  const [port] = (await once(service, 'message')) as [number];
  const encodings = { rows: 'bytes', take: 'bytes' } as const;
  const app = await startCaller({ url: `drpc://127.0.0.1:${port}`, encodings });
  client = app.get<DrpcClient>('SERVICE');
  await client.connect();
});

afterEach(async () => {
  await client.close();
  const ended = once(service, 'exit');
  service.kill();
  await ended;
});

/** Resolves when `count` has stood still while the service went round its event loop ten times. */
async function settled(count: () => Promise<number>): Promise<number> {
  let before = await count();
  for (let still = 0; still < 10; still++) {
    const now = await count();
    if (now !== before) still = -1;
    before = now;
  }
  return before;
}

describe('1 GiB past a reader that stands still again and again', { timeout: 120_000 }, () => {
  it('of a generator, to for await: the service makes no more than the reader takes', async () => {
    const before = residentSize(service.pid!);
    const request = Buffer.from(JSON.stringify({ count: ROWS, size: ROW }));
    let taken = 0;
    for await (const row of client.stream<Buffer>('rows', request)) {
      expect([row.length, row.readUInt32BE()]).toEqual([ROW, taken]);
      if (++taken % STEP > 0) continue;
      const produced = await settled(async () => (await client.call<number>('produced'))!);
      expect(produced - taken).toBeLessThanOrEqual(MOST_AHEAD);
    }
    expect(taken).toBe(ROWS);
    expect(residentPeak(service.pid!) - before).toBeLessThan(MOST_GROWTH);
  });

  it('of a request stream, to an iterable of @DrpcStream(): the client makes no more than the handler takes', async () => {
    const before = residentSize(service.pid!);
    let produced = 0;
    async function* rows(): AsyncGenerator<Buffer> {
      while (produced < ROWS) {
        const row = Buffer.alloc(ROW, produced);
        row.writeUInt32BE(produced++);
        yield row;
      }
    }
    const answer = client.call<Buffer>('take', rows());
    for (let step = 1; step <= ROWS / STEP; step++) {
      const taken = await client.call<number>('standing');
      expect(taken).toBe(step * STEP);
      await settled(async () => {
        await client.call('produced');
        return produced;
      });
      expect(produced - step * STEP).toBeLessThanOrEqual(MOST_AHEAD);
      await client.call('go on');
    }
    expect(Number(await answer)).toBe(ROWS * ROW);
    expect(residentPeak(service.pid!) - before).toBeLessThan(MOST_GROWTH);
  });
});
