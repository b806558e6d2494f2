import { beforeEach, describe, expect, it } from 'vitest';
import { TurnWatch } from '../../lib/wire/turn-watch.js';
import { VirtualClock } from '../helpers/virtual-clock.js';

describe('TurnWatch', () => {
  let clock: VirtualClock;
  let watch: TurnWatch;

  beforeEach(() => {
    clock = new VirtualClock();
    watch = new TurnWatch(clock);
  });

  /** Which of so many frames should be written early. */
  function early(frames: number, msPerFrame: number): number[] {
    const found: number[] = [];
    for (let frame = 1; frame <= frames; frame++) {
      clock.advance(msPerFrame);
      if (watch.appended()) found.push(frame);
    }
    return found;
  }

  it('lets frames wait for the end of a turn that is short', () => {
    expect(early(1000, 0)).toEqual([]);
  });

  it('lets them go out when 0.2 ms have passed since the eighth, which it sees with each eighth', () => {
    expect(early(24, 0.01)).toEqual([]);
    watch.written();
    expect(early(24, 0.02)).toEqual([24]);
    watch.written();
    expect(early(40, 0.03)).toEqual([16, 24, 32, 40]);
  });

  it('counts anew after each write', () => {
    expect(early(16, 0.03)).toEqual([16]);
    watch.written();
    expect(early(15, 0.03)).toEqual([]);
    expect(early(1, 0.03)).toEqual([1]);
  });

  it('has writing stop for the event loop after 0.5 ms, counted from its first question', () => {
    clock.advance(10);
    expect(watch.isOver()).toBe(false);
    clock.advance(0.49);
    expect(watch.isOver()).toBe(false);
    clock.advance(0.02);
    expect(watch.isOver()).toBe(true);
    watch.began();
    expect(watch.isOver()).toBe(false);
  });
});
