import { DrpcError } from '../errors/drpc-error.js';
import { marshalChecked, unmarshalMessage, type Encoding } from '../encoding/encoding.js';
import { undecodable, type Reader } from '../encoding/undecodable.js';
import type { Stream, StreamSink } from '../stream/stream.js';

/** Somebody who wants the next message. */
interface Waiter<T> {
  resolve(value: T): void;
  /** There is none. */
  end(): void;
  reject(error: Error): void;
}

/** What a loop is told at the end: `undefined` may be a message. */
const END = Symbol('end');

/**
 * A stream as values and promises: the pull side of both ends. Each `msgRecv` asks the peer's stream for
 * one more message, so its pace reaches the producer.
 */
export class RpcStream<TSend = unknown, TReceive = unknown> implements StreamSink, AsyncIterable<TReceive> {
  readonly #stream: Stream;
  readonly #encoding: Encoding;
  readonly #side: Reader;
  readonly #waiters: Waiter<TReceive>[] = [];
  #isOver = false;
  #cause: Error | undefined;
  #abort: AbortController | undefined;
  #onTerminated: (() => void) | undefined;

  /**
   * @param open makes the stream with this object as its sink
   * @param side of the connection: whose fault it is that a message can not be decoded
   */
  constructor(open: (sink: StreamSink) => Stream, encoding: Encoding, side: Reader = 'client') {
    this.#encoding = encoding;
    this.#side = side;
    this.#stream = open(this);
  }

  get rpc(): string {
    return this.#stream.rpc;
  }

  /** What the client sent with its call (server). */
  get metadata(): Readonly<Record<string, string>> {
    return this.#stream.metadata ?? EMPTY;
  }

  /** Whether the stream has ended in both directions. */
  get isTerminated(): boolean {
    return this.#stream.isTerminated;
  }

  /** Aborts when the stream ends before its time, with the cause as reason. Made when first asked for. */
  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (this.#stream.isTerminated && this.#stream.cause) this.#abort.abort(this.#stream.cause);
    }
    return this.#abort.signal;
  }

  /**
   * Sends one message; resolves when there is room for the next.
   * @throws EofError once the stream takes no more, MessageSizeError over the limit, DrpcError when the
   *   value can not be encoded.
   */
  async msgSend(value: TSend): Promise<void> {
    await this.#stream.msgSend(this.#marshal(value));
  }

  /**
   * The next message; `undefined` at the ordinary end.
   * @throws what ended the stream, or a DrpcError when the message can not be decoded (the next can):
   *   code 13 for an answer, 3 for a request.
   */
  msgRecv(): Promise<TReceive | undefined> {
    return new Promise((resolve, reject) => {
      this.#wait({ resolve, end: () => resolve(undefined), reject });
    });
  }

  /** No more messages will follow. */
  closeSend(): void {
    this.#stream.closeSend();
  }

  /** Ends the stream in both directions. */
  close(): void {
    this.#stream.close();
  }

  /** Ends the stream with an error for the peer. */
  sendError(error: DrpcError): void {
    this.#stream.sendError(error);
  }

  /** Gives the rpc up and tells the peer. */
  sendCancel(cause?: Error): void {
    this.#stream.sendCancel(cause);
  }

  /** Says that nobody reads any more: what was received and still comes is dropped. */
  discard(): void {
    this.#stream.request(Infinity);
  }

  /** Leaving the loop early gives the rpc up. */
  async *[Symbol.asyncIterator](): AsyncGenerator<TReceive, void, void> {
    try {
      for (;;) {
        const message = await new Promise<TReceive | typeof END>((resolve, reject) => {
          this.#wait({ resolve, end: () => resolve(END), reject });
        });
        if (message === END) return;
        yield message;
      }
    } finally {
      if (!this.#isOver) {
        this.#stream.sendCancel();
        this.discard();
      }
    }
  }

  /** @internal */
  onTerminated(task: () => void): void {
    if (this.#stream.isTerminated) task();
    else this.#onTerminated = task;
  }

  /** @internal */
  message(bytes: Buffer, start: number, end: number): void {
    const waiter = this.#waiters.shift();
    if (!waiter) return;
    try {
      waiter.resolve(unmarshalMessage(this.#encoding, this.#stream, bytes, start, end) as TReceive);
    } catch (error) {
      waiter.reject(undecodable(this.#side, this.rpc, this.#encoding.name, error));
    }
  }

  /** @internal */
  end(cause: Error | undefined): void {
    this.#isOver = true;
    this.#cause = cause;
    for (const waiter of this.#waiters.splice(0)) {
      if (cause) waiter.reject(cause);
      else waiter.end();
    }
  }

  /** @internal */
  terminated(): void {
    // A stream that ended in its constructor has not been assigned yet.
    const cause = (this.#stream as Stream | undefined)?.cause;
    if (cause) this.#abort?.abort(cause);
    this.#onTerminated?.();
  }

  #marshal(value: TSend): Uint8Array | string {
    try {
      return marshalChecked(this.#encoding, value);
    } catch (error) {
      throw DrpcError.from(error);
    }
  }

  #wait(waiter: Waiter<TReceive>): void {
    if (!this.#isOver) {
      this.#waiters.push(waiter);
      this.#stream.request(1);
    } else if (this.#cause) waiter.reject(this.#cause);
    else waiter.end();
  }
}

const EMPTY: Readonly<Record<string, string>> = Object.freeze(Object.create(null) as Record<string, string>);
