import { createReadStream } from 'node:fs';
import { createConnection } from 'node:net';
import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern } from '@nestjs/microservices';
import {
  DrpcClient,
  DrpcCode,
  DrpcContext,
  DrpcError,
  DrpcRecord,
  DrpcStream,
  type DrpcCallOptions,
  type DrpcClientInterceptor,
  type DrpcClientOptions,
} from 'nestjs-drpc';
import {
  defer,
  from,
  lastValueFrom,
  map,
  mergeMap,
  NEVER,
  Observable,
  of,
  reduce,
  repeat,
  Subject,
  throwError,
  toArray,
} from 'rxjs';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { TRANSPORTS } from '../transport/helpers/test-service.js';
import { EventLog, Gate } from '../transport/helpers/event-log.js';
import { connect, Service } from './helpers/service.js';

let log = new EventLog();
let gate = new Gate();

beforeEach(() => {
  log = new EventLog();
  gate = new Gate();
});

@Controller()
class StreamController {
  @MessagePattern('sum')
  sum(@DrpcStream() values: Observable<number>): Observable<number> {
    return values.pipe(reduce((a, b) => a + b, 0));
  }

  @MessagePattern('double')
  double(@DrpcStream() values: Observable<number>): Observable<number> {
    return values.pipe(map((value) => value * 2));
  }

  @MessagePattern('first')
  async first(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<number>): Promise<number> {
    for await (const value of values) return value;
    return -1;
  }

  @MessagePattern('slow')
  async slow(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<string>): Promise<number> {
    await gate.opened;
    let size = 0;
    for await (const value of values) size += value.length;
    return size;
  }

  @MessagePattern('watch')
  watch(@DrpcStream() values: Observable<number>, @Ctx() _context: DrpcContext): Observable<never> {
    return new Observable(() => {
      const subscription = values.subscribe({
        next: (value) => log.add(`value ${value}`),
        error: (error: DrpcError) => log.add(`error ${error.code} ${error.message}`),
        complete: () => log.add('complete'),
      });
      return () => {
        subscription.unsubscribe();
        log.add('torn down');
      };
    });
  }
}

function aborted(): AbortSignal {
  return AbortSignal.abort(new Error('enough'));
}

async function* generate(...values: number[]): AsyncGenerator<number> {
  try {
    yield* values;
  } finally {
    log.add('returned');
  }
}

const SOURCES: [string, () => Observable<number> | AsyncIterable<number> | ReadableStream<number>][] = [
  ['an Observable', () => from([1, 2, 3])],
  ['an Observable that takes its time', () => from(generate(1, 2, 3))],
  ['an async generator', () => generate(1, 2, 3)],
  ['a Node stream', () => Readable.from([1, 2, 3])],
  [
    'a web stream',
    () =>
      new ReadableStream<number>({
        start: (controller) => {
          for (const value of [1, 2, 3]) controller.enqueue(value);
          controller.close();
        },
      }),
  ],
  [
    'an iterator without return()',
    () => {
      let i = 0;
      const next = async () => (i < 3 ? { done: false, value: ++i } : { done: true, value: undefined });
      return { [Symbol.asyncIterator]: () => ({ next }) } as AsyncIterable<number>;
    },
  ],
];

describe.each(SOURCES)('A request stream from %s', (_name, source) => {
  it('goes out with send, call and stream', async () => {
    const client = await connect([StreamController]);
    expect(await lastValueFrom(client.send('sum', source()))).toBe(6);
    expect(await client.call('sum', source())).toBe(6);
    const values: unknown[] = [];
    for await (const value of client.stream('double', source())) values.push(value);
    expect(values).toEqual([2, 4, 6]);
  });

  it('goes out in a record', async () => {
    const client = await connect([StreamController]);
    expect(await client.call('sum', new DrpcRecord(source(), { metadata: { a: 'b' } }))).toBe(6);
  });
});

describe.each(TRANSPORTS)('A request stream over %s', (over) => {
  it('answers while it is sent', async () => {
    const client = await connect([StreamController], { over });
    const source = new Subject<number>();
    const answers: unknown[] = [];
    const done = new Promise<void>((resolve, reject) => {
      client.send<number>('double', source).subscribe({
        next: (value) => {
          answers.push(value);
          if (value < 8) source.next(value);
          else source.complete();
        },
        error: reject,
        complete: resolve,
      });
    });
    source.next(1);
    await done;
    expect(answers).toEqual([2, 4, 8]);
  });
});

describe('A request stream', () => {
  it('is subscribed to once for each call, and not before', async () => {
    const client = await connect([StreamController]);
    let subscriptions = 0;
    const source = defer(() => {
      subscriptions++;
      return of(1);
    });
    const sent = client.send('sum', source);
    expect(subscriptions).toBe(0);
    await lastValueFrom(sent);
    expect(subscriptions).toBe(1);
  });

  it('may be empty', async () => {
    const client = await connect([StreamController]);
    expect(await client.call('sum', of())).toBe(0);
    expect(await client.call('sum', generate())).toBe(0);
  });

  it('that fails is no end of it for the server, and the caller gets the very error', async () => {
    const client = await connect([StreamController]);
    const source = new Subject<number>();
    const sent = lastValueFrom(client.send('watch', source));
    source.next(1);
    await log.seen('value 1');
    const error = new Error('/etc/passwd is not readable');
    source.error(error);
    await expect(sent).rejects.toBe(error);
    await log.seen('torn down');
    expect(log.entries).not.toContain('complete');
  });

  it('that fails while it is pulled does the same', async () => {
    const client = await connect([StreamController]);
    const failing = async function* (): AsyncGenerator<number> {
      yield 1;
      await log.seen('value 1');
      throw new DrpcError(DrpcCode.DataLoss, 'half a file');
    };
    await expect(client.call('watch', failing())).rejects.toMatchObject({ code: DrpcCode.DataLoss });
    await log.seen('torn down');
    expect(log.entries).not.toContain('complete');
  });

  it('that throws when it is iterated fails the call', async () => {
    const client = await connect([StreamController]);
    const broken: AsyncIterable<number> = {
      [Symbol.asyncIterator]: () => {
        throw new Error('no iterator');
      },
    };
    await expect(client.call('sum', broken)).rejects.toThrow('no iterator');
  });

  it('with a value that has no form fails the call with code 3', async () => {
    const client = await connect([StreamController]);
    await expect(client.call('sum', of(1, 2n))).rejects.toMatchObject({ code: DrpcCode.InvalidArgument });
    await expect(
      client.call(
        'sum',
        (async function* () {
          yield 2n;
        })(),
      ),
    ).rejects.toMatchObject({ code: DrpcCode.InvalidArgument });
  });

  it('is stopped when the server answers without reading all of it', async () => {
    const client = await connect([StreamController]);
    const source = new Subject<number>();
    const answered = client.call('first', source);
    source.next(7);
    expect(await answered).toBe(7);
    expect(source.observed).toBe(false);
    const endless = async function* (): AsyncGenerator<number> {
      try {
        for (let i = 0; ; i++) yield i;
      } finally {
        log.add('returned');
      }
    };
    expect(await client.call('first', endless())).toBe(0);
    await log.seen('returned');
  });

  it('is stopped when the server knows no such rpc', async () => {
    const client = await connect([StreamController]);
    const source = new Subject<number>();
    await expect(client.call('nobody', source)).rejects.toMatchObject({ code: DrpcCode.Unimplemented });
    expect(source.observed).toBe(false);
  });

  it('of a Node stream is destroyed when the call is given up', async () => {
    const client = await connect([StreamController]);
    const source = new Readable({ objectMode: true, read: () => undefined });
    source.push(1);
    const subscription = client.send('watch', source).subscribe();
    await log.seen('value 1');
    subscription.unsubscribe();
    expect(source.destroyed).toBe(true);
  });

  it('of a Node stream or a web stream is freed when the call never reaches a server', async () => {
    const client = await unreachable();
    const node = Readable.from([1]);
    await expect(client.call('sum', node)).rejects.toMatchObject({ code: DrpcCode.Unavailable });
    expect(node.destroyed).toBe(true);
    let isCanceled = false;
    const web = new ReadableStream({ cancel: () => void (isCanceled = true) });
    await expect(client.call('sum', web)).rejects.toMatchObject({ code: DrpcCode.Unavailable });
    expect(isCanceled).toBe(true);
  });

  it.each<[string, DrpcClientOptions, DrpcCallOptions]>([
    ['has an option that is wrong', {}, { timeout: -1 }],
    ['has metadata that may not be sent', {}, { metadata: { 'grpc-timeout': '1S' } }],
    ['is refused by an interceptor', { interceptors: [() => throwError(() => new Error('no token'))] }, {}],
    ['is aborted while an interceptor keeps it', { interceptors: [() => NEVER] }, { signal: aborted() }],
  ])('of a Node stream is destroyed when its call %s', async (_what, options, callOptions) => {
    const client = await connect([StreamController], { client: options });
    for (const send of [
      (data: Readable) => client.call('sum', data, callOptions),
      (data: Readable) => lastValueFrom(client.send('sum', new DrpcRecord(data, callOptions))),
    ]) {
      const source = Readable.from([1]);
      await expect(send(source)).rejects.toThrow(/./);
      expect(source.destroyed).toBe(true);
    }
  });

  it("of a Node stream is the interceptor's once it let a call begin", async () => {
    const source = Readable.from([1, 2, 3]);
    const collect: DrpcClientInterceptor = (call, next) =>
      from((call.data as Readable).toArray()).pipe(mergeMap((data) => next({ ...call, data: from(data) })));
    const client = await connect([StreamController], { client: { interceptors: [collect] } });
    expect(await client.call('sum', source)).toBe(6);
  });

  it('of a generator that no server has taken may go out with another call', async () => {
    const values = generate(1, 2, 3);
    await expect((await unreachable()).call('sum', values)).rejects.toMatchObject({
      code: DrpcCode.Unavailable,
    });
    const client = await connect([StreamController]);
    expect(await client.call('sum', values)).toBe(6);
  });

  it('whose file is missing may fail behind the end of its call', async () => {
    const client = await connect([StreamController]);
    const file = createReadStream(new URL('no-such-file', import.meta.url));
    const isClosed = new Promise<void>((resolve) => void file.once('close', resolve));
    const refused = client.call('sum', file, { signal: AbortSignal.abort() });
    await expect(refused).rejects.toMatchObject({ code: DrpcCode.Canceled });
    await isClosed;
    expect(file.errored).toMatchObject({ code: 'ENOENT' });
  });

  it('of a stream that fails while its call waits for a connection gives the caller the error', async () => {
    const service = await Service.start([StreamController]);
    const dialled = new Gate();
    const client = new DrpcClient({
      dial: async () => {
        await dialled.opened;
        return createConnection(service.port, '127.0.0.1');
      },
    });
    onTestFinished(() => client.close());
    const file = createReadStream(new URL('no-such-file', import.meta.url));
    const isClosed = new Promise<void>((resolve) => void file.once('close', resolve));
    const answered = client.call('sum', file);
    answered.catch(() => undefined);
    await isClosed;
    dialled.open();
    await expect(answered).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('of an iterable is pulled at the pace of the server', async () => {
    const client = await connect([StreamController]);
    let pulled = 0;
    const chunk = 'x'.repeat(100_000);
    const chunks = async function* (): AsyncGenerator<string> {
      while (pulled < 100) {
        pulled++;
        yield chunk;
      }
    };
    const answered = client.call('slow', chunks());
    await atRest(client, () => pulled);
    expect(pulled).toBeLessThan(50);
    gate.open();
    expect(await answered).toBe(100 * chunk.length);
  });

  it('of an Observable that the server does not take ends with code 8 and is unsubscribed', async () => {
    const client = await connect([StreamController], {
      client: { sendQueueSize: 1_000_000, maxSendSize: 1_000_000 },
    });
    const chunk = 'x'.repeat(100_000);
    let isTornDown = false;
    const source = new Observable<string>((subscriber) => {
      for (let i = 0; i < 1000 && !subscriber.closed; i++) subscriber.next(chunk);
      return () => (isTornDown = true);
    });
    await expect(client.call('slow', source)).rejects.toMatchObject({ code: DrpcCode.ResourceExhausted });
    expect(isTornDown).toBe(true);
  });

  it('that never pauses and is given up while it is subscribed to stops', async () => {
    const client = await connect([StreamController], { client: { sendQueueSize: 1000, maxSendSize: 5000 } });
    let sent = 0;
    const endless = defer(() => of('x'.repeat(1000 + (sent++ % 2)))).pipe(repeat());
    await expect(client.call('slow', endless)).rejects.toMatchObject({ code: DrpcCode.ResourceExhausted });
    expect(sent).toBeLessThan(100_000);
  });

  it('does not starve the rest of the process', async () => {
    const client = await connect([StreamController]);
    const endless = async function* (): AsyncGenerator<number> {
      for (let i = 0; ; i++) yield i;
    };
    const subscription = client.send('sum', endless()).subscribe();
    expect(await client.call('sum', of(1, 2))).toBe(3);
    subscription.unsubscribe();
  });

  it('is no request stream where it is a plain value', async () => {
    const client = await connect([StreamController]);
    await expect(client.call('sum', [1, 2, 3])).resolves.toBe('01,2,3');
    expect(await lastValueFrom(client.send('double', 5).pipe(toArray()))).toEqual([10]);
  });

  it('ends with the call when its answers are not wanted any more', async () => {
    const client = await connect([StreamController]);
    let isTornDown = false;
    const source = new Observable<number>((subscriber) => {
      subscriber.next(1);
      const subscription = NEVER.subscribe(subscriber);
      return () => {
        subscription.unsubscribe();
        isTornDown = true;
      };
    });
    for await (const _ of client.stream('double', source)) break;
    expect(isTornDown).toBe(true);
  });
});

/** A client of a server that is not there. */
async function unreachable(): Promise<DrpcClient> {
  const service = await Service.start([StreamController]);
  const client = service.client();
  await service.app.close();
  return client;
}

/** Resolves when a number has stopped growing while calls come and go. */
async function atRest(client: DrpcClient, read: () => number): Promise<void> {
  for (let before = -1; before < read();) {
    before = read();
    for (let i = 0; i < 3; i++) await client.call('sum', of(1));
  }
}
