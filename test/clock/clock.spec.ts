import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MAX_DELAY, systemClock } from '../../lib/clock/clock.js';

describe('systemClock', () => {
  it('reads a clock that never goes back', () => {
    const first = systemClock.now();
    expect(systemClock.now()).toBeGreaterThanOrEqual(first);
  });

  it('runs what was put off to the end of the turn before what was put off behind I/O', async () => {
    const order: string[] = [];
    await new Promise<void>((resolve) => {
      systemClock.yield(() => {
        order.push('yield');
        resolve();
      });
      systemClock.soon(() => order.push('soon'));
      order.push('turn');
    });
    expect(order).toEqual(['turn', 'soon', 'yield']);
  });

  describe('after', () => {
    beforeEach(() => {
      vi.useFakeTimers();
    });
    afterEach(() => {
      vi.useRealTimers();
    });

    it('runs the task once, when its time has come', () => {
      const task = vi.fn<() => void>();
      systemClock.after(250, task);
      vi.advanceTimersByTime(249);
      expect(task).not.toHaveBeenCalled();
      vi.advanceTimersByTime(1000);
      expect(task).toHaveBeenCalledTimes(1);
    });

    it('does not run a task that was canceled, and takes a second cancel and one after the fact', () => {
      const task = vi.fn<() => void>();
      const early = systemClock.after(10, task);
      early.cancel();
      early.cancel();
      vi.advanceTimersByTime(20);
      expect(task).not.toHaveBeenCalled();
      const late = systemClock.after(10, task);
      vi.advanceTimersByTime(20);
      late.cancel();
      expect(task).toHaveBeenCalledTimes(1);
    });

    it.each([[MAX_DELAY + 1], [Number.MAX_SAFE_INTEGER], [Infinity]])(
      'does not run a task at once whose %s ms no timer of Node can hold',
      (ms) => {
        const task = vi.fn<() => void>();
        const timer = systemClock.after(ms, task);
        vi.advanceTimersByTime(MAX_DELAY - 1);
        expect(task).not.toHaveBeenCalled();
        timer.cancel();
      },
    );

    it('keeps no process alive', () => {
      const set = vi.spyOn(globalThis, 'setTimeout');
      const timer = systemClock.after(10, () => undefined);
      expect((set.mock.results[0]!.value as NodeJS.Timeout).hasRef()).toBe(false);
      timer.cancel();
      set.mockRestore();
    });
  });
});
