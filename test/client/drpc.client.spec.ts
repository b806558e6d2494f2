import { AsyncLocalStorage } from 'node:async_hooks';
import { Controller, Logger } from '@nestjs/common';
import {
  ClientProxy,
  EventPattern,
  MessagePattern,
  Payload,
  Ctx,
  RpcException,
  type ReadPacket,
  type WritePacket,
} from '@nestjs/microservices';
import {
  DrpcCode,
  DrpcClient,
  DrpcContext,
  DrpcError,
  DrpcException,
  DrpcRecord,
  DrpcStatus,
  DrpcStream,
  type Encoding,
} from 'nestjs-drpc';
import {
  concat,
  EMPTY,
  filter,
  firstValueFrom,
  from,
  lastValueFrom,
  map,
  NEVER,
  Observable,
  of,
  reduce,
  take,
  throwError,
  timer,
  toArray,
} from 'rxjs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { TRANSPORTS } from '../transport/helpers/test-service.js';
import { echo, TestServer } from '../pool/helpers/test-server.js';
import { connect, Service } from './helpers/service.js';

const events: unknown[] = [];

@Controller()
class TestController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }

  @MessagePattern({ cmd: 'object' })
  object(): string {
    return 'by object';
  }

  @MessagePattern(7)
  number(): string {
    return 'by number';
  }

  @MessagePattern('many')
  many(@Payload() values: unknown[]): Observable<unknown> {
    return from(values);
  }

  @MessagePattern('none')
  none(): Observable<never> {
    return EMPTY;
  }

  @MessagePattern('never')
  never(): Observable<never> {
    return NEVER;
  }

  @MessagePattern('broken')
  broken(): Observable<number> {
    return concat(
      of(1, 2),
      throwError(() => new DrpcException(DrpcCode.Aborted, 'conflict')),
    );
  }

  @MessagePattern('plain error')
  plainError(): never {
    throw new RpcException('in words');
  }

  @MessagePattern('total')
  total(@DrpcStream() chunks: Observable<number>): Observable<number> {
    return chunks.pipe(reduce((a, b) => a + b, 0));
  }

  @MessagePattern('metadata')
  metadata(@Ctx() context: DrpcContext): unknown {
    return context.getMetadata();
  }

  @MessagePattern('bytes', { encoding: 'bytes' })
  bytes(@Payload() data: Buffer): Buffer {
    return Buffer.from(data).reverse();
  }

  @EventPattern('happened')
  happened(@Payload() data: unknown): void {
    events.push(data);
  }
}

/** What is logged during the test. */
function mockLog(level: 'error' | 'warn' | 'log'): string[] {
  const lines: string[] = [];
  const spy = vi
    .spyOn(Logger.prototype, level)
    .mockImplementation((line: unknown) => void lines.push(String(line)));
  onTestFinished(() => spy.mockRestore());
  return lines;
}

/** A client of a port where nobody listens. */
async function lost(): Promise<DrpcClient> {
  const service = await Service.start([TestController]);
  const { port } = service;
  await service.app.close();
  const client = new DrpcClient({ port });
  onTestFinished(() => client.close());
  return client;
}

describe.each(TRANSPORTS)('DrpcClient over %s', (over) => {
  it('sends, calls, streams and emits', async () => {
    const client = await connect([TestController], { over });
    expect(await firstValueFrom(client.send('echo', { a: 1 }))).toEqual({ a: 1 });
    expect(await client.call('echo', 'text')).toBe('text');
    const values: unknown[] = [];
    for await (const value of client.stream('many', [1, 2, 3])) values.push(value);
    expect(values).toEqual([1, 2, 3]);
    expect(await lastValueFrom(client.send('total', from([1, 2, 3])))).toBe(6);
    events.length = 0;
    expect(await firstValueFrom(client.emit('happened', over))).toBeUndefined();
    expect(events).toEqual([over]);
  });
});

describe('DrpcClient.send', () => {
  it('is cold: nothing happens before it is subscribed to, and each subscription is a call', async () => {
    const client = await connect([TestController]);
    events.length = 0;
    const sent = client.send('happened', 'x');
    await client.call('echo', 1);
    expect(events).toEqual([]);
    await lastValueFrom(sent, { defaultValue: undefined });
    await lastValueFrom(sent, { defaultValue: undefined });
    expect(events).toEqual(['x', 'x']);
  });

  it('connects by itself', async () => {
    const client = (await Service.start([TestController])).client();
    expect(await firstValueFrom(client.send('echo', 1))).toBe(1);
  });

  it('shows nobody the AsyncLocalStorage of the call that made the connection', async () => {
    const service = await Service.start([TestController]);
    const storage = new AsyncLocalStorage<string>();
    const client = service.client();
    const seen = (name: string): Promise<unknown> =>
      storage.run(name, () => lastValueFrom(client.send('echo', 1).pipe(map(() => storage.getStore()))));
    expect(await seen('first')).toBeUndefined();
    expect(await seen('second')).toBeUndefined();
    expect(await storage.run('third', async () => (await client.call('echo', 1)) && storage.getStore())).toBe(
      'third',
    );
  });

  it('emits all answers and completes', async () => {
    const client = await connect([TestController]);
    expect(await lastValueFrom(client.send('many', ['a', null, 0]).pipe(toArray()))).toEqual(['a', null, 0]);
    expect(await lastValueFrom(client.send('none', 0).pipe(toArray()))).toEqual([]);
  });

  it('takes objects and numbers for patterns', async () => {
    const client = await connect([TestController]);
    expect(await firstValueFrom(client.send({ cmd: 'object' }, 0))).toBe('by object');
    expect(await firstValueFrom(client.send(7, 0))).toBe('by number');
  });

  it.each([
    ['a null pattern', null, 1],
    ['an undefined pattern', undefined, 1],
    ['null data', 'echo', null],
    ['undefined data', 'echo', undefined],
  ])("refuses %s with Nest's own error", async (_what, pattern, data) => {
    const client = await connect([TestController]);
    await expect(firstValueFrom(client.send(pattern as string, data))).rejects.toThrow(
      /^The invalid data or message pattern/,
    );
    await expect(firstValueFrom(client.emit(pattern as string, data))).rejects.toThrow(
      /^The invalid data or message pattern/,
    );
  });

  it.each([[0], [''], [false], [{}], [[]]])('takes %j for data', async (data) => {
    const client = await connect([TestController]);
    expect(await firstValueFrom(client.send('echo', data))).toEqual(data);
  });

  it('fails with a DrpcError of the code that the server sent', async () => {
    const client = await connect([TestController]);
    const error: unknown = await lastValueFrom(client.send('broken', 0)).catch((failure: unknown) => failure);
    expect(error).toBeInstanceOf(DrpcError);
    expect(error).toMatchObject({ code: DrpcCode.Aborted, message: 'conflict' });
    await expect(firstValueFrom(client.send('plain error', 0))).rejects.toMatchObject({
      code: DrpcCode.Unknown,
      message: 'in words',
    });
    await expect(firstValueFrom(client.send('nobody', 0))).rejects.toMatchObject({
      code: DrpcCode.Unimplemented,
    });
  });

  it('emits what came before an error', async () => {
    const client = await connect([TestController]);
    const seen: unknown[] = [];
    await new Promise<void>((resolve) =>
      client.send('broken', 0).subscribe({
        next: (value) => seen.push(value),
        error: (error: DrpcError) => {
          seen.push(error.code);
          resolve();
        },
      }),
    );
    expect(seen).toEqual([1, 2, DrpcCode.Aborted]);
  });

  it('fails with code 14 when there is no server', async () => {
    const client = await lost();
    await expect(firstValueFrom(client.send('echo', 1))).rejects.toMatchObject({
      code: DrpcCode.Unavailable,
    });
  });

  it.each<[string, unknown, RegExp]>([
    [
      'a pattern with too many keys',
      Object.fromEntries(Array.from({ length: 21 }, (_, i) => [i, i])),
      /21 keys/,
    ],
    ['a symbol for a pattern', Symbol('x'), /pattern is a symbol/],
    ['an endless name', 'x'.repeat(5000), /5000 bytes long/],
  ])('refuses %s with code 3', async (_what, pattern, message) => {
    const client = await connect([TestController]);
    const error: unknown = await firstValueFrom(client.send(pattern as string, 0)).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(DrpcError);
    expect(error).toMatchObject({ code: DrpcCode.InvalidArgument, message: expect.stringMatching(message) });
  });

  it('refuses what has no form in the encoding', async () => {
    const client = await connect([TestController]);
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    await expect(firstValueFrom(client.send('echo', circle))).rejects.toMatchObject({
      code: DrpcCode.InvalidArgument,
      message: expect.stringMatching(
        /^the request of rpc "echo" can not be encoded as json: Converting circular structure to JSON [^\n]*'self'/,
      ),
      cause: expect.any(TypeError),
    });
    await expect(client.call('echo', { id: 1n })).rejects.toThrow(
      'the request of rpc "echo" can not be encoded as json: Do not know how to serialize a BigInt',
    );
    const odd = {
      toJSON: () => {
        throw 'a text';
      },
    };
    await expect(client.call('echo', odd)).rejects.toThrow(/as json$/);
  });

  it('refuses what an encoding gives that is neither bytes nor text, and counts no size for it', async () => {
    const client = await connect([TestController]);
    const encoding: Encoding = { name: 'own', marshal: () => 5 as never, unmarshal: () => undefined };
    const cause = new TypeError('own encoding: marshal() gave a number: must be a Uint8Array or a string');
    for (const [data, reason] of [
      [1, `: ${cause.message}`],
      // It goes to the service, and foreign texts stay here.
      [of(1, 2), ''],
    ]) {
      await expect(client.call('echo', data, { encoding })).rejects.toMatchObject({
        code: DrpcCode.InvalidArgument,
        message: `the request of rpc "echo" can not be encoded as own${reason as string}`,
        cause,
      });
    }
    expect(await client.call('echo', 'fine')).toBe('fine');
  });

  it('lets a subclass change answers and errors, as in any ClientProxy', async () => {
    class Loud extends DrpcClient {
      protected override serializeResponse(response: unknown): unknown {
        return `${String(response)}!`;
      }
      protected override serializeError(error: DrpcError): unknown {
        return `failed: ${error.code}`;
      }
    }
    const { way } = await Service.start([TestController]);
    const client = new Loud(way);
    onTestFinished(() => client.close());
    expect(await firstValueFrom(client.send('echo', 'hey'))).toBe('hey!');
    await expect(firstValueFrom(client.send('nobody', 0))).rejects.toBe('failed: 12');
  });

  it("works through Nest's own send as well", async () => {
    const client = await connect([TestController]);
    const sent = ClientProxy.prototype.send.call(client, 'many', [1, 2]) as Observable<unknown>;
    expect(await lastValueFrom(sent.pipe(toArray()))).toEqual([1, 2]);
    const emitted = ClientProxy.prototype.emit.call(client, 'happened', 1) as Observable<unknown>;
    expect(await firstValueFrom(emitted)).toBeUndefined();
  });
});

describe('DrpcClient.emit', () => {
  it('sends at once, whether somebody subscribes or not', async () => {
    const client = await connect([TestController]);
    events.length = 0;
    client.emit('happened', 1);
    await client.call('echo', 1);
    expect(events).toEqual([1]);
  });

  it('sends once, however many subscribe and whenever', async () => {
    const client = await connect([TestController]);
    events.length = 0;
    const emitted = client.emit('happened', 1);
    expect(await Promise.all([firstValueFrom(emitted), lastValueFrom(emitted)])).toEqual([
      undefined,
      undefined,
    ]);
    expect(await firstValueFrom(emitted)).toBeUndefined();
    expect(events).toEqual([1]);
  });

  it('tells a subscriber of a failure, and logs nothing then', async () => {
    const log = mockLog('error');
    const client = await connect([TestController]);
    await expect(lastValueFrom(client.emit('nobody', 1))).rejects.toMatchObject({
      code: DrpcCode.Unimplemented,
    });
    expect(log).toEqual([]);
  });

  it('logs a failure that nobody hears', async () => {
    const log = mockLog('error');
    const client = await connect([TestController]);
    client.emit('nobody', 1);
    client.emit({ no: 'body' }, 1);
    client.emit(1n as unknown as string, 1);
    await client.call('echo', 1);
    expect(log).toEqual([
      'event a bigint was not accepted: pattern is a bigint: must be a string, a number or an object',
      'event "nobody" was not accepted: protocol error: unknown rpc: "nobody"',
      expect.stringMatching(/^event \{"no":"body"\} was not accepted/),
    ]);
  });

  it('logs that there was no server', async () => {
    const log = mockLog('error');
    const client = await lost();
    client.emit('happened', 1);
    await client.connect().catch(() => undefined);
    expect(log).toEqual([expect.stringMatching(/^event "happened" was not accepted: cannot connect to /)]);
  });

  it('leaves it to a late subscriber in the same turn to hear of a failure', async () => {
    const log = mockLog('error');
    const client = await connect([TestController]);
    const emitted = client.emit(Symbol('x') as unknown as string, 1);
    await expect(firstValueFrom(emitted)).rejects.toMatchObject({ code: DrpcCode.InvalidArgument });
    expect(log).toEqual([]);
  });
});

describe('DrpcClient.call', () => {
  it('takes no data for undefined, which JSON cannot say', async () => {
    const client = await connect([TestController]);
    expect(await client.call('echo')).toBeUndefined();
    expect(await client.call('echo', undefined)).toBeUndefined();
    expect(await client.call('echo', null)).toBeNull();
  });

  it('answers undefined where the server answers nothing', async () => {
    const client = await connect([TestController]);
    expect(await client.call('none')).toBeUndefined();
  });

  it('fails with code 13 at a second answer', async () => {
    const client = await connect([TestController]);
    await expect(client.call('many', [1, 2])).rejects.toMatchObject({
      code: DrpcCode.Internal,
      message: '"many" was answered more than once: call() takes one answer, stream() and send() take many',
    });
  });

  it('rejects rather than throws', async () => {
    const client = await connect([TestController]);
    await expect(client.call(undefined as unknown as string)).rejects.toMatchObject({
      code: DrpcCode.InvalidArgument,
    });
    await expect(client.call('nobody')).rejects.toBeInstanceOf(DrpcError);
    await expect(client.call(1n as unknown as string)).rejects.toMatchObject({
      code: DrpcCode.InvalidArgument,
    });
  });

  it.each<[string, object, RegExp]>([
    ['a negative timeout', { timeout: -1 }, /^timeout is -1: must be a number of milliseconds/],
    ['a timeout that is no number', { timeout: '5' }, /^timeout is a string/],
    ['NaN', { timeout: NaN }, /^timeout is NaN/],
    ['a signal that is none', { signal: {} }, /^signal is an Object: must be an AbortSignal$/],
    ['an encoding that is none', { encoding: 'xml' }, /^encoding is "xml"/],
    ['reserved metadata', { metadata: { 'GRPC-Timeout': '1S' } }, /reserved/],
    ['metadata that is no text', { metadata: { a: 1 } }, /must be a string/],
  ])('refuses %s with code 3', async (_what, options, message) => {
    const client = await connect([TestController]);
    await expect(client.call('echo', 1, options)).rejects.toMatchObject({
      code: DrpcCode.InvalidArgument,
      message: expect.stringMatching(message),
    });
  });
});

describe('DrpcClient.stream', () => {
  it('begins with the first turn of each loop', async () => {
    const client = await connect([TestController]);
    events.length = 0;
    const stream = client.stream('happened', 1);
    const iterator = stream[Symbol.asyncIterator]();
    await client.call('echo');
    expect(events).toEqual([]);
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
    for await (const _ of stream) expect.unreachable();
    expect(events).toEqual([1, 1]);
  });

  it('throws what the server says behind the values before', async () => {
    const client = await connect([TestController]);
    const iterator = client.stream('broken')[Symbol.asyncIterator]();
    expect([await iterator.next(), await iterator.next()].map(({ value }) => value)).toEqual([1, 2]);
    await expect(iterator.next()).rejects.toMatchObject({ code: DrpcCode.Aborted });
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  it('keeps an error for whoever asks next', async () => {
    const client = await connect([TestController]);
    const abort = new AbortController();
    const iterator = client.stream('many', [1, 2, 3], { signal: abort.signal })[Symbol.asyncIterator]();
    await iterator.next();
    const reason = new Error('enough');
    abort.abort(reason);
    await client.call('echo');
    await expect(iterator.next()).rejects.toBe(reason);
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  it('answers several questions at once, in order', async () => {
    const client = await connect([TestController]);
    const iterator = client.stream('many', [1, 2])[Symbol.asyncIterator]();
    expect(await Promise.all([iterator.next(), iterator.next(), iterator.next(), iterator.next()])).toEqual([
      { done: false, value: 1 },
      { done: false, value: 2 },
      { done: true, value: undefined },
      { done: true, value: undefined },
    ]);
  });

  it('can be left before it began, and twice', async () => {
    const client = await connect([TestController]);
    const iterator = client.stream('many', [1, 2])[Symbol.asyncIterator]();
    expect(await iterator.return!()).toEqual({ done: true, value: undefined });
    expect(await iterator.return!()).toEqual({ done: true, value: undefined });
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  it('can be iterated by its iterator', async () => {
    const client = await connect([TestController]);
    const iterator = client
      .stream('many', [1, 2, 3])
      [Symbol.asyncIterator]() as AsyncIterableIterator<unknown>;
    await iterator.next();
    const rest: unknown[] = [];
    for await (const value of iterator) rest.push(value);
    expect(rest).toEqual([2, 3]);
  });
});

describe('What a DrpcClient sends along', () => {
  it('is its own metadata, that of the hook and that of the call, the later before the earlier', async () => {
    const { way } = await Service.start([TestController]);
    const client = new DrpcClient({ ...way, metadata: { a: 'client', b: 'client', c: 'client' } });
    onTestFinished(() => client.close());
    expect(await client.call('metadata')).toEqual({ a: 'client', b: 'client', c: 'client' });
    client.setOnDispatchHook((packet: ReadPacket & { metadata?: Record<string, string> }) => {
      packet.metadata = { b: 'hook', c: 'hook' };
    });
    expect(await client.call('metadata', 1, { metadata: { C: 'call' } })).toEqual({
      a: 'client',
      b: 'hook',
      c: 'call',
    });
    expect(await firstValueFrom(client.send('metadata', 1))).toEqual({ a: 'client', b: 'hook', c: 'hook' });
    const record = new DrpcRecord(1, { metadata: { c: 'record' } });
    expect(await firstValueFrom(client.send('metadata', record))).toEqual({
      a: 'client',
      b: 'hook',
      c: 'record',
    });
  });

  it('has one key for those that differ only in case, of the latest source', async () => {
    const { way } = await Service.start([TestController]);
    const client = new DrpcClient({ ...way, metadata: { 'x-id': 'client', 'X-Only': 'client' } });
    onTestFinished(() => client.close());
    client.setOnDispatchHook((packet: ReadPacket & { metadata?: Record<string, string> }) => {
      packet.metadata = { 'X-Id': 'hook' };
    });
    expect(await client.call('metadata')).toEqual({ 'x-id': 'hook', 'x-only': 'client' });
    const metadata = { 'x-id': 'call', 'X-ONLY': 'call' };
    expect(await client.call('metadata', 1, { metadata })).toEqual({ 'x-id': 'call', 'x-only': 'call' });
  });

  it('passes the hook for every way to call', async () => {
    const client = await connect([TestController]);
    const packets: ReadPacket[] = [];
    client.setOnDispatchHook((packet) => void packets.push(packet));
    await firstValueFrom(client.send('echo', 1));
    await firstValueFrom(client.emit('happened', 2));
    await client.call('echo', 3);
    for await (const _ of client.stream('echo', 4));
    expect(packets.map(({ pattern, data }) => [pattern, data] as unknown)).toEqual([
      ['echo', 1],
      ['happened', 2],
      ['echo', 3],
      ['echo', 4],
    ]);
  });

  it('fails with what the hook throws, and with code 3 for reserved metadata of it', async () => {
    const client = await connect([TestController]);
    client.setOnDispatchHook(() => {
      throw new Error('no token');
    });
    await expect(client.call('echo', 1)).rejects.toMatchObject({ message: 'no token' });
    await expect(firstValueFrom(client.send('echo', 1))).rejects.toMatchObject({ message: 'no token' });
    await expect(firstValueFrom(client.emit('happened', 1))).rejects.toMatchObject({ message: 'no token' });
    client.setOnDispatchHook((packet: ReadPacket & { metadata?: Record<string, string> }) => {
      packet.metadata = { 'drpc-compression': 'x' };
    });
    await expect(client.call('echo', 1)).rejects.toMatchObject({
      code: DrpcCode.InvalidArgument,
      message: expect.stringContaining('reserved'),
    });
  });

  it('is encoded by pattern, by call, or as the client says', async () => {
    const { way } = await Service.start([TestController]);
    const byPattern = new DrpcClient({ ...way, encodings: { bytes: 'bytes' } });
    const byClient = new DrpcClient({ ...way, encoding: 'bytes' });
    const byCall = new DrpcClient(way);
    onTestFinished(async () => {
      await Promise.all([byPattern.close(), byClient.close(), byCall.close()]);
    });
    const data = Buffer.from('abc');
    expect(await byPattern.call('bytes', data)).toEqual(Buffer.from('cba'));
    expect(await byPattern.call('echo', 'json')).toBe('json');
    expect(await byClient.call('bytes', data)).toEqual(Buffer.from('cba'));
    expect(await byCall.call('bytes', data, { encoding: 'bytes' })).toEqual(Buffer.from('cba'));
    const record = new DrpcRecord(data, { encoding: 'bytes' });
    expect(await firstValueFrom(byCall.send('bytes', record))).toEqual(Buffer.from('cba'));
  });

  it('is a timeout of the client or of the call', async () => {
    const { way } = await Service.start([TestController]);
    const client = new DrpcClient({ ...way, timeout: 1 });
    onTestFinished(() => client.close());
    const failure = { code: DrpcCode.DeadlineExceeded };
    await expect(client.call('never')).rejects.toMatchObject(failure);
    await expect(lastValueFrom(client.send('never', 1))).rejects.toMatchObject(failure);
    expect(await client.call('echo', 1, { timeout: Infinity })).toBe(1);
    expect(await client.call('echo', 1, { timeout: 60_000 })).toBe(1);
    await expect(client.call('echo', 1, { timeout: 0 })).rejects.toMatchObject(failure);
  });

  it('takes an explicit undefined of a call for no setting', async () => {
    const { way } = await Service.start([TestController]);
    const client = new DrpcClient({ ...way, timeout: 1, metadata: { a: 'client' } });
    onTestFinished(() => client.close());
    const nothing = { timeout: undefined, metadata: undefined, signal: undefined, encoding: undefined };
    await expect(client.call('never', 1, nothing)).rejects.toMatchObject({ code: DrpcCode.DeadlineExceeded });
    const record = new DrpcRecord(1, { timeout: 60_000, metadata: { b: 'record' } });
    expect(await client.call('metadata', record, nothing)).toEqual({ a: 'client', b: 'record' });
  });
});

describe("A DrpcClient with Nest's serializer and deserializer", () => {
  it('passes the packet through the one and each answer through the other, promises too', async () => {
    const { way } = await Service.start([TestController]);
    const client = new DrpcClient({
      ...way,
      serializer: {
        serialize: async (packet: ReadPacket<unknown>) => ({
          ...packet,
          data: [packet.data, packet.pattern],
        }),
      },
      deserializer: {
        deserialize: async (value: unknown): Promise<WritePacket> => {
          await firstValueFrom(timer(value === 'many' ? 0 : 1));
          return { response: { value }, isDisposed: true };
        },
      },
    });
    onTestFinished(() => client.close());
    expect(await client.call('echo', 1)).toEqual({ value: [1, 'echo'] });
    expect(await lastValueFrom(client.send('many', 1).pipe(toArray()))).toEqual([
      { value: 1 },
      { value: 'many' },
    ]);
  });

  it('fails with an error that the deserializer found, and with one it throws', async () => {
    const { way } = await Service.start([TestController]);
    const client = new DrpcClient({
      ...way,
      deserializer: {
        deserialize: (value: unknown): WritePacket => {
          if (value === 'throw') throw new Error('thrown');
          return { err: 'found', isDisposed: true };
        },
      },
    });
    onTestFinished(() => client.close());
    await expect(client.call('echo', 1)).rejects.toBe('found');
    await expect(client.call('echo', 'throw')).rejects.toThrow('thrown');
  });
});

describe('The life of a DrpcClient', () => {
  it('has a status that can be watched', async () => {
    const client = (await Service.start([TestController])).client();
    const statuses: string[] = [];
    client.status.subscribe((status) => statuses.push(status));
    await client.connect();
    await client.close();
    expect(statuses).toEqual([DrpcStatus.Disconnected, DrpcStatus.Connected, DrpcStatus.Closed]);
  });

  it('counts calls that a server refused to start among those that wait', async () => {
    const service = await Service.start([TestController], { server: { maxHandlers: 1 } });
    const client = service.client();
    await client.connect();
    const subscription = client.send('never', 1).subscribe();
    const refused = client.call('echo', 'in the end');
    // Its answer comes behind the refusal; should the call be under way once more, it is counted there.
    await expect(client.call('nobody')).rejects.toMatchObject({ code: DrpcCode.Unimplemented });
    const { calls, waiting } = client.stats;
    expect(calls + waiting).toBe(2);
    subscription.unsubscribe();
    expect(await refused).toBe('in the end');
    expect(client.stats).toEqual({ connections: 1, calls: 0, waiting: 0 });
  });

  it('tells those who listen, after a reconnection too', async () => {
    const server = await TestServer.listen();
    const client = new DrpcClient({ port: server.port, reconnectDelay: 1 });
    onTestFinished(() => client.close());
    const warnings = mockLog('warn');
    const told: string[] = [];
    const isConnected = filter((status) => status === DrpcStatus.Connected);
    const again = lastValueFrom(client.status.pipe(isConnected, take(2)));
    client.on('connect', () => void told.push('connect'));
    client.on('disconnect', (error) => void told.push(`disconnect ${error?.code}`));
    client.on('reconnecting', () => void told.push('reconnecting'));
    await client.connect();
    server.connections[0]!.socket.destroy();
    await again;
    await client.close();
    expect(told).toEqual(['connect', 'disconnect 14', 'reconnecting', 'connect', 'disconnect undefined']);
    expect(warnings).toEqual([
      `disconnected from drpc://127.0.0.1:${server.port}: connection closed by the peer`,
    ]);
  });

  it('logs once that a server is down whose calls go elsewhere', async () => {
    const [server, gone] = [await TestServer.listen(), await TestServer.listen()];
    const urls = [server, gone].map(({ port }) => `drpc://127.0.0.1:${port}`);
    await gone.close();
    const client = new DrpcClient({ urls, reconnectDelay: 1, maxReconnectDelay: 1 });
    onTestFinished(() => client.close());
    const warnings = mockLog('warn');
    await client.connect();
    await new Promise<void>((resolve) => {
      let count = 0;
      client.on('error', () => void (++count === 3 && resolve()));
    });
    expect(warnings).toEqual([
      `cannot connect to ${urls[1]}: ECONNREFUSED: calls go over the other connections until it answers`,
    ]);
    expect(client.unwrap().connections.map(({ url }) => url)).toEqual([urls[0]]);
  });

  it('logs where a connection led and why it was reset', async () => {
    const server = await TestServer.listen();
    const client = new DrpcClient({ port: server.port });
    onTestFinished(() => client.close());
    const warnings = mockLog('warn');
    const lost = new Promise((resolve) => client.on('disconnect', resolve));
    await client.connect();
    server.connections[0]!.socket.resetAndDestroy();
    await lost;
    expect(warnings).toEqual([
      `disconnected from drpc://127.0.0.1:${server.port}: connection lost (ECONNRESET)`,
    ]);
  });

  it('warns once of a server that does not say who it is, as what it is then is a guess', async () => {
    const server = await TestServer.listen({ kind: 'silent' });
    const client = new DrpcClient({ port: server.port, handshakeTimeout: 1 });
    onTestFinished(() => client.close());
    const [lines, warnings] = [mockLog('log'), mockLog('warn')];
    await client.connect();
    expect(warnings).toEqual([
      expect.stringMatching(
        /^drpc:\S+ did not say within handshakeTimeout who it is, and is taken for a plain DRPC server until it is asked again in a minute: each/,
      ),
    ]);
    expect(lines).toEqual([]);
  });

  it('says once that calls wait, where they do not fail', async () => {
    const server = await TestServer.listen();
    const port = server.port;
    await server.close();
    const client = new DrpcClient({ port, failFast: false, reconnectDelay: 1, maxReconnectDelay: 1 });
    const warnings = mockLog('warn');
    const failures = new Promise<void>((resolve) => {
      let count = 0;
      client.on('error', () => void (++count === 3 && resolve()));
    });
    const calls = [client.call('echo', 1), client.call('echo', 2)];
    await failures;
    expect(warnings).toEqual([
      `cannot connect to drpc://127.0.0.1:${port}: ECONNREFUSED: calls wait until a server can be reached`,
    ]);
    const ends = Promise.allSettled(calls);
    await client.close();
    await ends;
  });

  it('goes on when a listener throws', async () => {
    const log = mockLog('error');
    const client = (await Service.start([TestController])).client();
    const told: string[] = [];
    client.on('connect', () => {
      throw new Error('mine');
    });
    client.on('connect', () => void told.push('connect'));
    await client.connect();
    expect(told).toEqual(['connect']);
    expect(log).toEqual(['a listener of "connect" threw']);
  });

  it('tells of failed attempts, and needs nobody to listen', async () => {
    const client = await lost();
    await expect(client.connect()).rejects.toMatchObject({ code: 14 });
    const errors: DrpcError[] = [];
    client.on('error', (error) => void errors.push(error));
    await expect(client.connect()).rejects.toBeInstanceOf(DrpcError);
    expect(errors).toEqual([expect.objectContaining({ code: 14 })]);
  });

  it('refuses to listen for what never happens', async () => {
    const client = await lost();
    expect(() => client.on('connected' as 'connect', () => undefined)).toThrow(
      'event connected is not known, did you mean connect? There are connect, disconnect, error, reconnecting',
    );
  });

  it('refuses a listener that is none', async () => {
    const client = await lost();
    expect(() => client.on('connect', undefined as never)).toThrow(
      new TypeError('the listener of "connect" is undefined: must be a function'),
    );
  });

  it('gives its connections away once there is one', async () => {
    const client = (await Service.start([TestController])).client();
    expect(() => client.unwrap()).toThrow('the client has no connection yet: call connect() first');
    await client.connect();
    expect(client.unwrap().connections).toEqual([expect.objectContaining({ profile: 'own', calls: 0 })]);
  });

  it('tells of a server that shuts down, or wants a new connection, by "disconnect" alone, if it was the last', async () => {
    const services = [await Service.start([TestController]), await Service.start([TestController])];
    const client = new DrpcClient({ urls: services.map(({ way }) => way.url!), reconnectDelay: 60_000 });
    onTestFinished(() => client.close());
    await client.connect();
    while (client.stats.connections < 2) await new Promise((resolve) => void setImmediate(resolve));
    const told: [event: string, message: string | undefined][] = [];
    client.on('error', ({ message }) => told.push(['error', message]));
    const disconnected = new Promise<void>((resolve) => {
      client.on('disconnect', (error) => {
        told.push(['disconnect', error?.message]);
        resolve();
      });
    });
    const [lines, warnings] = [mockLog('log'), mockLog('warn')];
    for (const { app } of services) await app.close();
    await disconnected;
    expect(told.filter(([, message]) => message === 'the server is shutting down')).toEqual([
      ['disconnect', 'the server is shutting down'],
    ]);
    expect(lines).toEqual([expect.stringMatching(/^disconnected from \S+: the server is shutting down$/)]);
    expect(warnings.filter((line) => line.startsWith('disconnected'))).toEqual([]);
  });

  it('can be closed before it was used, more than once, and with the name of a signal as Nest does', async () => {
    const client = await lost();
    const told: unknown[] = [];
    client.on('disconnect', (error) => void told.push(error));
    const closable: { close(signal?: string): Promise<void> } = client;
    await closable.close('SIGTERM');
    await client.close();
    expect(told).toEqual([]);
    await expect(client.call('echo', 1)).rejects.toMatchObject({ code: 14, message: 'the client is closed' });
  });

  it('can be opened again', async () => {
    const client = await connect([TestController]);
    const statuses: string[] = [];
    client.status.subscribe((status) => statuses.push(status));
    await client.close();
    await expect(firstValueFrom(client.send('echo', 1))).rejects.toThrow('the client is closed');
    await client.connect();
    expect(await firstValueFrom(client.send('echo', 1))).toBe(1);
    expect(statuses).toEqual(['connected', 'closed', 'disconnected', 'connected']);
  });

  it('says once that a server is a plain one, and how to spare it the question', async () => {
    const lines = mockLog('log');
    const server = await TestServer.listen({ kind: 'plain', handlers: { echo } });
    const client = new DrpcClient({ port: server.port });
    onTestFinished(() => client.close());
    expect(await Promise.all([client.call('echo', 1), client.call('echo', 2)])).toEqual([1, 2]);
    expect(lines.filter((line) => line.includes("'cockroach-fc'"))).toHaveLength(1);
  });
});
