import type { DrpcError } from '../errors/drpc-error.js';
import type { Linked } from '../pool/linked-list.js';
import type { DrpcContext } from './drpc.context.js';

/** A call or event that was accepted. */
export interface Call extends Linked<Call> {
  start(): void;
  /** Gives it up: the server goes down. */
  cancel(cause: DrpcError): void;
}

/** What the calls of a server need of it. */
export interface CallHost {
  /** Whether errors of a handler's own calls to other services are passed on. */
  readonly forwardErrors: boolean;
  /** Whether hooks watch the calls. */
  readonly isTraced: boolean;
  /** A handler begins; the error if it may not, because too many run. */
  begin(): DrpcError | undefined;
  /** A handler that began has ended. */
  ended(): void;
  /** A call that was accepted is over: its handler has ended and its answer was handed to the connection. */
  closed(call: Call): void;
  /** Runs `task` between the hooks; it calls `endHook` when the call has ended. */
  trace(
    context: DrpcContext,
    task: (endHook: () => void) => Promise<void>,
    failed: (error: unknown) => void,
  ): void;
  /** A handler failed in a way that nobody meant. Does not throw. */
  logFault(rpc: string, fault: unknown): void;
}
