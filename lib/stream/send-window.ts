/**
 * The credit of a stream's sender: message bytes it may send before the receiver has granted more.
 *
 * The first frame of a message debits its size and waits while the balance is below zero; later frames
 * debit without waiting (overdraft), so that a message larger than the window always completes. Grants
 * repay debt first.
 * @see cockroachdb/drpc drpcstream/send_window.go; docs/protocol.md, windows
 */
export class SendWindow {
  #balance: number;

  constructor(size: number) {
    this.#balance = size;
  }

  /** Bytes that may be sent now; below zero: debt. */
  get balance(): number {
    return this.#balance;
  }

  /** Debits the first frame of a message. Answers whether it may go now; otherwise it waits for a grant. */
  acquire(size: number): boolean {
    this.#balance -= size;
    return this.#balance >= 0 || size === 0;
  }

  /** Debits a later frame, which never waits. */
  debit(size: number): void {
    this.#balance -= size;
  }

  /** Adds credit. Answers true when the balance was below zero and no longer is: who waits may go. */
  grant(size: number): boolean {
    const before = this.#balance;
    this.#balance = Math.min(before + size, Number.MAX_SAFE_INTEGER);
    return before < 0 && this.#balance >= 0;
  }
}
