import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { describe, expect, it } from 'vitest';
import { IterableResult } from '../../lib/bridge/iterable-result.js';
import type { StreamedValue } from '../../lib/bridge/streamed-value.js';
import { UnhandledException } from '../../lib/bridge/unhandled-exception.js';
import { RecordingTarget } from './recording-target.js';

function draw(value: StreamedValue): { target: RecordingTarget; result: IterableResult } {
  const target = new RecordingTarget();
  const result = new IterableResult(value, target);
  result.start();
  return { target, result };
}

async function* numbers(log: string[] = []): AsyncGenerator<number> {
  try {
    for (let i = 1; i <= 3; i++) {
      log.push(`made ${i}`);
      yield i;
    }
  } finally {
    log.push('left');
  }
}

describe('IterableResult', () => {
  it('gives every value, then completes', async () => {
    const { target } = draw(numbers());
    await target.ended;
    expect(target.told).toEqual([1, 2, 3, 'complete']);
  });

  it('pulls no further while there is no room', async () => {
    const target = new RecordingTarget();
    const log: string[] = [];
    target.isFull = true;
    new IterableResult(numbers(log), target).start();
    await target.waits();
    expect(log).toEqual(['made 1']);
    target.drain();
    await target.ended;
    expect(target.told).toEqual([1, 2, 3, 'complete']);
  });

  it('gives what the iterable throws, marked as seen by no filter', async () => {
    const error = new Error('any');
    const { target } = draw(
      (async function* () {
        yield 1;
        throw error;
      })(),
    );
    await target.ended;
    expect(target.told).toEqual([1, ['error', new UnhandledException(error)]]);
  });

  it('gives what making the iterator throws', async () => {
    const error = new Error('any');
    const { target } = draw({
      [Symbol.asyncIterator]() {
        throw error;
      },
    });
    await target.ended;
    expect(target.told).toEqual([['error', new UnhandledException(error)]]);
  });

  it('calls return() in the turn of the cancel, though a pull is under way', async () => {
    const log: string[] = [];
    let finish!: (item: IteratorResult<number>) => void;
    const { target, result } = draw({
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise<IteratorResult<number>>((resolve) => (log.push('next'), (finish = resolve))),
        return: async () => (log.push('return'), { done: true, value: undefined }),
      }),
    });
    expect(log).toEqual(['next']);
    result.cancel();
    result.cancel();
    expect(log).toEqual(['next', 'return']);
    expect(target.told).toEqual([]);
    finish({ done: false, value: 5 });
    await target.ended;
    expect(target.told).toEqual(['complete']);
  });

  it('survives an iterator without return(), and one whose return() fails', async () => {
    const pull = { next: async () => ({ done: false as const, value: 1 }) };
    for (const iterator of [
      pull,
      { ...pull, return: () => Promise.reject(new Error('any')) },
      {
        ...pull,
        return: () => {
          throw new Error('any');
        },
      },
    ]) {
      const { target, result } = draw({ [Symbol.asyncIterator]: () => iterator });
      result.cancel();
      await target.ended;
      expect(target.told).toEqual(['complete']);
    }
  });

  it('leaves a generator that waits for room when it is canceled', async () => {
    const target = new RecordingTarget();
    const log: string[] = [];
    target.isFull = true;
    const result = new IterableResult(numbers(log), target);
    result.start();
    await target.waits();
    result.cancel();
    // A stream that has ended lets nobody wait.
    target.drain();
    await target.ended;
    expect(log).toEqual(['made 1', 'left']);
    expect(target.told).toEqual([1, 'complete']);
  });

  it('tells nothing of what is thrown after a cancel', async () => {
    const { target, result } = draw({
      [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new Error('any')) }),
    });
    result.cancel();
    await target.ended;
    expect(target.told).toEqual(['complete']);
  });

  it('draws Node streams and web streams', async () => {
    const node = draw(Readable.from([1, 2]));
    await node.target.ended;
    expect(node.target.told).toEqual([1, 2, 'complete']);
    const web = draw(ReadableStream.from([1, 2]));
    await web.target.ended;
    expect(web.target.told).toEqual([1, 2, 'complete']);
  });

  it('gives the error of a Node stream and of a web stream', async () => {
    const error = new Error('any');
    const readable: Readable = new Readable({ read: () => void readable.destroy(error) });
    const node = draw(readable);
    await node.target.ended;
    expect(node.target.told).toEqual([['error', new UnhandledException(error)]]);
    const web = draw(new ReadableStream({ start: (controller) => controller.error(error) }));
    await web.target.ended;
    expect(web.target.told).toEqual([['error', new UnhandledException(error)]]);
  });

  it('says so when a web stream has a reader already', async () => {
    const stream = new ReadableStream();
    stream.getReader();
    const { target } = draw(stream);
    await target.ended;
    expect(target.told).toEqual([['error', expect.any(UnhandledException)]]);
  });
});
