import type { Kind } from '../wire/kind.js';

/** Something that a stream wants to send and that had to wait. */
export interface SendOp {
  readonly kind: Kind;
  /** Owned by the queue until it has been appended. */
  readonly data: Uint8Array | undefined;
  /** Bytes of `data` that were appended already: frames of a message whose rest waits. */
  sent: number;
}

const NOTHING: SendOp[] = [];

/** What a stream has still to send, in order. Made when first needed; most streams never wait. */
export class SendQueue {
  #ops = NOTHING;
  #head = 0;
  #bytes = 0;

  /** Bytes of data that wait, those of half-sent messages included. */
  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#head === this.#ops.length;
  }

  /** The op whose turn it is. */
  get first(): SendOp | undefined {
    return this.#ops[this.#head];
  }

  push(kind: Kind, data: Uint8Array | undefined): void {
    if (this.#ops === NOTHING) this.#ops = [];
    this.#ops.push({ kind, data, sent: 0 });
    this.#bytes += data?.length ?? 0;
  }

  /** Takes the first op out; all of it has been appended. */
  shift(): void {
    this.#bytes -= this.#ops[this.#head]!.data?.length ?? 0;
    this.#head++;
    if (this.#head === this.#ops.length) {
      this.#ops = [];
      this.#head = 0;
    } else if (this.#head >= 1024) {
      this.#ops.splice(0, this.#head);
      this.#head = 0;
    }
  }

  clear(): void {
    this.#ops = NOTHING;
    this.#head = 0;
    this.#bytes = 0;
  }
}
