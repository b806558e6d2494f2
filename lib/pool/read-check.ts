import type { Timer } from '../clock/clock.js';
import type { PeerConn } from '../control/peer-conn.js';
import { ClosedError } from '../errors/drpc-error.js';
import type { Stream, StreamSink } from '../stream/stream.js';

/** An rpc that no server has: whoever reads answers at once that it is unknown. */
export const CHECK_RPC = '/nestjs.drpc.v1.Control/Check';

/** A server that reads on, and is near, has answered within so many ms. */
const PROMPT_TIME = 100;

/** What a check finds out. */
export interface ReadCheckHooks {
  /** The server has answered, also if that was too late. */
  passed(): void;
  /** It does not answer at once; it may yet. */
  delayed?(): void;
  /** It has not answered in time. */
  failed(cause: ClosedError): void;
}

/**
 * Finds out whether a server without windows still reads a connection. One that carries one call a connection stands
 * still, maybe for good, when a handler ends without taking all it was sent, or goes on after a Cancel; one that
 * carries many does when a handler takes no more of a full queue, and never reads the Cancel that lies behind it. The
 * next call would hang with it.
 */
export class ReadCheck implements StreamSink {
  readonly #conn: PeerConn;
  readonly #hooks: ReadCheckHooks;
  readonly #stream: Stream;
  #timer: Timer;

  /** @param timeout in ms */
  constructor(conn: PeerConn, timeout: number, hooks: ReadCheckHooks) {
    this.#conn = conn;
    this.#hooks = hooks;
    const { clock } = conn.manager;
    const fail = (): void =>
      hooks.failed(
        new ClosedError(`the server stopped reading: it answered nothing for ${timeout} ms after a call`),
      );
    const rest = timeout - PROMPT_TIME;
    if (rest <= 0) this.#timer = clock.after(timeout, fail);
    else {
      this.#timer = clock.after(PROMPT_TIME, () => {
        this.#timer = clock.after(rest, fail);
        hooks.delayed?.();
      });
    }
    this.#stream = conn.open(CHECK_RPC, this);
    this.#stream.request(Infinity);
    this.#stream.closeSend();
  }

  /** Somebody serves this rpc after all; that will do. */
  message(): void {
    this.#stream.close();
  }

  end(): void {
    // It has been told by then that the stream is over.
  }

  terminated(): void {
    this.#timer.cancel();
    if (!this.#conn.manager.isTerminated) this.#hooks.passed();
  }
}
