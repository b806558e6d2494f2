import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { DrpcClient, DrpcServer } from '../../lib/index.js';
import type { Contestant } from '../contestant.js';
import { connectNest, listenNest } from './nest-app.js';
import { BYTES_STYLE, counters, JSON_STYLE, NestEnd, type Encoding, type Style } from './nest-style.js';

/** The transport with its default encoding. */
export const nestDrpc = nestContestant(JSON_STYLE);

/** The transport with messages that are bytes. */
export const nestDrpcBytes = nestContestant(BYTES_STYLE);

function nestContestant<P>(style: Style<P>): Contestant<P> {
  return {
    listen: async ({ maxStreams }) => {
      const strategy = new DrpcServer({
        host: '127.0.0.1',
        port: 0,
        maxStreams,
        maxHandlers: 10 * maxStreams,
      });
      const close = await listenNest({ strategy }, [style.controller]);
      return { port: (strategy.address() as AddressInfo).port, counters: () => counters, close };
    },
    connect: async (port, { connections = 1 }) => {
      const { client, close } = await connectNest<DrpcClient>({
        name: 'BENCH',
        customClass: DrpcClient,
        options: { url: `drpc://127.0.0.1:${port}`, encodings: encodings(style.encoding), connections },
      });
      await client.connect();
      while (client.unwrap().connections.length < connections) await pause(5);
      return new NestEnd(client, close, style);
    },
  };
}

/** JSON is the default, which nobody has to name. */
function encodings(encoding: Encoding): Record<string, 'bytes'> {
  if (encoding === 'json') return {};
  return { echo: encoding, download: encoding, 'ping-pong': encoding, hold: encoding };
}
