/** Something whose memory a {@link MemoryBudget} counts. */
export interface BudgetMember {
  /** Bytes it holds now. */
  readonly heldBytes: number;
  /** Frees the largest part of it. `excess` says for whom, how much is held where, and how much may be. */
  freeMost(excess: string): void;
}

/**
 * A bound on the bytes that several connections hold together. When it is passed, the member that holds
 * most has to free something.
 */
export class MemoryBudget {
  readonly limit: number;
  readonly #members = new Set<BudgetMember>();
  #used = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  get used(): number {
    return this.#used;
  }

  join(member: BudgetMember): void {
    this.#members.add(member);
  }

  leave(member: BudgetMember): void {
    this.#members.delete(member);
  }

  count(delta: number): void {
    this.#used += delta;
    if (delta <= 0 || this.#used <= this.limit) return;
    let greatest: BudgetMember | undefined;
    for (const member of this.#members) {
      if (!greatest || member.heldBytes > greatest.heldBytes) greatest = member;
    }
    greatest?.freeMost(`${this.#used} bytes on all connections, where at most ${this.limit} may be`);
  }
}
