import { describe, expect, it } from 'vitest';
import type { Clock } from '../../lib/clock/clock.js';
import { RetryPause } from '../../lib/pool/retry-pause.js';
import { VirtualClock } from '../helpers/virtual-clock.js';

function pause() {
  const clock = new VirtualClock();
  return { clock, pause: new RetryPause(clock, { initial: 100, max: 1000, random: () => 1 }) };
}

describe('RetryPause', () => {
  it('is over before anything failed', () => {
    const { pause: fresh } = pause();
    expect(fresh.isFailing).toBe(false);
    expect(fresh.isOver(false)).toBe(true);
  });

  it('grows with each failure and begins anew after a success', () => {
    const { clock, pause: growing } = pause();
    growing.begin();
    growing.begin();
    clock.advance(199);
    expect(growing.isOver(false)).toBe(false);
    clock.advance(1);
    expect(growing.isOver(false)).toBe(true);
    growing.clear();
    expect(growing.isFailing).toBe(false);
    growing.begin();
    clock.advance(100);
    expect(growing.isOver(false)).toBe(true);
  });

  it.each([
    [1, 100],
    [3, 100],
    [4, 200],
    [9, 250],
  ])(
    'is over for a call that asks after a quarter, and not before the shortest time: %i failures',
    (failures, ms) => {
      const { clock, pause: long } = pause();
      for (let i = 0; i < failures; i++) long.begin();
      clock.advance(ms - 1);
      expect(long.isOver(true)).toBe(false);
      clock.advance(1);
      expect(long.isOver(true)).toBe(true);
      expect(long.isOver(false)).toBe(failures === 1);
    },
  );

  it('runs a task once at its end', () => {
    const { clock, pause: armed } = pause();
    const fired: number[] = [];
    armed.begin();
    armed.arm(() => fired.push(clock.now()));
    armed.arm(() => fired.push(-1));
    clock.advance(99);
    expect(fired).toEqual([]);
    clock.advance(1);
    expect(fired).toEqual([100]);
    expect(clock.pendingTimers).toBe(0);
  });

  it('leaves no timer behind when it is cancelled or cleared', () => {
    const { clock, pause: armed } = pause();
    armed.begin();
    armed.arm(() => undefined);
    armed.cancel();
    armed.arm(() => undefined);
    armed.clear();
    expect(clock.pendingTimers).toBe(0);
  });

  it('is over once its timer has fired, even if the timer was early', () => {
    let fire: (() => void) | undefined;
    const stopped: Clock = {
      now: () => 0,
      after: (_ms, task) => {
        fire = task;
        return { cancel: () => undefined };
      },
      soon: () => undefined,
      yield: () => undefined,
    };
    const early = new RetryPause(stopped, { initial: 100, max: 1000 });
    early.begin();
    early.arm(() => undefined);
    expect(early.isOver(false)).toBe(false);
    fire!();
    expect(early.isOver(false)).toBe(true);
  });
});
