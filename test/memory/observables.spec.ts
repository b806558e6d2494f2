import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { DrpcContext, DrpcStream, type DrpcClient } from 'nestjs-drpc';
import { Observable } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import { JoinedApps, type JoinedAppsOptions } from '../e2e/helpers/joined-apps.js';
import { EventLog, Gate } from '../transport/helpers/event-log.js';

const KIB = 1024;
const BLOCK = 'x'.repeat(100 * KIB);
const BLOCKS = 100;
const WINDOW = 256 * KIB;
const MIB = 1024 * KIB;
const MOST_WAITING = MIB;
/** Those that may wait, the first of them on its way, and the one that is too much. */
const MOST_EMITTED = 10 + 1;

let log: EventLog;
let gate: Gate;
let emitted: number;

beforeEach(() => {
  log = new EventLog();
  gate = new Gate();
  emitted = 0;
});

/** Emits all it has in the turn in which it is subscribed to, or until it is unsubscribed. */
function hasty(name: string, all = BLOCKS): Observable<string> {
  return new Observable((subscriber) => {
    let count = 0;
    while (count < all && !subscriber.closed) {
      count++;
      subscriber.next(BLOCK);
    }
    log.add(`${name}: ${subscriber.closed ? `unsubscribed after ${count}` : 'all sent'}`);
    subscriber.complete();
  });
}

/** Emits one after the other, and waits whenever it is told to. */
function patient(ctx: DrpcContext): Observable<string> {
  return new Observable((subscriber) => {
    const emit = async (): Promise<void> => {
      while (emitted < BLOCKS && !subscriber.closed) {
        subscriber.next(BLOCK);
        emitted++;
        await ctx.drained;
      }
      subscriber.complete();
    };
    void emit();
  });
}

@Controller()
class EmittingController {
  @MessagePattern('hasty')
  hasty(@Payload() name: string): Observable<string> {
    return hasty(name);
  }

  @MessagePattern('some')
  some(@Payload() count: number): Observable<string> {
    return hasty(`${count} blocks`, count);
  }

  @MessagePattern('patient')
  patient(@Payload() _request: unknown, @Ctx() ctx: DrpcContext): Observable<string> {
    return patient(ctx);
  }

  @MessagePattern('unread')
  async unread(@DrpcStream({ as: 'iterable' }) _values: AsyncIterable<string>): Promise<void> {
    await gate.opened;
  }

  @MessagePattern('echo')
  echo(@Payload() value: unknown): unknown {
    return value;
  }
}

async function start(options: JoinedAppsOptions = {}): Promise<JoinedApps> {
  return JoinedApps.start([EmittingController], {
    over: 'tcp',
    server: { sendQueueSize: MOST_WAITING, streamWindow: WINDOW, ...options.server },
    client: { sendQueueSize: MOST_WAITING, streamWindow: WINDOW, ...options.client },
  });
}

/** Asks for one answer and then for no more. */
async function readOne(client: DrpcClient, pattern: string, data: unknown): Promise<AsyncIterator<string>> {
  const iterator = client.stream<string>(pattern, data)[Symbol.asyncIterator]();
  expect((await iterator.next()).value).toBe(BLOCK);
  return iterator;
}

async function rest(iterator: AsyncIterator<string>): Promise<number> {
  let count = 0;
  while (!(await iterator.next()).done) count++;
  return count;
}

describe('An Observable that can not wait', () => {
  it('of a handler ends with code 8 above sendQueueSize, and is unsubscribed', async () => {
    const { client } = await start();
    const iterator = client.stream<string>('hasty', 'source')[Symbol.asyncIterator]();
    await expect(iterator.next().then(() => rest(iterator))).rejects.toMatchObject({
      code: 8,
      message: expect.stringMatching(
        /^\d+ bytes wait to be sent: at most 1048576 may; the consumer is too slow/,
      ) as string,
    });
    expect(log.entries).toEqual([`source: unsubscribed after ${MOST_EMITTED}`]);
    expect(await client.call('echo', 1)).toBe(1);
  });

  it('of send() ends with code 8 above sendQueueSize, and is unsubscribed', async () => {
    const { client } = await start();
    const error = new Promise<unknown>((resolve) => {
      client.send('unread', hasty('request')).subscribe({ error: resolve });
    });
    expect(await error).toMatchObject({
      code: 8,
      message: expect.stringMatching(/^\d+ bytes wait to be sent: at most 1048576 may/) as string,
    });
    expect(log.entries).toEqual([`request: unsubscribed after ${MOST_EMITTED}`]);
    expect(await client.call('echo', 1)).toBe(1);
    gate.open();
  });

  it('ends above maxQueuedBytes of the connection, where it holds most; the others go on', async () => {
    const { client } = await start({
      server: { sendQueueSize: 100 * MIB, maxQueuedBytes: 15 * BLOCK.length },
    });
    const [first, most, last] = [
      await readOne(client, 'some', 6),
      await readOne(client, 'some', 11),
      await readOne(client, 'some', 8),
    ];
    await expect(rest(most!)).rejects.toMatchObject({
      code: 8,
      message: expect.stringMatching(
        /^too much waits to be sent: \d+ bytes on this connection, where at most 1536000 may be; the stream that holds most ends/,
      ) as string,
    });
    expect(await Promise.all([rest(first!), rest(last!)])).toEqual([5, 7]);
    expect(log.entries).toEqual(['6 blocks: all sent', '11 blocks: all sent', '8 blocks: all sent']);
  });

  it('paces itself by ctx.drained, and never meets the bound', async () => {
    const { client } = await start();
    const iterator = await readOne(client, 'patient', 1);
    for (let i = 0; i < 10; i++) expect(await client.call('echo', i)).toBe(i);
    expect(emitted).toBeLessThan(WINDOW / BLOCK.length + 3);
    expect(await rest(iterator)).toBe(BLOCKS - 1);
    expect(emitted).toBe(BLOCKS);
  });
});
