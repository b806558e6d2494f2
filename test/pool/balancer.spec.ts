import { describe, expect, it } from 'vitest';
import { Balancer, type BalancePolicy } from '../../lib/pool/balancer.js';

class Candidate {
  readonly name: string;
  load: number;
  hasRoom: boolean;

  constructor(name: string, load = 0, hasRoom = true) {
    this.name = name;
    this.load = load;
    this.hasRoom = hasRoom;
  }
}

function picks(policy: BalancePolicy, candidates: readonly Candidate[], count: number): string {
  const balancer = new Balancer(policy);
  return Array.from({ length: count }, () => balancer.pick(candidates)?.name ?? '-').join('');
}

describe('Balancer', () => {
  it.each(['roundRobin', 'leastLoaded'] as const)(
    '%s finds nobody among none and among full ones',
    (policy) => {
      expect(picks(policy, [], 1)).toBe('-');
      expect(picks(policy, [new Candidate('a', 0, false)], 1)).toBe('-');
    },
  );

  it('roundRobin takes each in turn, whatever its load', () => {
    expect(picks('roundRobin', [new Candidate('a', 9), new Candidate('b'), new Candidate('c')], 7)).toBe(
      'abcabca',
    );
  });

  it('roundRobin passes over those without room', () => {
    expect(
      picks('roundRobin', [new Candidate('a'), new Candidate('b', 0, false), new Candidate('c')], 4),
    ).toBe('acac');
  });

  it('leastLoaded takes the one with the fewest calls', () => {
    const candidates = [new Candidate('a', 3), new Candidate('b', 1), new Candidate('c', 2)];
    expect(picks('leastLoaded', candidates, 3)).toBe('bbb');
  });

  it('leastLoaded takes equals in turn', () => {
    const candidates = [new Candidate('a', 1), new Candidate('b', 2), new Candidate('c', 1)];
    expect(picks('leastLoaded', candidates, 4)).toBe('acac');
    expect(picks('leastLoaded', [new Candidate('a'), new Candidate('b')], 4)).toBe('abab');
  });

  it('leastLoaded passes over an idle one without room', () => {
    expect(picks('leastLoaded', [new Candidate('a', 0, false), new Candidate('b', 5)], 2)).toBe('bb');
  });

  it('goes on where it was when the candidates change', () => {
    const balancer = new Balancer('roundRobin');
    const [a, b, c] = [new Candidate('a'), new Candidate('b'), new Candidate('c')];
    balancer.pick([a, b, c]);
    balancer.pick([a, b, c]);
    balancer.pick([a, b, c]);
    expect(balancer.pick([a, b])?.name).toBe('b');
  });
});
