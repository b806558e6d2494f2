import {
  connect as connectSocket,
  isIP,
  Socket,
  type LookupFunction,
  type TcpNetConnectOpts,
} from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import type { Clock } from '../clock/clock.js';
import { ClosedError } from '../errors/drpc-error.js';
import { typeName } from '../errors/type-name.js';
import { PREAMBLE } from '../manager/greeting.js';
import { formatAddress, type Address, type LookupAddress } from './address.js';

/** Size in bytes of the buffer that a plain socket reads into, again and again. */
const READ_BUFFER_SIZE = 64 * 1024;
/** A connection that was silent so long is probed by the kernel, in ms. */
const KEEP_ALIVE_DELAY = 30_000;

export interface DialOptions {
  clock: Clock;
  /** How long connecting may take, TLS handshake included, in ms. */
  connectTimeout: number;
  /** Certificates and whatever else `tls.connect` takes. */
  tls?: ConnectionOptions;
  /** Whether the preamble goes out in front of the TLS handshake. */
  isPreambleBeforeTls?: boolean;
  /** Makes the connection in place of the network. */
  dial?: () => Promise<Duplex>;
}

/** One attempt to connect. It can be given up; whatever comes of it then is closed. */
export class Dial {
  /** The connected socket. Fails with a ClosedError whose cause is Node's error. */
  readonly socket: Promise<Duplex>;
  #cancel!: (error: Error) => void;

  constructor(address: Address, options: DialOptions) {
    const { clock, connectTimeout } = options;
    const name = formatAddress(address);
    this.socket = new Promise((resolve, reject) => {
      let isSettled = false;
      let duplex: Duplex | undefined;
      const settle = (): boolean => {
        timer.cancel();
        const isFirst = !isSettled;
        isSettled = true;
        return isFirst;
      };
      const connected = (socket: Duplex): void => {
        if (!settle()) return void socket.destroy();
        if (socket.destroyed) return reject(new ClosedError(`cannot connect to ${name}: closed at once`));
        resolve(socket);
      };
      const failed = (error: Error): void => {
        if (!settle()) return;
        duplex?.destroy();
        reject(error);
      };
      this.#cancel = failed;
      const timer = clock.after(connectTimeout, () =>
        failed(new ClosedError(`cannot connect to ${name}: no connection within ${connectTimeout} ms`)),
      );
      const onError = (error: unknown): void => failed(cannotConnect(name, error));
      if (options.dial) {
        options
          .dial()
          .then((socket) => {
            assertDuplex(socket);
            socket.on('error', ignore);
            connected(socket);
          })
          .catch(onError);
        return;
      }
      const watch = (socket: Socket, event: 'connect' | 'secureConnect', done: () => void): void => {
        duplex = socket;
        // Stays for good: no moment of a socket's life is without a listener.
        socket.on('error', onError);
        socket.once(event, done);
        socket.once('close', () => failed(new ClosedError(`cannot connect to ${name}: closed by the peer`)));
      };
      const secure = (below?: Socket): void => {
        const socket = openTls(address, options, below);
        watch(socket, 'secureConnect', () => connected(socket));
      };
      if (address.kind === 'tls') {
        if (!options.isPreambleBeforeTls) return secure();
        const below = openBelowTls(address, options);
        return watch(below, 'connect', () => {
          below.write(PREAMBLE);
          secure(below);
        });
      }
      const socket = openPlain(address);
      watch(socket, 'connect', () => connected(socket));
    });
    // The owner may have given it up before it listened.
    this.socket.catch(ignore);
  }

  /** Gives the attempt up; the promise fails with `error` unless it is settled. */
  cancel(error: Error): void {
    this.#cancel(error);
  }
}

/** Lets the kernel find out that a peer is gone which can not be pinged. */
export function keepAlive(duplex: Duplex): void {
  if (duplex instanceof Socket) duplex.setKeepAlive(true, KEEP_ALIVE_DELAY);
}

/**
 * A socket that reads into one buffer, which costs half of what a new one for each chunk does. Node gives
 * such a socket no `data` events; it gets them here, with chunks that are borrowed until the listener returns.
 */
function openPlain({ kind, port, path, found, ...address }: Address): Socket {
  const host = nameOf(address);
  const onread = {
    buffer: Buffer.allocUnsafeSlow(READ_BUFFER_SIZE),
    callback: (size: number, buffer: Uint8Array): boolean => {
      socket.emit('data', buffer.subarray(0, size));
      return true;
    },
  };
  const socket = connectSocket(
    kind === 'unix' ? { path, onread } : { host, port, noDelay: true, onread, ...lookupOf(found) },
  );
  return socket;
}

/** A socket for TLS, which reads it itself. */
function openBelowTls({ port, found, ...address }: Address, { tls }: DialOptions): Socket {
  const { lookup, family, localAddress, localPort } = (tls ?? {}) as Partial<TcpNetConnectOpts>;
  const own = { family, localAddress, localPort, ...(lookup && { lookup }) };
  return connectSocket({ ...lookupOf(found), ...own, host: nameOf(address), port, noDelay: true });
}

/** @param below where it is not to connect by itself: a socket that is connected */
function openTls({ port, found, ...address }: Address, { tls }: DialOptions, below?: Socket): Socket {
  const host = nameOf(address);
  const options = {
    // Node checks the certificate against the host, but names it to the server only where it is told to.
    ...(isIP(host) === 0 && { servername: host }),
    ...lookupOf(found),
    ...tls,
    host,
    port,
    ...(below && { socket: below }),
  };
  return connectTls(options).setNoDelay(true);
}

/** What the user wrote: it stands in the certificate, and what it means was found already. */
function nameOf({ host, name }: Pick<Address, 'host' | 'name'>): string {
  return name ?? host;
}

function assertDuplex(socket: unknown): asserts socket is Duplex {
  const { on, write } = (socket ?? {}) as Partial<Duplex>;
  if (typeof on === 'function' && typeof write === 'function') return;
  throw new TypeError(`option dial resolved with ${typeName(socket)}: it must be a Duplex`);
}

/** Lets Node dial what was found: it would ask the name server again, and know no name of the application's own. */
function lookupOf(found: readonly LookupAddress[] | undefined): { lookup?: LookupFunction } {
  if (!found) return {};
  return {
    lookup(_host, { all, family }, done) {
      if (all) return done(null, [...found]);
      // One family alone is asked for only where trying both is switched off.
      const first = found.find((each) => each.family === family) ?? found[0]!;
      done(null, first.address, first.family);
    },
  };
}

function cannotConnect(name: string, cause: unknown): ClosedError {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  const reason = typeof code === 'string' ? code : cause instanceof TypeError ? cause.message : undefined;
  return new ClosedError(`cannot connect to ${name}${reason === undefined ? '' : `: ${reason}`}`, { cause });
}

function ignore(): void {
  // Whoever owns the socket hears of it by `close`.
}
