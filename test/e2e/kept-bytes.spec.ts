import { createHash } from 'node:crypto';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { DrpcStream } from 'nestjs-drpc';
import { beforeEach, describe, expect, it } from 'vitest';
import { Prng, runSeed } from '../helpers/prng.js';
import { JoinedApps, TRANSPORTS } from './helpers/joined-apps.js';

const BYTES = { encoding: 'bytes' };

/** All that the service was sent, kept as it came. */
let received: Buffer[];

beforeEach(() => {
  received = [];
});

@Controller()
class KeepingController {
  @MessagePattern('echo', BYTES)
  echo(@Payload() bytes: Buffer): Buffer {
    received.push(bytes);
    return bytes;
  }

  @MessagePattern('echoes', BYTES)
  async *echoes(@DrpcStream({ as: 'iterable' }) messages: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const bytes of messages) {
      received.push(bytes);
      yield bytes;
    }
  }
}

/** A size near to where something changes: blocks of memory, windows, the split of messages. */
function anySize(random: Prng): number {
  const edge = random.pick([0, 64, 4096, 32_768, 49_152, 65_536, 98_304, 131_072, 262_144]);
  return Math.max(0, edge + random.int(9) - 4);
}

function digests(messages: readonly Buffer[]): string[] {
  return messages.map((bytes) => createHash('sha1').update(bytes).digest('hex')).sort();
}

describe.each(TRANSPORTS)('over %s', (over) => {
  it('bytes that somebody keeps stay as they came, whatever else is received', async () => {
    const seed = runSeed();
    const random = new Prng(seed);
    const encodings = { echo: 'bytes', echoes: 'bytes' } as const;
    const { client } = await JoinedApps.start([KeepingController], { over, client: { encodings } });
    const sent: Buffer[] = [];
    const answers: Buffer[] = [];
    const message = (): Buffer => {
      const bytes = Buffer.alloc(anySize(random), random.bytes(7));
      sent.push(bytes);
      return bytes;
    };
    const callOften = async (): Promise<void> => {
      for (let i = 0; i < 12; i++) answers.push((await client.call<Buffer>('echo', message()))!);
    };
    const stream = async (): Promise<void> => {
      async function* messages(): AsyncGenerator<Buffer> {
        for (let i = 0; i < 12; i++) yield message();
      }
      for await (const answer of client.stream<Buffer>('echoes', messages())) answers.push(answer);
    };
    await Promise.all([...Array.from({ length: 6 }, callOften), ...Array.from({ length: 6 }, stream)]);
    expect(answers, `DRPC_TEST_SEED=${seed}`).toHaveLength(144);
    expect(digests(received), `DRPC_TEST_SEED=${seed}`).toEqual(digests(sent));
    expect(digests(answers), `DRPC_TEST_SEED=${seed}`).toEqual(digests(sent));
  });
});
