import { EMPTY, of, throwError } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { LastValue } from '../../lib/bridge/last-value.js';
import { resultSource } from '../../lib/bridge/result-source.js';
import { RecordingTarget } from './recording-target.js';

async function tellOf(result: unknown): Promise<unknown[]> {
  const target = new RecordingTarget();
  resultSource(result, new LastValue(target))!.start();
  await target.ended;
  return target.told;
}

describe('LastValue', () => {
  it('gives the last of many values, and undefined for none', async () => {
    expect(await tellOf(of(1, 2, 3))).toEqual([3, 'complete']);
    expect(await tellOf(EMPTY)).toEqual([undefined, 'complete']);
    expect(
      await tellOf(
        (async function* () {
          yield* [1, 2];
        })(),
      ),
    ).toEqual([2, 'complete']);
  });

  it('gives an error alone', async () => {
    const error = new Error('any');
    expect(await tellOf(throwError(() => error))).toEqual([['error', error]]);
  });

  it('asks its target for room', async () => {
    const target = new RecordingTarget();
    const isDrained = new LastValue(target).drained();
    target.drain();
    await expect(isDrained).resolves.toBeUndefined();
  });
});
