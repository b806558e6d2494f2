import { Observable } from 'rxjs';
import type { DownloadRequest } from '../contestant.js';

/** Bytes, and messages at most, that a source makes before it lets the event loop go on. */
const BYTES_PER_TURN = 1024 * 1024;
const MESSAGES_PER_TURN = 256;

/**
 * The messages of a download as an Observable, which can not be told to wait. It makes them in turns: all in one go
 * would pile them up before the first can leave, which is worse for every transport.
 */
export function produce<P>(
  { count, size, fresh, limitMs }: DownloadRequest,
  make: (size: number) => P,
): Observable<P> {
  const perTurn = Math.ceil(Math.min(MESSAGES_PER_TURN, BYTES_PER_TURN / size));
  return new Observable<P>((subscriber) => {
    const payload = make(size);
    const deadline = limitMs > 0 ? Date.now() + limitMs : Infinity;
    let left = count;
    const turn = () => {
      for (let i = 0; i < perTurn && left > 0 && !subscriber.closed; i++, left--) {
        subscriber.next(fresh ? make(size) : payload);
      }
      if (subscriber.closed) return;
      if (left === 0 || Date.now() > deadline) subscriber.complete();
      else setImmediate(turn);
    };
    turn();
  });
}

/** The same for consumers that pull: the next message is made when the last one has gone. */
export async function* pull<P>(
  { count, size, fresh, limitMs }: DownloadRequest,
  make: (size: number) => P,
): AsyncGenerator<P> {
  const payload = make(size);
  const deadline = limitMs > 0 ? Date.now() + limitMs : Infinity;
  for (let i = 0; i < count; i++) {
    if (limitMs > 0 && Date.now() > deadline) return;
    yield fresh ? make(size) : payload;
  }
}

/** One message, then silence; `closed` when the subscriber has left. */
export function silentAfter<P>(hello: P, opened: () => void, closed: () => void): Observable<P> {
  return new Observable<P>((subscriber) => {
    opened();
    subscriber.next(hello);
    return closed;
  });
}
