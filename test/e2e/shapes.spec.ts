import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import {
  DrpcContext,
  DrpcError,
  DrpcMetadata,
  DrpcRecord,
  DrpcRecordBuilder,
  DrpcStream,
  type DrpcClientOptions,
  type DrpcPattern,
  type DrpcServerOptions,
  type Metadata,
} from 'nestjs-drpc';
import { EMPTY, from, map, merge, NEVER, Observable, of, reduce, toArray } from 'rxjs';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import { EventLog } from '../transport/helpers/event-log.js';
import { JoinedApps, TRANSPORTS } from './helpers/joined-apps.js';

let log: EventLog;

beforeEach(() => {
  log = new EventLog();
});

/** Patterns that Nest's own look-up would read as JSON and so never find. */
const AWKWARD = ['true', 'null', '1e3', '"quoted"', '{"b":1,"a":2}', '[1]', '{', ' ', 'ä/ö?', '__proto__'];

@Controller()
class ShapesController {
  // What comes back as it went.
  @MessagePattern('echo')
  echo(@Payload() value: unknown): unknown {
    return value;
  }

  // Every kind of result.
  @MessagePattern('value')
  value(@Payload() [first]: unknown[]): unknown {
    return first;
  }

  @MessagePattern('promise')
  async promise(@Payload() [first]: unknown[]): Promise<unknown> {
    return first;
  }

  @MessagePattern('Observable')
  observable(@Payload() values: unknown[]): Observable<unknown> {
    return from(values);
  }

  @MessagePattern('Promise of an Observable')
  async promiseOfObservable(@Payload() values: unknown[]): Promise<Observable<unknown>> {
    return from(values);
  }

  @MessagePattern('async generator')
  async *generator(@Payload() values: unknown[]): AsyncGenerator<unknown> {
    yield* values;
  }

  @MessagePattern('AsyncIterable')
  iterable(@Payload() values: unknown[]): AsyncIterable<unknown> {
    const left = [...values];
    return {
      [Symbol.asyncIterator]: () => ({
        next: async () =>
          left.length > 0 ? { done: false, value: left.shift() } : { done: true, value: undefined },
      }),
    };
  }

  @MessagePattern('Node stream')
  nodeStream(@Payload() values: unknown[]): Readable {
    return Readable.from(values);
  }

  @MessagePattern('web stream')
  webStream(@Payload() values: unknown[]): ReadableStream<unknown> {
    return new ReadableStream({
      start(controller) {
        for (const value of values) controller.enqueue(value);
        controller.close();
      },
    });
  }

  @MessagePattern('nothing')
  nothing(): undefined {
    return undefined;
  }

  @MessagePattern('no values')
  noValues(): Observable<never> {
    return EMPTY;
  }

  // Request streams.
  @MessagePattern('sum')
  sum(@DrpcStream() values: Observable<number>): Observable<number> {
    return values.pipe(reduce((a, b) => a + b, 0));
  }

  @MessagePattern('sum by loop')
  async sumByLoop(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<number>): Promise<number> {
    let sum = 0;
    for await (const value of values) sum += value;
    return sum;
  }

  @MessagePattern('double')
  double(@DrpcStream() values: Observable<number>): Observable<number> {
    return values.pipe(map((value) => value * 2));
  }

  @MessagePattern('double by loop')
  async *doubleByLoop(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<number>): AsyncGenerator<number> {
    for await (const value of values) yield value * 2;
  }

  // Bytes.
  @MessagePattern('bytes', { encoding: 'bytes' })
  bytes(@Payload() data: Buffer): Buffer {
    return Buffer.concat([data, data]);
  }

  @MessagePattern('bytes one by one', { encoding: 'bytes' })
  bytesOneByOne(@Payload() data: Buffer): Observable<Buffer> {
    return from([...data]).pipe(map((byte) => Buffer.of(byte)));
  }

  @MessagePattern('bytes by the options')
  bytesByOptions(@Payload() data: Buffer): boolean {
    return Buffer.isBuffer(data);
  }

  // Patterns.
  @MessagePattern('plain name')
  plain(): string {
    return 'string';
  }

  @MessagePattern(42)
  number(): string {
    return 'number';
  }

  @MessagePattern({ cmd: 'deep', of: { b: 1, a: 'x"y' } })
  object(): string {
    return 'object';
  }

  @MessagePattern(['either', { or: 'this' }])
  several(@Ctx() ctx: DrpcContext): string {
    return ctx.pattern;
  }

  @MessagePattern(AWKWARD)
  awkward(@Ctx() ctx: DrpcContext): string {
    return ctx.pattern;
  }

  // What a handler knows.
  @MessagePattern('context')
  context(
    @Ctx() ctx: DrpcContext,
    @DrpcMetadata('tenant') tenant: string,
    @DrpcMetadata() metadata: Metadata,
  ): unknown {
    const { connectionId, isEncrypted } = ctx.getPeer();
    return { pattern: ctx.getPattern(), metadata, tenant, connectionId, isEncrypted };
  }

  @MessagePattern('endless')
  endless(): Observable<string> {
    return new Observable((subscriber) => {
      subscriber.next('first');
      return () => log.add('unsubscribed');
    });
  }

  // Events.
  @EventPattern<string>('event')
  onEvent(@Payload() data: unknown): void {
    log.add(`one ${JSON.stringify(data)}`);
  }

  @EventPattern<string>('event')
  async onEventToo(@Payload() data: unknown): Promise<void> {
    log.add(`two ${JSON.stringify(data)}`);
  }
}

@Controller()
class OtherController {
  @EventPattern<string>('event')
  onEvent(@Payload() data: unknown): void {
    log.add(`three ${JSON.stringify(data)}`);
    throw new Error('of no concern to the others');
  }
}

const VALUES = [1, 'two', null, { three: [3] }, false, 0, ''];
const RESULTS = ['Observable', 'Promise of an Observable', 'async generator', 'AsyncIterable', 'web stream'];

async function collect(values: AsyncIterable<unknown>): Promise<unknown[]> {
  const collected: unknown[] = [];
  for await (const value of values) collected.push(value);
  return collected;
}

async function* yields<T>(...values: T[]): AsyncGenerator<T> {
  yield* values;
}

describe.each(TRANSPORTS)('over %s', (over) => {
  async function start(client?: DrpcClientOptions, server?: DrpcServerOptions): Promise<JoinedApps> {
    return JoinedApps.start([ShapesController, OtherController], { over, client, server });
  }

  describe('a call with one request', () => {
    it.each<[value: unknown]>([
      ['text'],
      [0],
      [-1.5],
      [false],
      [''],
      [[]],
      [{}],
      [{ deep: [{ a: 'ü\u0000' }] }],
    ])('carries %j there and back, by send() and by call()', async (value) => {
      const { client } = await start();
      expect(await firstValueFrom(client.send('echo', value))).toEqual(value);
      expect(await client.call('echo', value)).toEqual(value);
    });

    it('carries a megabyte there and back', async () => {
      const { client } = await start();
      const text = 'x'.repeat(1_000_000);
      expect(await client.call('echo', text)).toBe(text);
      expect(await client.call('sum', of(...Array.from({ length: 10_000 }, () => 1)))).toBe(10_000);
    });

    it('carries null and undefined by call(), and as what comes back by send()', async () => {
      const { client } = await start();
      expect(await client.call('echo', null)).toBeNull();
      expect(await client.call('echo')).toBeUndefined();
      expect(await lastValueFrom(client.send('value', [null]).pipe(toArray()))).toEqual([null]);
      expect(await lastValueFrom(client.send('nothing', {}).pipe(toArray()))).toEqual([undefined]);
    });

    it.each(['value', 'promise'])('gives the one value of a %s', async (pattern) => {
      const { client } = await start();
      expect(await client.call(pattern, [7])).toBe(7);
      expect(await collect(client.stream(pattern, [7]))).toEqual([7]);
    });

    it.each(RESULTS)('gives every value of a(n) %s', async (pattern) => {
      const { client } = await start();
      expect(await lastValueFrom(client.send(pattern, VALUES).pipe(toArray()))).toEqual(VALUES);
      expect(await collect(client.stream(pattern, VALUES))).toEqual(VALUES);
    });

    it('gives every value of a Node stream, which knows no null', async () => {
      const { client } = await start();
      const values = VALUES.filter((value) => value !== null);
      expect(await collect(client.stream('Node stream', values))).toEqual(values);
    });
  });

  describe('a call with a stream of requests', () => {
    it.each(['sum', 'sum by loop'])('gives one answer: %s', async (pattern) => {
      const { client } = await start();
      expect(await firstValueFrom(client.send(pattern, of(1, 2, 3)))).toBe(6);
      expect(await client.call(pattern, yields(1, 2, 3))).toBe(6);
      expect(await client.call(pattern, Readable.from([1, 2, 3]))).toBe(6);
      expect(await client.call(pattern, EMPTY)).toBe(0);
    });

    it.each(['double', 'double by loop'])('is answered while it goes on: %s', async (pattern) => {
      const { client } = await start();
      const answers: unknown[] = [];
      /** Asks on with what it was answered. */
      async function* asks(): AsyncGenerator<number> {
        for (let last = 1; last < 100; last = answers.at(-1) as number) {
          yield last;
          await log.seen(String(last * 2));
        }
      }
      for await (const answer of client.stream<number>(pattern, asks())) {
        answers.push(answer);
        log.add(String(answer));
      }
      expect(answers).toEqual([2, 4, 8, 16, 32, 64, 128]);
      expect(await lastValueFrom(client.send(pattern, of(1, 2)).pipe(toArray()))).toEqual([2, 4]);
    });
  });

  describe('bytes', () => {
    const bytes = Buffer.from([0, 255, 1, 254]);

    it('are left untouched where handler and caller say so', async () => {
      const { client } = await start({ encodings: { bytes: 'bytes' } });
      expect(await client.call('bytes', bytes)).toEqual(Buffer.concat([bytes, bytes]));
      expect(await client.call('bytes', new Uint8Array(0))).toEqual(Buffer.alloc(0));
      const record = new DrpcRecordBuilder(bytes).setEncoding('bytes').build();
      expect(await lastValueFrom(client.send('bytes one by one', record).pipe(toArray()))).toEqual(
        [...bytes].map((byte) => Buffer.of(byte)),
      );
    });

    it('are the owner of their memory: later calls do not change them', async () => {
      const { client } = await start({ encoding: 'bytes' });
      const first = await client.call<Buffer>('bytes', bytes);
      for (let i = 0; i < 20; i++) await client.call('bytes', Buffer.alloc(1000, i));
      expect(first).toEqual(Buffer.concat([bytes, bytes]));
    });

    it('may be said to come by the options of the server', async () => {
      const { client } = await start(undefined, {
        encodings: {
          'bytes by the options': {
            name: 'bytes in, json out',
            marshal: (value) => Buffer.from(JSON.stringify(value)),
            unmarshal: (data) => Buffer.from(data),
          },
        },
      });
      expect(await client.call('bytes by the options', {})).toBe(true);
    });
  });

  describe('a pattern', () => {
    it.each<[pattern: DrpcPattern, answer: string]>([
      ['plain name', 'string'],
      [42, 'number'],
      ['42', 'number'],
      [{ cmd: 'deep', of: { b: 1, a: 'x"y' } }, 'object'],
      [{ of: { a: 'x"y', b: 1 }, cmd: 'deep' }, 'object'],
      ['either', 'either'],
      [{ or: 'this' }, '{"or":"this"}'],
    ])('%j finds its handler', async (pattern, answer) => {
      const { client } = await start();
      expect(await client.call(pattern)).toBe(answer);
    });

    it.each(AWKWARD)('%j finds its handler', async (pattern) => {
      const { client } = await start();
      expect(await client.call(pattern)).toBe(pattern);
    });
  });

  it('brings a handler what it can know of its call', async () => {
    const { client } = await start({ metadata: { Tenant: 'house', trace: 'client' } });
    const answer = await client.call('context', {}, { metadata: { trace: 'call' } });
    expect(answer).toEqual({
      pattern: 'context',
      metadata: { tenant: 'house', trace: 'call' },
      tenant: 'house',
      connectionId: 1,
      isEncrypted: over === 'tls',
    });
  });

  describe('an event', () => {
    it('reaches all its handlers, whatever becomes of the others', async () => {
      const { client } = await start();
      await lastValueFrom(client.emit('event', { id: 1 }));
      for (const handler of ['one', 'two', 'three']) await log.seen(`${handler} {"id":1}`);
      expect([...log.entries].sort()).toEqual(['one {"id":1}', 'three {"id":1}', 'two {"id":1}']);
    });

    it('is sent without a subscriber', async () => {
      const { client } = await start();
      client.emit('event', 1);
      await log.seen('one 1');
      expect(log.entries.filter((entry) => entry === 'one 1')).toHaveLength(1);
    });

    it('completes empty when it was called as a message', async () => {
      const { client } = await start();
      expect(await lastValueFrom(client.send('event', 1).pipe(toArray()))).toEqual([]);
      expect(await client.call('event', 2)).toBeUndefined();
      await log.seen('one 2');
    });

    it('is a message where the handler takes one', async () => {
      const { client } = await start();
      expect(await lastValueFrom(client.emit('echo', 1).pipe(toArray()))).toEqual([undefined]);
    });

    it('that nobody takes fails with code 12', async () => {
      const { client } = await start();
      await expect(lastValueFrom(client.emit('nobody', 1))).rejects.toMatchObject({ code: 12 });
    });
  });

  describe('the counts of a call', () => {
    it('without an answer: call() gives undefined, send() nothing', async () => {
      const { client } = await start();
      expect(await client.call('no values')).toBeUndefined();
      expect(await lastValueFrom(client.send('no values', {}).pipe(toArray()))).toEqual([]);
    });

    it('with a second answer: call() fails with code 13 and stops the handler', async () => {
      const { client } = await start();
      await expect(client.call('Observable', [1, 2, 3])).rejects.toMatchObject({
        code: 13,
        message:
          '"Observable" was answered more than once: call() takes one answer, stream() and send() take many',
      });
      expect(await client.call('echo', 'alive')).toBe('alive');
    });

    it('without a request: code 3', async () => {
      const { client } = await start();
      await expect(client.call('echo', EMPTY)).rejects.toMatchObject({ code: 3 });
    });

    it('with further requests: they are dropped', async () => {
      const { client } = await start();
      expect(await client.call('echo', of(1, 2, 3))).toBe(1);
      expect(await client.call('echo', merge(of(1, 2, 3), NEVER))).toBe(1);
    });

    it('of an unknown name: code 12, as a DrpcError', async () => {
      const { client } = await start();
      const error: unknown = await firstValueFrom(client.send('no such rpc', {})).catch(
        (thrown: unknown) => thrown,
      );
      expect(error).toBeInstanceOf(DrpcError);
      expect(error).toMatchObject({ code: 12, message: expect.stringContaining('no such rpc') as string });
    });
  });

  it('stops a handler when its caller goes', async () => {
    const { client } = await start();
    const subscription = client.send('endless', {}).subscribe(() => log.add('answered'));
    await log.seen('answered');
    subscription.unsubscribe();
    await log.seen('unsubscribed');
    for await (const answer of client.stream('endless')) {
      expect(answer).toBe('first');
      break;
    }
    expect(await client.call('echo', new DrpcRecord('alive'))).toBe('alive');
  });
});
