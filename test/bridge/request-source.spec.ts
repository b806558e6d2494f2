import { take } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { RequestIterator } from '../../lib/bridge/request-iterator.js';
import { RequestObservable } from '../../lib/bridge/request-observable.js';

/** A stream that counts what is asked of it. */
class Demand {
  readonly rpc = 'rpc';
  readonly asked: number[] = [];

  request(count: number): void {
    this.asked.push(count);
  }
}

describe('RequestObservable', () => {
  it('asks for nothing before it is subscribed to, then for everything, behind all promises of that turn', async () => {
    const demand = new Demand();
    const source = new RequestObservable(demand);
    expect(demand.asked).toEqual([]);
    expect(source.isActive).toBe(false);
    expect(source.isLeft).toBe(false);
    source.values.subscribe();
    expect(source.isActive).toBe(true);
    for (let i = 0; i < 20; i++) await Promise.resolve();
    expect(demand.asked).toEqual([]);
    await new Promise((resolve) => setImmediate(resolve));
    expect(demand.asked).toEqual([Infinity]);
  });

  it('gives messages, then the end', () => {
    const told: unknown[] = [];
    const source = new RequestObservable(new Demand());
    source.values.subscribe({ next: (value) => told.push(value), complete: () => told.push('complete') });
    source.message(1);
    source.message(2);
    source.end(undefined);
    expect(told).toEqual([1, 2, 'complete']);
    expect(source.isActive).toBe(false);
  });

  it('gives an end that came before it was subscribed to', () => {
    const told: unknown[] = [];
    const observer = { complete: () => told.push('complete'), error: (error: unknown) => told.push(error) };
    const ended = new RequestObservable(new Demand());
    ended.end(undefined);
    ended.values.subscribe(observer);
    const failed = new RequestObservable(new Demand());
    failed.end(new Error('any'));
    failed.values.subscribe(observer);
    expect(told).toEqual(['complete', new Error('any')]);
  });

  it('gives nothing after its subscriber has left', () => {
    const told: unknown[] = [];
    const source = new RequestObservable(new Demand());
    source.values.pipe(take(1)).subscribe((value) => told.push(value));
    expect(source.isLeft).toBe(false);
    source.message(1);
    expect(source.isLeft).toBe(true);
    source.message(2);
    expect(source.isActive).toBe(false);
    source.end(new Error('any'));
    expect(told).toEqual([1]);
  });

  it('tells a second subscriber that there can be one', () => {
    let error: unknown;
    const source = new RequestObservable(new Demand());
    source.values.subscribe();
    source.values.subscribe({ error: (reason: unknown) => (error = reason) });
    expect(error).toMatchObject({ code: 9 });
    expect(source.isActive).toBe(true);
  });

  it('warns of a second subscriber that does not listen for errors', async () => {
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
    const source = new RequestObservable(new Demand());
    source.values.subscribe();
    source.values.subscribe();
    expect(await warned).toMatchObject({
      name: 'DrpcWarning',
      message: 'second subscriber of the messages of "rpc": they can be taken once, use share()',
    });
  });
});

describe('RequestIterator', () => {
  it('asks for one message with each pull, also with several at once', async () => {
    const demand = new Demand();
    const source = new RequestIterator(demand);
    const pulls = [source.next(), source.next()];
    expect(demand.asked).toEqual([1, 1]);
    expect(source.isActive).toBe(true);
    source.message('a');
    source.message('b');
    expect(await Promise.all(pulls)).toEqual([
      { done: false, value: 'a' },
      { done: false, value: 'b' },
    ]);
    expect(source.isActive).toBe(false);
  });

  it('ends pulls, those to come as well', async () => {
    const source = new RequestIterator(new Demand());
    const pull = source.next();
    source.end(undefined);
    expect(await pull).toEqual({ done: true, value: undefined });
    expect(await source.next()).toEqual({ done: true, value: undefined });
  });

  it('fails pulls with the cause, those to come as well', async () => {
    const source = new RequestIterator(new Demand());
    const pull = source.next();
    source.end(new Error('any'));
    await expect(pull).rejects.toThrow('any');
    await expect(source.next()).rejects.toThrow('any');
  });

  it('lets what still comes go when its loop is left, and asks for nothing more', async () => {
    const demand = new Demand();
    const source = new RequestIterator(demand);
    const pull = source.next();
    expect(source.isLeft).toBe(false);
    await source.return();
    expect(source.isLeft).toBe(true);
    await source.return();
    expect(await pull).toEqual({ done: true, value: undefined });
    expect(demand.asked).toEqual([1, Infinity]);
    source.message('late');
    expect(await source.next()).toEqual({ done: true, value: undefined });
    expect(demand.asked).toEqual([1, Infinity]);
  });
});
