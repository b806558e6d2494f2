import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import { OP_OVERHEAD } from '../stream/send-queue.js';
import type { Payload } from '../stream/stream.js';

/** Takes the messages of a request stream. */
export interface RequestSink {
  /** Sends one message of a source that can not wait. False: it waits, and more than may wait ends the call. */
  trySend(payload: Payload): boolean;
  /** Sends one message. True: the next may follow at once; otherwise when the promise is kept, as it always is. */
  msgSend(payload: Payload): true | Promise<void>;
  /** No more messages will follow. */
  closeSend(): void;
  /** The source has failed: the call ends with this error, and the server is told behind what was sent. */
  fail(error: Error): void;
}

/** Where the messages of a request stream come from. */
export interface RequestFeed {
  /** Called once, when the call has reached a connection. */
  start(sink: RequestSink): void;
  /** Nothing more is wanted: the call has ended. May come before {@link start}. */
  stop(): void;
}

/** What a request stream has begun, and keeps while its call moves from one connection to another. */
export class Outbox {
  /** The source has been started. */
  isStarted = false;
  /** Something was given to a stream: the request can not be repeated any more. */
  hasSent = false;
  /** No more messages follow. */
  isClosed = false;

  readonly #limit: number;
  #kept: Payload[] = [];
  #keptSize = 0;
  #waiters: (() => void)[] = [];

  /** @param limit bytes that may be kept, or one message; counted as on a stream: each costs a little beside its own */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /**
   * Keeps a message until there is a stream again.
   * @throws DrpcError (ResourceExhausted) when too much is kept.
   */
  keep(payload: Payload): void {
    this.#kept.push(payload);
    this.#keptSize += OP_OVERHEAD + payload.length;
    if (this.#keptSize <= this.#limit || this.#kept.length === 1) return;
    throw new DrpcError(
      DrpcCode.ResourceExhausted,
      `${this.#keptSize} bytes wait for a connection: at most ${this.#limit} may`,
    );
  }

  /** There is a stream again: what was kept goes to `send`, and who waited goes on. */
  attach(send: (payload: Payload) => void): void {
    const kept = this.#kept;
    this.#kept = [];
    this.#keptSize = 0;
    for (const payload of kept) send(payload);
    this.wake();
  }

  /** Resolves at the next {@link attach} or {@link wake}. */
  attached(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resolve of waiters) resolve();
  }
}
