import { Logger } from '@nestjs/common';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { LimitedLog } from '../../lib/bridge/limited-log.js';
import { VirtualClock } from '../helpers/virtual-clock.js';

describe('LimitedLog', () => {
  let lines: string[];
  let clock: VirtualClock;
  let logger: Logger;
  let log: LimitedLog;

  beforeEach(() => {
    lines = [];
    clock = new VirtualClock();
    logger = new Logger();
    vi.spyOn(logger, 'warn').mockImplementation((line: string) => void lines.push(line));
    log = new LimitedLog(logger, clock);
  });

  it('writes ten lines in ten seconds, and says at their end how many it left out', () => {
    for (let i = 1; i <= 15; i++) log.warn(`line ${i}`);
    expect(lines).toHaveLength(10);
    expect(lines.at(-1)).toBe('line 10');
    clock.advance(9_999);
    log.warn('still too early');
    expect(lines).toHaveLength(10);
    clock.advance(1);
    log.warn('late enough');
    expect(lines.slice(10)).toEqual(['6 more lines like these were left out', 'late enough']);
  });

  it('says nothing of lines left out where there were none', () => {
    log.warn('one');
    clock.advance(10_000);
    log.warn('two');
    expect(lines).toEqual(['one', 'two']);
  });

  it('keeps no timer where nothing is written', () => {
    log.warn('one');
    clock.advance(10_000);
    expect(clock.pendingTimers).toBe(0);
  });

  it('says before its time how many it left out when it is told to, once', () => {
    log.flush();
    for (let i = 1; i <= 12; i++) log.warn(`line ${i}`);
    log.flush();
    log.flush();
    expect(lines.slice(10)).toEqual(['2 more lines like these were left out']);
    expect(clock.pendingTimers).toBe(0);
  });

  it('lets no logger that throws end the process from a timer', () => {
    for (let i = 1; i <= 12; i++) log.warn(`line ${i}`);
    vi.spyOn(logger, 'warn').mockImplementation(() => {
      throw new Error('any');
    });
    expect(() => clock.advance(10_000)).not.toThrow();
  });
});
