/** How a call, or a receive on its stream, came out: what a program would branch on. */
export type Outcome =
  | `message ${string}`
  /** The ordinary end. */
  | 'end'
  | 'canceled'
  | 'deadline'
  /** The error that a test's handler meant to send. */
  | 'marker'
  | `code ${number}`;

/** The error that handlers of the tests send on purpose. */
export const MARKER = { code: 9, message: 'marker' } as const;

/** What an error of either library means. */
export function classify(code: number | undefined, message: string): Outcome {
  if (code === 1) return 'canceled';
  if (code === 4) return 'deadline';
  if (code === MARKER.code && message === MARKER.message) return 'marker';
  return `code ${code ?? 2}`;
}

/** What a call may bring along. */
export interface CallOptions {
  signal?: AbortSignal;
  timeout?: number;
  metadata?: Record<string, string>;
}

/** A stream as a test's client sees it. */
export interface ClientStream {
  send(value: string): void;
  closeSend(): void;
  recv(): Promise<Outcome>;
  cancel(): void;
}

/** A stream as a test's handler sees it. */
export interface ServerStream {
  readonly metadata: Record<string, string>;
  send(value: string): void;
  /** The next message, `'end'`, or why there is none. */
  recv(): Promise<Outcome>;
  /** Resolves when the client has given the call up, or its connection is gone. */
  readonly gone: Promise<void>;
}

/** Serves one call. What it throws is sent if it is the marker; anything else is a fault of the handler. */
export type StreamHandler = (stream: ServerStream) => Promise<void>;
/** Serves one request with one answer. */
export type UnaryHandler = (request: string, stream: ServerStream) => Promise<string>;

export interface Service {
  unary: Record<string, UnaryHandler>;
  stream: Record<string, StreamHandler>;
}

/** A server and a client of one library, connected over loopback. */
export interface Peer {
  unary(method: string, request: string, options?: CallOptions): Promise<Outcome>;
  stream(method: string, options?: CallOptions): ClientStream;
  /** Breaks the connection, as a server does that dies. */
  breakConnection(): void;
  close(): Promise<void>;
}

export interface PeerOptions {
  /** The largest message that either side takes. */
  maxMessageSize?: number;
}

export type StartPeer = (service: Service, options?: PeerOptions) => Promise<Peer>;

/** The error that sends {@link MARKER}. */
export class MarkerError extends Error {}

/** A queue of outcomes that its reader waits for; the last one, which is no message, is told again and again. */
export class Inbox {
  readonly #queued: Outcome[] = [];
  #waiting: ((outcome: Outcome) => void)[] = [];
  #last: Outcome | undefined;

  push(outcome: Outcome): void {
    if (this.#last) return;
    if (!outcome.startsWith('message')) this.#last = outcome;
    const waiter = this.#waiting.shift();
    if (waiter) waiter(outcome);
    else if (!this.#last) this.#queued.push(outcome);
    if (this.#last) for (const other of this.#waiting.splice(0)) other(this.#last);
  }

  recv(): Promise<Outcome> {
    const outcome = this.#queued.shift() ?? this.#last;
    return outcome ? Promise.resolve(outcome) : new Promise((resolve) => this.#waiting.push(resolve));
  }
}
