import { Transport, type ClientProxy } from '@nestjs/microservices';
import type { Contestant } from '../contestant.js';
import { connectNest, freePort, listenNest } from './nest-app.js';
import { counters, TextClient, TextController } from './nest-text.js';

/** Nest's TCP transport with its defaults; the payload is text, since it carries JSON. */
export const nestTcp: Contestant<string> = {
  listen: async () => {
    const port = await freePort();
    const close = await listenNest({ transport: Transport.TCP, options: { host: '127.0.0.1', port } }, [
      TextController,
    ]);
    return { port, counters: () => counters, close };
  },
  connect: async (port) => {
    const { client, close } = await connectNest<ClientProxy>({
      name: 'BENCH',
      transport: Transport.TCP,
      options: { host: '127.0.0.1', port },
    });
    await client.connect();
    return new TextClient(client, close);
  },
};
