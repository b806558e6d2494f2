import { Transport, type ClientProxy } from '@nestjs/microservices';
import type { Contestant } from '../contestant.js';
import { connectNest, listenNest } from './nest-app.js';
import { NATS_PORT } from './nats-server.js';
import { counters, TextClient, TextController } from './nest-text.js';

const servers = [`nats://127.0.0.1:${NATS_PORT}`];

/** Nest's NATS transport with its defaults, by way of the NATS server that is there. */
export const nestNats: Contestant<string> = {
  listen: async () => {
    const close = await listenNest({ transport: Transport.NATS, options: { servers } }, [TextController]);
    return { port: NATS_PORT, counters: () => counters, close };
  },
  connect: async () => {
    const { client, close } = await connectNest<ClientProxy>({
      name: 'BENCH',
      transport: Transport.NATS,
      options: { servers },
    });
    await client.connect();
    return new TextClient(client, close);
  },
};
