/** How calls are spread over connections. */
export type BalancePolicy = 'roundRobin' | 'leastLoaded';

/** Something that takes calls. */
export interface Balanced {
  /** Calls it has. */
  readonly load: number;
  /** Whether it takes one more. */
  readonly hasRoom: boolean;
}

/**
 * Picks where the next call goes: in turn, or where the fewest are; among equals in turn as well, so that a
 * fresh set of connections is not filled from its front.
 */
export class Balancer {
  readonly #policy: BalancePolicy;
  #next = 0;

  constructor(policy: BalancePolicy) {
    this.#policy = policy;
  }

  /** One of `candidates` that has room; `undefined` when none has. */
  pick<T extends Balanced>(candidates: readonly T[]): T | undefined {
    const count = candidates.length;
    let found = -1;
    for (let i = 0; i < count; i++) {
      const at = (this.#next + i) % count;
      const candidate = candidates[at]!;
      if (!candidate.hasRoom) continue;
      if (found >= 0 && candidate.load >= candidates[found]!.load) continue;
      found = at;
      if (this.#policy === 'roundRobin' || candidate.load === 0) break;
    }
    if (found < 0) return undefined;
    this.#next = found + 1;
    return candidates[found];
  }
}
