import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { Controller, StreamableFile } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { bytesEncoding, DrpcStream } from 'nestjs-drpc';
import { concat, EMPTY, from, map, Observable, of, reduce, throwError } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { EventLog } from './helpers/event-log.js';
import { TestService, TRANSPORTS } from './helpers/test-service.js';

const log = new EventLog();

@Controller()
class ShapesController {
  @MessagePattern('value')
  value(@Payload() data: unknown): unknown {
    return data;
  }

  @MessagePattern('no payload')
  noPayload(): string {
    return 'here';
  }

  @MessagePattern('promise')
  async promise(@Payload() data: unknown): Promise<unknown> {
    return data;
  }

  @MessagePattern('observable')
  observable(@Payload() values: unknown[]): Observable<unknown> {
    return from(values);
  }

  @MessagePattern('promise of observable')
  async promiseOfObservable(@Payload() values: unknown[]): Promise<Observable<unknown>> {
    return from(values);
  }

  @MessagePattern('empty')
  empty(): Observable<never> {
    return EMPTY;
  }

  @MessagePattern('generator')
  async *generator(@Payload() values: unknown[]): AsyncGenerator<unknown> {
    yield* values;
  }

  @MessagePattern('iterable')
  iterable(@Payload() values: unknown[]): AsyncIterable<unknown> {
    return {
      async *[Symbol.asyncIterator]() {
        yield* values;
      },
    };
  }

  @MessagePattern('node stream')
  nodeStream(@Payload() values: unknown[]): Readable {
    return Readable.from(values);
  }

  @MessagePattern('file')
  file(@Payload() values: unknown[]): StreamableFile {
    return new StreamableFile(Readable.from(values));
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

  @MessagePattern('iterable in an observable')
  nested(@Payload() values: unknown[]): Observable<unknown> {
    return of('first', Readable.from(values), 'last');
  }

  @MessagePattern('values and an error')
  valuesAndError(): Observable<number> {
    return concat(
      of(1, 2),
      throwError(() => new Error('secret')),
    );
  }

  @MessagePattern('sum')
  sum(@DrpcStream() values: Observable<number>): Observable<number> {
    return values.pipe(reduce((a, b) => a + b, 0));
  }

  @MessagePattern('double')
  double(@DrpcStream() values: Observable<number>): Observable<number> {
    return values.pipe(map((value) => value * 2));
  }

  @MessagePattern('sum by loop')
  async sumByLoop(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<number>): Promise<number> {
    let sum = 0;
    for await (const value of values) sum += value;
    return sum;
  }

  @MessagePattern('double by loop')
  async *doubleByLoop(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<number>): AsyncGenerator<number> {
    for await (const value of values) yield value * 2;
  }

  @MessagePattern('first by loop')
  async firstByLoop(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<number>): Promise<number> {
    for await (const value of values) return value;
    throw new Error('no value came');
  }

  @MessagePattern('bytes', { encoding: 'bytes' })
  bytes(@Payload() data: Buffer): Buffer {
    return Buffer.concat([data, data]);
  }

  @MessagePattern('never')
  never(): Promise<never> {
    return new Promise(() => undefined);
  }

  @MessagePattern('not interested')
  notInterested(@DrpcStream() _values: Observable<unknown>): string {
    return 'not interested';
  }

  @EventPattern('event')
  event(@Payload() data: string): void {
    log.add(data);
  }
}

const RESULTS = [
  'observable',
  'promise of observable',
  'generator',
  'iterable',
  'node stream',
  'file',
  'web stream',
] as const;

describe.each(TRANSPORTS)('call shapes over %s', (over) => {
  const start = async () => (await TestService.start([ShapesController], { over })).connect();

  it.each([['text'], [0], [false], [null], [{ deep: [1, { a: 'ü' }] }], ['x'.repeat(300_000)]])(
    'answers a value with the value %j',
    async (value) => {
      const caller = await start();
      expect(await caller.call('value', value)).toEqual(value);
      expect(await caller.call('promise', value)).toEqual(value);
    },
  );

  it('gives undefined as an empty message', async () => {
    const caller = await start();
    const call = caller.open('value', [undefined]);
    expect(await call.next()).toBeUndefined();
    await caller.fence();
    expect(caller.frames(call)).toEqual(['Message', 'CloseSend']);
  });

  it('runs a handler that takes nothing', async () => {
    const caller = await start();
    expect(await caller.call('no payload')).toBe('here');
  });

  it.each(RESULTS)('sends a message for each value of a result that is a(n) %s', async (rpc) => {
    const caller = await start();
    const call = caller.open(rpc, [[1, 'two', { three: 3 }]]);
    expect(await call.rest()).toEqual([1, 'two', { three: 3 }]);
    expect(caller.frames(call)).toEqual(['Message', 'Message', 'Message', 'CloseSend']);
  });

  it('sends no message for an Observable that completes empty', async () => {
    const caller = await start();
    const call = caller.open('empty', [1]);
    expect(await call.rest()).toEqual([]);
    expect(caller.frames(call)).toEqual(['CloseSend']);
  });

  it('draws an iterable that is a value of an Observable, in its place', async () => {
    const caller = await start();
    expect(await caller.all('iterable in an observable', [1, 2])).toEqual(['first', 1, 2, 'last']);
  });

  it('sends the values before an error', async () => {
    const caller = await start();
    const call = caller.open('values and an error', [1]);
    expect(await call.next()).toBe(1);
    expect(await call.next()).toBe(2);
    await expect(call.next()).rejects.toMatchObject({ code: 2, message: 'Internal server error' });
    expect(caller.frames(call)).toEqual(['Message', 'Message', 'Error']);
  });

  it.each(['sum', 'sum by loop'])('takes a stream and gives one value: %s', async (rpc) => {
    const caller = await start();
    expect(await caller.all(rpc, 1, 2, 3)).toEqual([6]);
    expect(await caller.all(rpc)).toEqual([0]);
  });

  it.each(['double', 'double by loop'])('answers while the request goes on: %s', async (rpc) => {
    const caller = await start();
    const call = caller.open(rpc);
    await call.send(1);
    expect(await call.next()).toBe(2);
    await call.send(2, 3);
    expect(await call.next()).toBe(4);
    expect(await call.next()).toBe(6);
    call.closeSend();
    expect(await call.rest()).toEqual([]);
  });

  it('drops what comes after the loop was left', async () => {
    const caller = await start();
    const call = caller.open('first by loop');
    await call.send(...Array.from({ length: 1000 }, (_, i) => i));
    expect(await call.next()).toBe(0);
    await call.send(...Array.from({ length: 1000 }, (_, i) => i));
    call.closeSend();
    await caller.fence();
    expect(caller.frames(call)).toEqual(['Message', 'CloseSend']);
  });

  it('leaves bytes untouched', async () => {
    const caller = await start();
    const bytes = Buffer.from([0, 255, 128, 10]);
    const answer = await caller.call('bytes', bytes, {}, bytesEncoding);
    expect(answer).toEqual(Buffer.concat([bytes, bytes]));
  });

  it('closes the call of an event without a message', async () => {
    const caller = await start();
    const call = caller.open('event', [`over ${over}`]);
    expect(await call.rest()).toEqual([]);
    expect(caller.frames(call)).toEqual(['CloseSend']);
    await log.seen(`over ${over}`);
  });
});

describe('counts of a call', () => {
  it('answers code 3 when a handler of one message gets none', async () => {
    const caller = await (await TestService.start([ShapesController])).connect();
    const call = caller.open('value', []);
    await expect(call.next()).rejects.toMatchObject({
      code: 3,
      message: 'no message came for "value": its handler takes one',
    });
    await expect(caller.open('event', []).next()).rejects.toMatchObject({ code: 3 });
  });

  it('drops further messages of a request that is one', async () => {
    const caller = await (await TestService.start([ShapesController])).connect();
    expect(await caller.all('value', 1, 2, 3)).toEqual([1]);
    const call = caller.open('value');
    await call.send(...Array.from({ length: 1000 }, (_, i) => i));
    expect(await call.next()).toBe(0);
    call.closeSend();
    expect(await caller.call('value', 'still there')).toBe('still there');
  });

  it('lets further messages not hold up the connection, while the handler is at work', async () => {
    const caller = await (await TestService.start([ShapesController])).connect();
    const call = caller.open('never');
    await call.send(...Array.from({ length: 1000 }, (_, i) => i));
    expect(await caller.call('value', 'still there')).toBe('still there');
  });

  it('lets a stream that its handler did not take not hold up the connection', async () => {
    const caller = await (await TestService.start([ShapesController])).connect();
    const call = caller.open('not interested');
    expect(await call.next()).toBe('not interested');
    await call.send(...Array.from({ length: 1000 }, (_, i) => i));
    expect(await caller.call('value', 'still there')).toBe('still there');
  });

  it('answers code 12 for a name that nobody serves', async () => {
    const caller = await (await TestService.start([ShapesController])).connect();
    await expect(caller.call('val', 1)).rejects.toMatchObject({
      code: 12,
      message: 'protocol error: unknown rpc: "val"',
    });
  });

  it('answers code 3 for a message that can not be decoded, and names rpc and encoding', async () => {
    const caller = await (await TestService.start([ShapesController])).connect();
    const garbage = Buffer.from('{"a":');
    for (const rpc of ['value', 'event', 'sum']) {
      await expect(caller.call(rpc, garbage, {}, bytesEncoding)).rejects.toMatchObject({
        code: 3,
        message: `a message of "${rpc}" is not valid json`,
      });
    }
    expect(await caller.call('value', 'still there')).toBe('still there');
  });
});
