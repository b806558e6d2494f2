import { MIN_FRAME_SIZE } from '../wire/frame.js';
import { Kind } from '../wire/kind.js';
import type { Sender } from '../wire/mux-writer.js';
import type { SendWindow } from './send-window.js';
import type { StreamHost } from './stream-host.js';
import type { Payload, Stream } from './stream.js';

/** Something that a stream wants to send and that had to wait. */
export interface SendOp {
  readonly kind: Kind;
  /** Owned by the queue until it has been appended. Text becomes bytes when its turn comes. */
  readonly data: Payload | undefined;
  /** Bytes on the wire, without headers. */
  readonly size: number;
  /** What an Error frame tells the receivers of this end. */
  readonly cause: Error | undefined;
  /** Bytes that were appended already: frames of a message whose rest waits. */
  sent: number;
}

/** A stream hands its turn on after so many bytes. */
const TURN_SIZE = 64 * 1024;
/** What waits costs this much beside its bytes, as measured: an op, a Buffer or a text of its own. */
export const OP_OVERHEAD = 192;

const NOTHING: SendOp[] = [];

/**
 * What a stream has still to send, in order; it stands in the writer's ring and appends when its turn comes.
 * Made when first needed: most streams never wait.
 */
export class SendQueue implements Sender {
  readonly #stream: Stream;
  readonly #host: StreamHost;
  readonly #window: SendWindow | undefined;
  #ops = NOTHING;
  #head = 0;
  #bytes = 0;
  /** What the host was told of them. */
  #counted = 0;
  /** The first op has been debited from the window already. */
  #isDebited = false;
  /** Holds one of the writer's places for messages of several frames. */
  #hasPlace = false;
  /** The first op's text in bytes, lent by the pool: it needs several frames and its first has been appended. */
  #encoded: Buffer | undefined;
  #drained: { promise: Promise<void>; resolve: () => void; reject: (error: Error) => void } | undefined;

  constructor(stream: Stream, host: StreamHost, window: SendWindow | undefined) {
    this.#stream = stream;
    this.#host = host;
    this.#window = window;
  }

  /** What waits, in bytes of memory: data, that of half-sent messages included, and what keeps it. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether a message waits; an Invoke alone is none. */
  get hasMessage(): boolean {
    const waiting = this.#ops.length - this.#head;
    return waiting > 1 || (waiting === 1 && this.#ops[this.#head]!.kind === Kind.Message);
  }

  get isEmpty(): boolean {
    return this.#head === this.#ops.length;
  }

  /** @param size of `data` in bytes */
  push(kind: Kind, data: Payload | undefined, size: number, cause?: Error): void {
    if (this.#ops === NOTHING) this.#ops = [];
    this.#ops.push({ kind, data, size, cause, sent: 0 });
    this.#bytes += OP_OVERHEAD + size;
    this.#count();
  }

  /** Resolves when nothing waits; rejects with the error that {@link failDrained} is given. */
  drained(): Promise<void> {
    if (!this.#drained) {
      let resolve!: () => void;
      let reject!: (error: Error) => void;
      const promise = new Promise<void>((res, rej) => {
        resolve = res;
        reject = rej;
      });
      // Nobody may be listening any more when the stream ends.
      promise.catch(() => undefined);
      this.#drained = { promise, resolve, reject };
    }
    return this.#drained.promise;
  }

  /** Called by the writer when it is this stream's turn. */
  pump(): boolean {
    const stream = this.#stream;
    if (stream.isTerminated) return false;
    const split = this.#splitSize();
    let written = 0;
    let mayGoOn = true;
    while (mayGoOn && written < TURN_SIZE && !stream.isTerminated) {
      const op = this.#ops[this.#head];
      if (!op) break;
      const size = op.size - op.sent;
      if (op.kind !== Kind.Message) {
        this.#shift();
        // Before the stream ends with it: everything was sent.
        if (this.isEmpty) this.#tellDrained();
        stream.appendWaiting(op);
      } else mayGoOn = this.#pumpMessage(op, split);
      written += MIN_FRAME_SIZE + Math.min(size, split);
    }
    this.#count();
    if (this.isEmpty) this.#tellDrained();
    return mayGoOn && !this.isEmpty;
  }

  /** The stream has ended: drops what waits. */
  clear(): void {
    this.#ops = NOTHING;
    this.#head = 0;
    this.#bytes = 0;
    this.#count();
    this.#host.writer.remove(this);
    this.#leavePlace();
    this.#forgetEncoded();
  }

  /** Tells who waits for {@link drained} that it will not happen. */
  failDrained(error: () => Error): void {
    const drained = this.#drained;
    if (!drained) return;
    this.#drained = undefined;
    drained.reject(error());
  }

  /** Appends the next frame of a message; false when it has to wait for credit or a place. */
  #pumpMessage(op: SendOp, split: number): boolean {
    const { sent } = op;
    const { writer } = this.#host;
    const size = Math.min(split, op.size - sent);
    const isSplit = op.size > split;
    if (sent === 0) {
      if (!this.#isDebited) {
        this.#isDebited = true;
        this.#window?.acquire(size);
      }
      if (this.#window && this.#window.balance < 0 && size > 0) return false;
      if (isSplit && !this.#hasPlace) {
        if (!writer.beginMessage(this)) return false;
        this.#hasPlace = true;
      }
    } else this.#window?.debit(size);
    op.sent = sent + size;
    const isDone = op.sent === op.size;
    if (typeof op.data === 'string' && !isSplit) this.#stream.appendText(op.data, size);
    else this.#stream.appendPart(this.#bytesOf(op), sent, op.sent, isDone);
    if (!isDone) return true;
    this.#isDebited = false;
    this.#leavePlace();
    this.#forgetEncoded();
    this.#shift();
    return true;
  }

  /** The data of the first op. Few messages are unfinished at once, so that few texts lie here twice. */
  #bytesOf(op: SendOp): Uint8Array {
    if (typeof op.data !== 'string') return op.data!;
    if (!this.#encoded) {
      this.#encoded = this.#host.pool.get(op.size);
      this.#encoded.write(op.data, 0, op.size);
    }
    return this.#encoded;
  }

  #forgetEncoded(): void {
    if (!this.#encoded) return;
    this.#host.pool.put(this.#encoded);
    this.#encoded = undefined;
  }

  #splitSize(): number {
    const { splitSize } = this.#host.limits;
    // A frame may take half of the window at most, or withheld credit could strand it.
    return this.#window ? Math.min(splitSize, Math.floor(this.#host.sendWindow / 2)) : splitSize;
  }

  /** Takes the first op out; all of it has been appended. */
  #shift(): void {
    this.#bytes -= OP_OVERHEAD + this.#ops[this.#head]!.size;
    this.#head++;
    if (this.#head === this.#ops.length) {
      this.#ops = [];
      this.#head = 0;
    } else if (this.#head >= 1024) {
      this.#ops.splice(0, this.#head);
      this.#head = 0;
    }
  }

  /** Tells the host by how much more or less waits than it knows. */
  #count(): void {
    const delta = this.#bytes - this.#counted;
    if (delta === 0) return;
    this.#counted = this.#bytes;
    this.#host.countQueued(this.#stream, delta);
  }

  #leavePlace(): void {
    if (!this.#hasPlace) return;
    this.#hasPlace = false;
    this.#host.writer.endMessage();
  }

  #tellDrained(): void {
    const drained = this.#drained;
    if (!drained) return;
    this.#drained = undefined;
    drained.resolve();
  }
}
