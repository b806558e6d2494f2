import { DrpcError } from '../../lib/errors/drpc-error.js';
import type { Stream, StreamSink } from '../../lib/stream/stream.js';

/** An error as a short line: its class or code, and its message. */
export function describeError(error: unknown): string {
  if (!(error instanceof DrpcError)) return String(error);
  const kind = error.name === 'DrpcError' ? `code ${error.code}` : error.name;
  return `${kind}: ${error.message}`;
}

/** A sink that writes down what it is told, in order; messages as text, or as sizes when they are long. */
export class Recorder implements StreamSink {
  readonly events: string[] = [];
  /** Errors told with `end`, in full. */
  readonly causes: (Error | undefined)[] = [];
  /** Runs inside the callbacks, for what a sink may do to its stream. */
  during: { message?: (text: string) => void; end?: () => void; terminated?: () => void } = {};
  #taken = 0;

  message(bytes: Buffer, start: number, end: number, isLast: boolean): void {
    const text = bytes.toString('latin1', start, end);
    const shown = text.length > 64 ? `<${text.length} bytes>` : text;
    this.events.push(`message ${shown}${isLast ? ' (last)' : ''}`);
    this.during.message?.(text);
  }

  end(cause: Error | undefined): void {
    this.causes.push(cause);
    this.events.push(cause ? `end ${describeError(cause)}` : 'end');
    this.during.end?.();
  }

  terminated(): void {
    this.events.push('terminated');
    this.during.terminated?.();
  }

  /** What happened since this was last called. */
  take(): string[] {
    const events = this.events.slice(this.#taken);
    this.#taken = this.events.length;
    return events;
  }
}

/** What a send on `stream` meets now: `ok`, or the error it throws. */
export function trySend(stream: Stream, data: Uint8Array | string = 'x'): string {
  try {
    stream.trySend(data);
    return 'ok';
  } catch (error) {
    return describeError(error);
  }
}

/** What `promise` comes to: `resolved`, or the error it rejects with. */
export async function outcome(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => 'resolved', describeError);
}

/** The error that `action` throws. @throws when it does not. */
export function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}
