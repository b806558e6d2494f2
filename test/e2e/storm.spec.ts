import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { DrpcContext, DrpcError, DrpcStream } from 'nestjs-drpc';
import { interval, lastValueFrom, map, Observable, take } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import { Prng, runSeed } from '../helpers/prng.js';
import { JoinedApps, TRANSPORTS } from './helpers/joined-apps.js';

/** Handlers at work. */
let running: number;
/** What calls failed with that is no DrpcError. */
let strangers: unknown[];
/** Called whenever one of them ends. */
let onEnd: () => void;

beforeEach(() => {
  running = 0;
  strangers = [];
  onEnd = () => undefined;
});

function begin(): void {
  running++;
}

function end(): void {
  running--;
  onEnd();
}

/** Some turns of the event loop. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

@Controller()
class StormController {
  @MessagePattern('unary')
  async unary(@Payload() count: number): Promise<number> {
    begin();
    try {
      await turns(count);
      return count;
    } finally {
      end();
    }
  }

  @MessagePattern('server')
  server(@Payload() count: number): Observable<string> {
    return new Observable((subscriber) => {
      begin();
      const inner = interval(0)
        .pipe(
          take(count),
          map((at) => 'x'.repeat(at * 1000)),
        )
        .subscribe(subscriber);
      return () => {
        inner.unsubscribe();
        end();
      };
    });
  }

  @MessagePattern('client')
  async client(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<number>): Promise<number> {
    begin();
    let sum = 0;
    try {
      for await (const value of values) sum += value;
      return sum;
    } finally {
      end();
    }
  }

  @MessagePattern('bidi')
  async *bidi(
    @DrpcStream({ as: 'iterable' }) values: AsyncIterable<number>,
    @Ctx() ctx: DrpcContext,
  ): AsyncGenerator<number> {
    begin();
    try {
      for await (const value of values) {
        if (ctx.signal.aborted) return;
        await turns(value % 3);
        yield value;
      }
    } finally {
      end();
    }
  }

  @MessagePattern('fails')
  async fails(@Payload() count: number): Promise<never> {
    begin();
    try {
      await turns(count);
      throw new Error('as it should');
    } finally {
      end();
    }
  }

  @EventPattern<string>('event')
  async onEvent(@Payload() count: number): Promise<void> {
    begin();
    await turns(count);
    end();
  }
}

const PATTERNS = ['unary', 'server', 'client', 'bidi', 'fails', 'event'] as const;

async function* numbers(count: number): AsyncGenerator<number> {
  for (let i = 0; i < count; i++) {
    await turns(i % 2);
    yield i;
  }
}

/** One call that ends as chance has it: well, by a break, a signal, its time, or by being unsubscribed. */
async function anyCall({ client }: JoinedApps, random: Prng): Promise<void> {
  const pattern = random.pick(PATTERNS);
  const count = random.int(20);
  const data = pattern === 'client' || pattern === 'bidi' ? numbers(count) : count;
  const abort = new AbortController();
  try {
    switch (random.int(5)) {
      case 0:
        for await (const _answer of client.stream(pattern, data)) if (random.once(3)) break;
        return;
      case 1: {
        const call = client.call(pattern, data, { signal: abort.signal });
        void turns(random.int(10)).then(() => abort.abort());
        await call;
        return;
      }
      case 2:
        await client.call(pattern, data, { timeout: random.int(5) });
        return;
      case 3: {
        const subscription = client.send(pattern, data).subscribe({ error: () => undefined });
        await turns(random.int(10));
        subscription.unsubscribe();
        return;
      }
      default:
        await lastValueFrom(client.send(pattern, data), { defaultValue: undefined });
    }
  } catch (error) {
    if (!(error instanceof DrpcError)) strangers.push(error);
  }
}

describe.each(TRANSPORTS)('over %s', (over) => {
  it('a storm of calls that end in every way leaves nothing behind', async () => {
    const seed = runSeed();
    const random = new Prng(seed);
    // A slot that were not given back would soon be missed.
    const limits = { maxStreams: 8, maxHandlers: 8 };
    const apps = await JoinedApps.start([StormController], { over, server: limits });
    const worker = async (): Promise<void> => {
      for (let i = 0; i < 40; i++) await anyCall(apps, random);
    };
    await Promise.all(Array.from({ length: 8 }, worker));
    await new Promise<void>((resolve) => {
      onEnd = () => void (running === 0 && resolve());
      onEnd();
    });
    await apps.fence();
    const answers = await Promise.all(Array.from({ length: 8 }, (_, at) => apps.client.call('unary', at)));
    expect(answers, `DRPC_TEST_SEED=${seed}`).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(apps.client.unwrap().connections).toEqual([expect.objectContaining({ calls: 0 })]);
    expect(running).toBe(0);
    expect(strangers).toEqual([]);
  });
});
