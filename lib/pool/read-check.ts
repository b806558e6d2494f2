import type { Timer } from '../clock/clock.js';
import type { PeerConn } from '../control/peer-conn.js';
import { ClosedError } from '../errors/drpc-error.js';
import type { Stream, StreamSink } from '../stream/stream.js';

/** An rpc that no server has: whoever reads answers at once that it is unknown. */
export const CHECK_RPC = '/nestjs.drpc.v1.Control/Check';

/**
 * Finds out whether a server without windows still reads a connection. One that carries one call a connection stands
 * still, maybe for good, when a handler ends without taking all it was sent, or goes on after a Cancel; one that
 * carries many does when a handler takes no more of a full queue, and never reads the Cancel that lies behind it. The
 * next call would hang with it.
 */
export class ReadCheck implements StreamSink {
  readonly #conn: PeerConn;
  readonly #passed: () => void;
  readonly #stream: Stream;
  readonly #timer: Timer;

  /**
   * @param timeout in ms
   * @param passed told when the server has answered, also if that was too late
   * @param failed told when it has not in time
   */
  constructor(conn: PeerConn, timeout: number, passed: () => void, failed: (cause: ClosedError) => void) {
    this.#conn = conn;
    this.#passed = passed;
    this.#timer = conn.manager.clock.after(timeout, () =>
      failed(
        new ClosedError(`the server stopped reading: it answered nothing for ${timeout} ms after a call`),
      ),
    );
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
    if (!this.#conn.manager.isTerminated) this.#passed();
  }
}
