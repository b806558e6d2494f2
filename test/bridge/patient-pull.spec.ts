import { describe, expect, it } from 'vitest';
import { pull } from '../../lib/bridge/streamed-value.js';

describe('pull', () => {
  it('lets the event loop go on while a source always has a value at hand', async () => {
    let isOthersTurn = false;
    async function* endless(): AsyncGenerator<number> {
      for (let i = 0; !isOthersTurn; i++) yield i;
    }
    setImmediate(() => {
      isOthersTurn = true;
    });
    const puller = pull(endless());
    let item = await puller.next();
    while (!item.done) item = await puller.next();
    expect(isOthersTurn).toBe(true);
  });

  it('pulls nothing more once it was stopped, though a pull was waiting for its turn', async () => {
    let made = 0;
    const values: AsyncIterable<number> = {
      [Symbol.asyncIterator]: () => ({ next: async () => ({ done: false, value: made++ }) }),
    };
    const puller = pull(values);
    for (let i = 0; i < 255; i++) await puller.next();
    const waiting = puller.next();
    puller.stop();
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect(made).toBe(255);
  });
});
