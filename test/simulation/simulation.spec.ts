import { describe, expect, it } from 'vitest';

import { simulatePool } from './pool-simulation.js';
import { simulate, Violation, type Run } from './simulation.js';

/** Seeds of an ordinary test run; `npm run simulate -- --seeds N` goes on as long as asked. */
const SEEDS = 200;

const CONNECTION_OUTCOMES = [
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

const POOL_OUTCOMES = [
  'ok',
  'canceled',
  'client closed',
  'deadline',
  'exhausted',
  'handler: cancel',
  'handler: error',
  'handler: fail',
  'handler: throw',
  'queue full',
  'refused',
  'unavailable',
];

const SIMULATIONS: [string, (seed: number) => Promise<Run>, string[], string[]][] = [
  [
    'connection',
    simulate,
    CONNECTION_OUTCOMES,
    [
      'reading stood still',
      'received messages waited',
      'messages waited to be sent',
      'many streams waited for the writer',
    ],
  ],
  ['pool', simulatePool, POOL_OUTCOMES, ['a call moved', 'a connection was old']],
];

describe.each(SIMULATIONS)('simulation of a %s', (name, run, outcomes, situations) => {
  it(
    `breaks no rule in ${SEEDS} scenarios, which come to every kind of end`,
    { timeout: 60_000 },
    async () => {
      const failures: string[] = [];
      const seen = new Set<string>();
      const met = new Set<string>();
      for (let seed = 1; seed <= SEEDS; seed++) {
        try {
          const result = await run(seed);
          for (const outcome of result.outcomes.keys()) seen.add(outcome);
          for (const situation of result.met) met.add(situation);
        } catch (error) {
          failures.push(`npm run simulate -- --of ${name} --seed ${seed} --log\n${String(error)}`);
        }
      }
      expect(failures).toEqual([]);
      expect([...seen].sort()).toEqual([...outcomes].sort());
      expect([...met].sort()).toEqual([...situations].sort());
    },
  );

  it('runs a seed the same way each time', async () => {
    for (const seed of [3, 42, 113]) {
      const first = await run(seed);
      expect(await run(seed)).toEqual(first);
    }
  });
});

describe('Violation', () => {
  it('carries what led to it', () => {
    const violation = new Violation('call 1: no end', ['0.0 seed 1'], new Error('call 1: no end'));
    expect(violation.log).toEqual(['0.0 seed 1']);
  });
});
