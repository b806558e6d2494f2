import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { Observable, of, range, Subject, throwError, type Subscriber } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { ObservableResult } from '../../lib/bridge/observable-result.js';
import { RecordingTarget } from './recording-target.js';

function draw(source: Observable<unknown>): { target: RecordingTarget; result: ObservableResult } {
  const target = new RecordingTarget();
  const result = new ObservableResult(source, target);
  result.start();
  return { target, result };
}

async function* numbers(log: string[] = []): AsyncGenerator<number> {
  try {
    yield 1;
    yield 2;
  } finally {
    log.push('left');
  }
}

describe('ObservableResult', () => {
  it('gives values and the end in the turn in which they come', () => {
    expect(draw(of(1, 2)).target.told).toEqual([1, 2, 'complete']);
  });

  it('gives the error', () => {
    const error = new Error('any');
    expect(draw(throwError(() => error)).target.told).toEqual([['error', error]]);
  });

  it('gives what subscribing throws', () => {
    const error = new Error('any');
    const source = new Observable();
    source.subscribe = () => {
      throw error;
    };
    expect(draw(source).target.told).toEqual([['error', error]]);
  });

  it('unsubscribes when it is canceled, and gives nothing more', () => {
    let isTorn = false;
    let emit!: (value: number) => void;
    const { target, result } = draw(
      new Observable((subscriber) => {
        emit = (value) => subscriber.next(value);
        return () => {
          isTorn = true;
        };
      }),
    );
    emit(1);
    result.cancel();
    result.cancel();
    expect(isTorn).toBe(true);
    emit(2);
    expect(target.told).toEqual([1, 'complete']);
  });

  it('ends when it is canceled though the teardown of the source throws', () => {
    const { target, result } = draw(
      new Observable(() => () => {
        throw new Error('teardown');
      }),
    );
    result.cancel();
    expect(target.told).toEqual(['complete']);
  });

  it('gives the end before the teardown of the source, which may throw', () => {
    for (const end of ['complete', 'error'] as const) {
      const subscribers: Subscriber<unknown>[] = [];
      const { target } = draw(
        new Observable((subscriber) => {
          subscribers.push(subscriber);
          return () => {
            throw new Error('teardown');
          };
        }),
      );
      expect(() => subscribers[0]![end]('any')).toThrow('teardown');
      expect(target.told).toEqual([end === 'error' ? ['error', 'any'] : 'complete']);
    }
  });

  it('can be stopped by a target that cancels while it is being subscribed to', () => {
    const target = new RecordingTarget();
    const result: ObservableResult = new ObservableResult(range(1, 1_000_000), {
      next: (value) => {
        target.next(value);
        result.cancel();
        return false;
      },
      drained: () => target.drained(),
      complete: () => target.complete(),
      error: (thrown) => target.error(thrown),
    });
    result.start();
    expect(target.told).toEqual([1, 'complete']);
  });

  it('tears the source down when it has ended', () => {
    const log: string[] = [];
    const ending = (end: 'complete' | 'error') =>
      new Observable((subscriber) => {
        subscriber.add(() => log.push(end));
        subscriber[end](undefined as never);
      });
    draw(ending('complete'));
    draw(ending('error'));
    expect(log).toEqual(['complete', 'error']);
  });

  it('ignores a source that goes on after its end', () => {
    const { target } = draw(
      new Observable((subscriber) => {
        const { destination = subscriber } = subscriber as unknown as { destination?: typeof subscriber };
        destination.complete();
        destination.next(1);
        destination.error(new Error('any'));
        destination.complete();
      }),
    );
    expect(target.told).toEqual(['complete']);
  });

  it('draws an iterable value in its place, and keeps what comes meanwhile', async () => {
    const { target } = draw(of(0, numbers(), 3, numbers(), 4));
    expect(target.told).toEqual([0]);
    await target.ended;
    expect(target.told).toEqual([0, 1, 2, 3, 1, 2, 4, 'complete']);
  });

  it('stops an iterable value when it is canceled, and completes when that has stopped', async () => {
    const log: string[] = [];
    const source = new Subject<unknown>();
    const { target, result } = draw(source);
    target.isFull = true;
    source.next(numbers(log));
    await target.waits();
    result.cancel();
    expect(source.observed).toBe(false);
    expect(target.told).toEqual([1]);
    target.drain();
    await target.ended;
    expect(log).toEqual(['left']);
    expect(target.told).toEqual([1, 'complete']);
  });

  it('stops an iterable value when the source fails', async () => {
    const log: string[] = [];
    const error = new Error('any');
    const source = new Subject<unknown>();
    const { target } = draw(source);
    target.isFull = true;
    source.next(numbers(log));
    await target.waits();
    source.error(error);
    await target.ended;
    expect(target.told).toEqual([1, ['error', error]]);
  });

  it('gives the error of an iterable value, and unsubscribes from the source', async () => {
    const source = new Subject<unknown>();
    const { target } = draw(source);
    source.next(
      (async function* () {
        yield 1;
        throw new Error('any');
      })(),
    );
    await target.ended;
    expect(target.told).toEqual([1, ['error', expect.objectContaining({ exception: new Error('any') })]]);
    expect(source.observed).toBe(false);
  });

  it('lets no more than 1,000 values wait behind an iterable value', async () => {
    const source = new Subject<unknown>();
    const { target } = draw(source);
    source.next(numbers());
    for (let i = 0; i <= 1000; i++) source.next(i);
    await target.ended;
    expect(target.told).toEqual([['error', expect.any(RangeError)]]);
  });

  it('lets a stream fail that waits behind an iterable value, until it is its turn', async () => {
    const missing = createReadStream(new URL('no-such-file', import.meta.url));
    const failed = new Promise<void>((resolve) => void missing.once('close', resolve));
    const source = new Subject<unknown>();
    const { target } = draw(source);
    target.isFull = true;
    source.next(numbers());
    source.next(missing);
    await failed;
    target.drain();
    await target.ended;
    expect(target.told.slice(0, 2)).toEqual([1, 2]);
    expect(target.told[2]).toMatchObject(['error', { exception: { code: 'ENOENT' } }]);
  });

  it.each([
    ['is canceled', (result: ObservableResult) => result.cancel()],
    ['fails', (result: ObservableResult) => result.error(new Error('any'))],
  ])('frees the streams that wait, and those that come later, when it %s', async (_way, end) => {
    const source = new Subject<unknown>();
    const { target, result } = draw(source);
    const [waiting, late] = [new Readable(), new Readable()];
    source.next(numbers());
    source.next(waiting);
    end(result);
    result.next(late);
    expect([waiting.destroyed, late.destroyed]).toEqual([true, true]);
    await target.ended;
  });
});
