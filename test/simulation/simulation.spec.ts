import { describe, expect, it } from 'vitest';

import { simulate, Violation } from './simulation.js';

/** Seeds of an ordinary test run; `npm run simulate -- --seeds N` goes on as long as asked. */
const SEEDS = 200;

const OUTCOMES = [
  'ok',
  'canceled',
  'closed',
  'connection lost',
  'deadline',
  'exhausted',
  'handler: cancel',
  'handler: error',
  'handler: fail',
  'handler: throw',
  'left',
  'not begun',
  'not connected',
  'not opened',
  'refused',
];

describe('simulate', () => {
  it(
    `breaks no rule in ${SEEDS} scenarios, which come to every kind of end`,
    { timeout: 60_000 },
    async () => {
      const failures: string[] = [];
      const outcomes = new Map<string, number>();
      for (let seed = 1; seed <= SEEDS; seed++) {
        try {
          const run = await simulate(seed);
          for (const [outcome, count] of run.outcomes)
            outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + count);
        } catch (error) {
          failures.push(`npm run simulate -- --seed ${seed} --log\n${String(error)}`);
        }
      }
      expect(failures).toEqual([]);
      expect([...outcomes.keys()].sort()).toEqual([...OUTCOMES].sort());
    },
  );

  it('runs a seed the same way each time', async () => {
    for (const seed of [3, 42, 113]) {
      const first = await simulate(seed);
      expect(await simulate(seed)).toEqual(first);
    }
  });
});

describe('Violation', () => {
  it('carries what led to it', () => {
    const violation = new Violation('call 1: no end', ['0.0 seed 1'], new Error('call 1: no end'));
    expect(violation.log).toEqual(['0.0 seed 1']);
  });
});
