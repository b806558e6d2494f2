import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { DrpcStream, type DrpcClient } from 'nestjs-drpc';
import { firstValueFrom } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import { JoinedApps } from '../e2e/helpers/joined-apps.js';
import { Gate } from '../transport/helpers/event-log.js';

const STREAMS = 10;
const CALLS = 100;
/** Some windows full. */
const BLOCKS = 100;
const BLOCK = 'x'.repeat(100_000);

const indices = Array.from({ length: STREAMS }, (_, i) => i);

let produced: number[];
let taken: number[];
let gate: Gate;

beforeEach(() => {
  produced = indices.map(() => 0);
  taken = indices.map(() => 0);
  gate = new Gate();
});

async function* blocks(of: number): AsyncGenerator<string> {
  while (produced[of]! < BLOCKS) {
    produced[of]!++;
    yield BLOCK;
  }
}

@Controller()
class BlocksController {
  @MessagePattern('echo')
  echo(@Payload() value: unknown): unknown {
    return value;
  }

  @MessagePattern('give')
  give(@Payload() index: number): AsyncGenerator<string> {
    return blocks(index);
  }

  @MessagePattern('take')
  async take(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<string>): Promise<number> {
    let size = 0;
    for await (const value of values) {
      size += value.length;
      if (size === BLOCK.length) await gate.opened;
    }
    return size;
  }
}

/** Resolves when the producers have stood still while the connection was used ten times. */
async function standstill(client: DrpcClient): Promise<number[]> {
  let before: number[] = [];
  for (let still = 0; still < 10; still++) {
    expect(await client.call('echo', still)).toBe(still);
    if (produced.join() !== before.join()) still = -1;
    before = [...produced];
  }
  return before;
}

/** 100 calls one after the other, and 100 at once. */
async function callsAreAnswered(client: DrpcClient): Promise<void> {
  for (let i = 0; i < CALLS; i++) expect(await client.call('echo', i)).toBe(i);
  const answers = await Promise.all(
    Array.from({ length: CALLS }, (_, i) => firstValueFrom(client.send<number>('echo', i))),
  );
  expect(answers).toEqual(Array.from({ length: CALLS }, (_, i) => i));
}

async function start(): Promise<DrpcClient> {
  const { client } = await JoinedApps.start([BlocksController], { over: 'tcp' });
  await client.connect();
  return client;
}

describe('Ten streams that stand still', () => {
  it('because their client does not read: calls beside them on the same connection are answered', async () => {
    const client = await start();
    const streams = indices.map((index) => client.stream<string>('give', index)[Symbol.asyncIterator]());
    for (const stream of streams) expect((await stream.next()).value).toBe(BLOCK);
    const stood = await standstill(client);
    expect(Math.max(...stood)).toBeLessThan(BLOCKS / 2);

    await callsAreAnswered(client);
    expect(client.unwrap().connections).toHaveLength(1);
    expect(produced).toEqual(stood);

    await Promise.all(
      streams.map(async (stream, index) => {
        for (taken[index] = 1; !(await stream.next()).done;) taken[index]!++;
      }),
    );
    expect(taken).toEqual(indices.map(() => BLOCKS));
  });

  it('because their handler does not read: calls beside them on the same connection are answered', async () => {
    const client = await start();
    const answers = indices.map((index) => client.call<number>('take', blocks(index)));
    const stood = await standstill(client);
    expect(Math.max(...stood)).toBeLessThan(BLOCKS / 2);
    expect(Math.min(...stood)).toBeGreaterThan(1);

    await callsAreAnswered(client);
    expect(client.unwrap().connections).toHaveLength(1);
    expect(produced).toEqual(stood);

    gate.open();
    expect(await Promise.all(answers)).toEqual(indices.map(() => BLOCKS * BLOCK.length));
  });
});
