import { ConnectionPool } from '../../lib/pool/connection-pool.js';
import type { CallObserver } from '../../lib/pool/call.js';
import { bytesEncoding, type Encoding } from '../../lib/encoding/encoding.js';
import { bytesPayload, checkedBytes, unsupported, type ClientEnd, type Contestant } from '../contestant.js';
import { listenGo } from './go-program.js';

const MAX_AT_ONCE = 512;

/** Our client and the Go server, which carries one call on a connection: the pool has one for each call at once. */
export const coreGo: Contestant<Buffer> = {
  listen: listenGo,
  connect: async (port) => {
    const pool = new ConnectionPool({
      addresses: [{ kind: 'tcp', host: '127.0.0.1', port, path: '' }],
      peer: 'storj',
      maxConnections: MAX_AT_ONCE,
    });
    await pool.connect();
    return new CoreGoEnd(pool);
  },
};

class CoreGoEnd implements ClientEnd<Buffer> {
  readonly download = unsupported;
  readonly pingPong = unsupported;
  readonly hold = unsupported;
  readonly #pool: ConnectionPool;

  constructor(pool: ConnectionPool) {
    this.#pool = pool;
  }

  payload(size: number): Buffer {
    return bytesPayload(size);
  }

  unary(payload: Buffer, done: (error: Error | undefined, size: number) => void): void {
    this.#pool.call(
      { rpc: '/bench/echo', encoding: bytesEncoding as Encoding, payload },
      new UnaryObserver(done),
    );
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}

class UnaryObserver implements CallObserver<unknown> {
  readonly #done: (error: Error | undefined, size: number) => void;
  #size = -1;

  constructor(done: (error: Error | undefined, size: number) => void) {
    this.#done = done;
  }

  next(value: unknown): void {
    this.#size = checkedBytes(value as Buffer);
  }

  error(error: Error): void {
    // A call that is refused at once must not answer inside the call itself.
    process.nextTick(this.#done, error, -1);
  }

  complete(): void {
    this.#done(undefined, this.#size);
  }
}
