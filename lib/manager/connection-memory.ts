import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import type { Stream } from '../stream/stream.js';
import type { ActiveStreams } from './active-streams.js';
import type { Admission } from './admission.js';
import type { BudgetMember, MemoryBudget } from './memory-budget.js';

/** What the memory of a connection needs of it. */
export interface MemoryHost {
  readonly streams: ActiveStreams;
  /** Streams whose Invoke waits for the writer; they have no id yet. */
  readonly unnumbered: ReadonlySet<Stream>;
  readonly admission: Admission;
  /** Something ended, or did not begin, for want of memory. */
  overloaded(error: DrpcError): void;
  terminate(cause: Error): void;
}

/**
 * What a connection holds for what it received: messages that wait, unfinished ones, and metadata. When it is too much,
 * alone or with that of other connections, what holds most has to go.
 */
export class ReceivedMemory implements BudgetMember {
  readonly #host: MemoryHost;
  readonly #limit: number;
  readonly #budget: MemoryBudget | undefined;
  /** Streams that ended while messages wait for their receiver. */
  readonly #undrained = new Set<Stream>();
  #heldBytes = 0;
  #isOver = false;

  constructor(host: MemoryHost, limit: number, budget: MemoryBudget | undefined) {
    this.#host = host;
    this.#limit = limit;
    this.#budget = budget;
    budget?.join(this);
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** `delta` bytes more (or less) are held; may free some in here. */
  count(delta: number): void {
    this.#heldBytes += delta;
    this.#budget?.count(delta);
    if (delta <= 0 || this.#heldBytes <= this.#limit) return;
    this.freeMost(`${this.#heldBytes} bytes on this connection, where at most ${this.#limit} may be`);
  }

  /** The same, for what a stream holds. */
  countFor(stream: Stream, delta: number): void {
    this.count(delta);
    if (delta > 0 || !stream.isTerminated || stream.heldBytes > 0) return;
    this.#undrained.delete(stream);
    this.#leaveBudget();
  }

  /** A stream has ended; what it holds is counted until it has been taken. */
  finished(stream: Stream): void {
    if (stream.heldBytes > 0) this.#undrained.add(stream);
  }

  /** The connection has ended; it is counted as long as handlers have not taken what it had received. */
  end(): void {
    this.#isOver = true;
    this.#leaveBudget();
  }

  /** Does not throw: whoever counts may be another connection. */
  freeMost(excess: string): void {
    const { streams, admission } = this.#host;
    let greatest = streams.greatest((stream) => stream.heldBytes);
    for (const stream of this.#undrained) {
      if (!greatest || stream.heldBytes > greatest.heldBytes) greatest = stream;
    }
    const pending = admission.greatestPending;
    if (pending > (greatest ? greatest.heldBytes : 0)) return this.#evictPending(excess, pending);
    if (!greatest) return;
    const error = new DrpcError(
      DrpcCode.ResourceExhausted,
      `too much memory is held for messages that nobody reads and for metadata: ${excess}; the stream that holds most ends (${greatest.heldBytes} bytes)`,
    );
    greatest.evict(error);
    this.#host.overloaded(error);
  }

  #evictPending(excess: string, bytes: number): void {
    const refusal = new DrpcError(
      DrpcCode.ResourceExhausted,
      `too much memory is held for messages and metadata: ${excess}; the call that holds most does not begin (${bytes} bytes)`,
    );
    try {
      this.#host.admission.evictGreatest(refusal);
    } catch (error) {
      this.#host.terminate(DrpcError.from(error));
    }
    this.#host.overloaded(refusal);
  }

  #leaveBudget(): void {
    if (this.#isOver && this.#heldBytes === 0) this.#budget?.leave(this);
  }
}

/** What a connection holds for what waits to be sent; the stream that holds most ends when it is too much. */
export class QueuedMemory implements BudgetMember {
  readonly #host: MemoryHost;
  readonly #limit: number;
  readonly #budget: MemoryBudget | undefined;
  #heldBytes = 0;

  constructor(host: MemoryHost, limit: number, budget: MemoryBudget | undefined) {
    this.#host = host;
    this.#limit = limit;
    this.#budget = budget;
    budget?.join(this);
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** `delta` bytes more (or less) wait on `stream`, which may be in no set yet. */
  countFor(stream: Stream, delta: number): void {
    this.#heldBytes += delta;
    this.#budget?.count(delta);
    if (delta <= 0 || this.#heldBytes <= this.#limit) return;
    this.#failMost(
      `${this.#heldBytes} bytes on this connection, where at most ${this.#limit} may be`,
      stream,
    );
  }

  /** The connection has ended: nothing waits any more. */
  end(): void {
    this.#budget?.leave(this);
  }

  freeMost(excess: string): void {
    this.#failMost(excess);
  }

  #failMost(excess: string, counted?: Stream): void {
    const { streams, unnumbered } = this.#host;
    let greatest = streams.greatest((stream) => stream.queuedBytes) ?? counted;
    for (const stream of unnumbered) {
      if (!greatest || stream.queuedBytes > greatest.queuedBytes) greatest = stream;
    }
    if (!greatest) return;
    const error = new DrpcError(
      DrpcCode.ResourceExhausted,
      `too much waits to be sent: ${excess}; the stream that holds most ends (${greatest.queuedBytes} bytes)`,
    );
    greatest.fail(error);
    this.#host.overloaded(error);
  }
}
