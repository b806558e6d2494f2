import { connect } from 'nats';
import {
  bytesPayload,
  checkedBytes,
  unsupported,
  type Contestant,
  type Counters,
  type ServerEnd,
} from '../contestant.js';
import { NATS_PORT } from './nats-server.js';

const SUBJECT = 'nestjs-drpc.bench.echo';
const TIMEOUT_MS = 30_000;

const connection = () => connect({ servers: `127.0.0.1:${NATS_PORT}`, noEcho: true });

/** Request and reply of the NATS client, by way of the NATS server that is there. It has no streams. */
export const nats: Contestant<Uint8Array> = {
  listen: async (): Promise<ServerEnd> => {
    const counters: Counters = { held: 0, canceled: 0 };
    const link = await connection();
    link.subscribe(SUBJECT, { callback: (_error, message) => void message.respond(message.data) });
    await link.flush();
    return { port: NATS_PORT, counters: () => counters, close: () => link.close() };
  },
  connect: async () => {
    const link = await connection();
    return {
      payload: bytesPayload,
      unary: (payload, done) => {
        link.request(SUBJECT, payload, { timeout: TIMEOUT_MS }).then(
          (message) => done(undefined, checkedBytes(message.data)),
          (error: Error) => done(error, -1),
        );
      },
      download: unsupported,
      pingPong: unsupported,
      hold: unsupported,
      close: () => link.close(),
    };
  },
};
