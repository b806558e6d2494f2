import type { PeerConn } from '../control/peer-conn.js';
import { ClosedError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';

/** The server takes no more calls on a connection, in good order: it goes, or wants a new one. Code 14. */
export class SentAwayError extends ClosedError {
  /** With what the server said; a plain one says it by refusing a call. */
  constructor({ goawayReason }: PeerConn) {
    super(escapeName(goawayReason) || 'the server is shutting down');
  }
}
