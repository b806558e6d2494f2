import { inspect } from 'node:util';
import { Logger } from '@nestjs/common';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { FaultLog } from '../../lib/transport/fault-log.js';
import { VirtualClock } from '../helpers/virtual-clock.js';

const FORGED = 'x\n\u001b[32m[Nest] 1  - LOG [Auth] admin logged in\u001b[2J';

describe('FaultLog', () => {
  let lines: [what: string, text?: string][];
  let clock: VirtualClock;
  let logger: Logger;
  let log: FaultLog;

  beforeEach(() => {
    lines = [];
    clock = new VirtualClock();
    logger = new Logger();
    vi.spyOn(logger, 'error').mockImplementation((...line: unknown[]) => {
      lines.push(line as [string, string]);
    });
    log = new FaultLog(logger, clock);
  });

  function textOf(fault: unknown): string {
    log.error('rpc "a" failed', fault);
    return lines.at(-1)![1]!;
  }

  it('writes what failed, and the fault as Node shows it', () => {
    const fault = new TypeError('größe is no number', { cause: new Error('inner') });
    log.error('rpc "a" failed', fault);
    expect(lines).toEqual([['rpc "a" failed', inspect(fault)]]);
  });

  it.each([undefined, null, 0, 'text', { code: 5 }, new Error('')])('writes %j as it is', (fault) => {
    expect(textOf(fault)).toBe(inspect(fault));
  });

  it('lets no message make a line of its own, and no control character through', () => {
    const text = textOf(new Error(FORGED));
    expect(text.split('\n')[0]).toBe('Error: x\\n\\x1b[32m[Nest] 1  - LOG [Auth] admin logged in\\x1b[2J');
    expect(text.split('\n')[1]).toMatch(/^ {4}at /);
  });

  it.each([
    ['a cause', new Error('outer', { cause: new Error(FORGED) })],
    ['an error among others', new AggregateError([new Error(FORGED)])],
    ['a name', Object.assign(new Error('any'), { name: FORGED })],
    ['a stack', Object.assign(new Error('any'), { stack: FORGED })],
    ['a text', FORGED],
    ['a view of its own', { [inspect.custom]: () => FORGED }],
  ])('keeps %s from it as well', (_where, fault) => {
    const [, ...others] = textOf(fault).split('\n');
    for (const line of others) expect(line).toMatch(/^(?:\s|[}\])])/);
    // oxlint-disable-next-line no-control-regex
    expect(textOf(fault)).not.toMatch(/[^\n\x20-\x7e]/);
  });

  it('cuts a long message, but not the stack behind it', () => {
    const text = textOf(new Error('A'.repeat(1_000_000)));
    expect(text).toMatch(/A\.\.\.\n {4}at /);
    expect(text.length).toBeLessThanOrEqual(8192);
  });

  it('cuts whatever else is long', () => {
    const text = textOf(Array.from({ length: 100 }, () => 'B'.repeat(1000)));
    expect(text).toMatch(/B\.\.\.$/);
    expect(text).toHaveLength(8192);
  });

  it('counts the faults of each rpc apart, and says at the end of ten seconds how many it left out', () => {
    for (let i = 1; i <= 25; i++) log.error('rpc "a" failed', i);
    expect(lines.map(([, text]) => text)).toEqual(['1', '2', '3', '4', '5', '6', '7', '8', '9', '10']);
    log.error('rpc "b" failed', 'first');
    expect(lines).toHaveLength(11);
    clock.advance(10_000);
    expect(lines.slice(11)).toEqual([['rpc "a" failed: 15 more faults were left out']]);
    log.error('rpc "a" failed', 26);
    expect(lines.at(-1)).toEqual(['rpc "a" failed', '26']);
  });

  it('says before its time how many it left out when it is told to', () => {
    for (let i = 1; i <= 12; i++) log.error('rpc "a" failed', i);
    log.flush();
    expect(lines.slice(10)).toEqual([['rpc "a" failed: 2 more faults were left out']]);
    expect(clock.pendingTimers).toBe(0);
  });

  it('survives a fault that throws when it is shown, and a logger that throws', () => {
    const angry = {
      [inspect.custom]: () => {
        throw new Error('any');
      },
    };
    expect(textOf(angry)).toBe('a fault that throws when it is shown');
    vi.spyOn(logger, 'error').mockImplementation(() => {
      throw new Error('any');
    });
    expect(() => log.error('rpc "a" failed', 1)).not.toThrow();
  });
});
