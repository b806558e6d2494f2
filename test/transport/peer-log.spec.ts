import { Logger } from '@nestjs/common';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { PeerLog } from '../../lib/transport/peer-log.js';

describe('PeerLog', () => {
  let lines: string[];
  let now: number;
  let log: PeerLog;

  beforeEach(() => {
    lines = [];
    now = 1000;
    const logger = new Logger();
    vi.spyOn(logger, 'warn').mockImplementation((line: string) => void lines.push(line));
    log = new PeerLog(logger, () => now);
  });

  it('writes ten lines in ten seconds, and says later how many it left out', () => {
    for (let i = 1; i <= 15; i++) log.warn(`line ${i}`);
    expect(lines).toHaveLength(10);
    expect(lines.at(-1)).toBe('line 10');
    now += 9_999;
    log.warn('still too early');
    expect(lines).toHaveLength(10);
    now += 1;
    log.warn('late enough');
    expect(lines.slice(10)).toEqual(['6 more lines like these were left out', 'late enough']);
  });

  it('says nothing of lines left out where there were none', () => {
    log.warn('one');
    now += 10_000;
    log.warn('two');
    expect(lines).toEqual(['one', 'two']);
  });
});
