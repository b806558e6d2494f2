import { DrpcClient, type ConnectionPool, type DrpcClientOptions } from 'nestjs-drpc';
import { expect, onTestFinished } from 'vitest';
import type { GoServer } from './go-server.js';
import { rpc } from './interop.controller.js';
import { faultsOf, type GoPeer } from './peers.js';
import { RecordingProxy } from './recording-proxy.js';

/** A client of a Go server and what goes over its connections. */
export interface RecordedClient {
  readonly client: DrpcClient;
  readonly proxy: RecordingProxy;
}

/**
 * Makes a client that sends bytes, through a proxy. What is recorded is examined at the end of the test: there
 * must be no frame that the server does not know.
 */
export async function recordedClient(
  peer: GoPeer,
  server: GoServer,
  options: DrpcClientOptions = {},
): Promise<RecordedClient> {
  const proxy = await RecordingProxy.listen(server.port);
  const url = `drpc://127.0.0.1:${proxy.port}`;
  const client = new DrpcClient({ url, peer: peer.profile, encoding: 'bytes', ...options });
  onTestFinished(async () => {
    await client.close();
    await proxy.close();
    expect(proxy.recordings).not.toEqual([]);
    for (const recording of proxy.recordings) expect(faultsOf(peer, recording)).toEqual([]);
  });
  return { client, proxy };
}

/** What the server says back. */
export async function echo(client: DrpcClient, text: string): Promise<string> {
  return String(await client.call(rpc('Echo'), Buffer.from(text)));
}

/** Resolves when no more than `busy` connections carry a call, or a check after one. */
export async function idle(client: DrpcClient, busy = 0): Promise<void> {
  while (client.unwrap<ConnectionPool>().connections.filter(({ calls }) => calls > 0).length > busy) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}
