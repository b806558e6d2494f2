/** What a caller and a handler see of a call; the same words for gRPC and for DRPC. */
export class Seen {
  readonly events: string[] = [];
  readonly #waiting: { like: RegExp; resolve: () => void }[] = [];

  add(event: string): void {
    this.events.push(event);
    for (const waiter of this.#waiting) if (waiter.like.test(event)) waiter.resolve();
  }

  /** Resolves once something like this was seen. */
  until(like: RegExp): Promise<void> {
    if (this.events.some((event) => like.test(event))) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ like, resolve }));
  }
}

/** An error as both sides can tell it: its code, and the text where the handler chose it. */
export function describeFailure(code: number, message: string): string {
  return message.includes(MARKER) ? `error ${code} ${MARKER}` : `error ${code}`;
}

/** The text by which the tests know an error of the handler. */
export const MARKER = 'marker';
/** FailedPrecondition: nothing makes it by itself. */
export const MARKER_CODE = 9;

/** A call under way. */
export interface CompatCall {
  readonly client: Seen;
  send(text: string): void;
  closeSend(): void;
  cancel(): void;
}

/** The rpcs that both serve: what their handlers do. */
export const METHODS = {
  /** Answers each message with itself, and ends when the client does. */
  Echo: 'Echo',
  /** Answers the first message with an error. */
  Fail: 'Fail',
  /** Answers the first message with itself, then with an error. */
  FailAfter: 'FailAfter',
  /** Waits for its cancel, then throws. */
  Hang: 'Hang',
  /** Answers the first message and ends, whatever the client still sends. */
  Early: 'Early',
  /** Answers the first message without one of its own. */
  Nothing: 'Nothing',
  /** Served by nobody. */
  Unknown: 'Unknown',
} as const;

export type Method = keyof typeof METHODS;

/** gRPC, or this library. */
export interface Contestant {
  /** What the handlers saw, in the order of their calls. */
  readonly handlers: Seen;
  /** Starts a call with a stream in both directions. */
  stream(method: Method, timeout?: number): CompatCall;
  /** Starts a call with one message for one message. */
  unary(method: Method, text: string, timeout?: number): CompatCall;
  close(): Promise<void>;
}
