import type { Timer } from '../clock/clock.js';
import type { PeerConn } from '../control/peer-conn.js';
import { ClosedError } from '../errors/drpc-error.js';
import type { Stream, StreamSink } from '../stream/stream.js';

/** An rpc that no server has: whoever reads answers at once that it is unknown. */
export const CHECK_RPC = '/nestjs.drpc.v1.Control/Check';

/**
 * Finds out whether a server that carries one call a connection still reads there. When a handler ends without
 * taking all it was sent, or goes on after a Cancel, such a server stands still before the next frame, maybe
 * for good, and the next call would hang with it. A connection that does not answer in time is closed.
 */
export class ReadCheck implements StreamSink {
  readonly #conn: PeerConn;
  readonly #passed: () => void;
  readonly #stream: Stream;
  readonly #timer: Timer;

  /** @param timeout in ms */
  constructor(conn: PeerConn, timeout: number, passed: () => void) {
    const { manager } = conn;
    this.#conn = conn;
    this.#passed = passed;
    this.#timer = manager.clock.after(timeout, () =>
      manager.terminate(
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
