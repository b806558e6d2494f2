import type { Server, Socket } from 'node:net';
import { PREAMBLE } from '../manager/greeting.js';

/**
 * Lets the TLS of `server` begin behind the preamble where a client sends it first, as one does that dials with a
 * HeaderDialer of drpcmigrate and makes TLS of that. Clients without it are served as before.
 * @param timeout how long a client may take to begin, in ms
 * @param late told of a client that took longer; its socket is closed
 */
export function skipPreambleBeforeTls(server: Server, timeout: number, late: (socket: Socket) => void): void {
  const handshakes = server.listeners('connection') as ((this: Server, socket: Socket) => void)[];
  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => {
    const timer = setTimeout(() => {
      late(socket);
      socket.destroy();
    }, timeout);
    socket.once('close', () => clearTimeout(timer));
    skipPreamble(socket, () => {
      clearTimeout(timer);
      for (const handshake of handshakes) handshake.call(server, socket);
    });
  });
}

/** Calls `next` once the first bytes are here, and the preamble, if they are one, is taken off. */
function skipPreamble(socket: Socket, next: () => void): void {
  let head = Buffer.alloc(0);
  const leave = (): void => void socket.destroy();
  const read = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    head = Buffer.concat([head, chunk]);
    if (head.length < PREAMBLE.length && PREAMBLE.subarray(0, head.length).equals(head)) return;
    socket.off('readable', read).off('end', leave);
    const rest = head.subarray(0, PREAMBLE.length).equals(PREAMBLE) ? head.subarray(PREAMBLE.length) : head;
    if (rest.length > 0) socket.unshift(rest);
    next();
  };
  // A client that leaves is no fault; for good, as TLS listens to its own socket alone.
  socket.on('error', () => undefined);
  socket.on('readable', read).on('end', leave);
}
