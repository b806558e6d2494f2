import { fileURLToPath } from 'node:url';
import { readFileSync } from 'node:fs';
import { DrpcClient, type DrpcClientOptions } from 'nestjs-drpc';
import { expect, it, onTestFinished } from 'vitest';
import { socketPath } from '../transport/helpers/test-service.js';
import { GoClient } from './helpers/go-client.js';
import { GoServer } from './helpers/go-server.js';
import { InteropService } from './helpers/interop-service.js';
import { PEERS } from './helpers/peers.js';
import { echo } from './helpers/recorded-client.js';
import { describeWithGo } from './helpers/with-go.js';

const file = (name: string): string => fileURLToPath(new URL(`../fixtures/tls/${name}`, import.meta.url));
const pem = (name: string): Buffer => readFileSync(file(name));

function connect(options: DrpcClientOptions): DrpcClient {
  const client = new DrpcClient({ encoding: 'bytes', ...options });
  onTestFinished(() => client.close());
  return client;
}

describeWithGo.each(PEERS)('TLS and unix sockets (%s)', (_, { module, profile, flags }) => {
  it('our client and a Go server with TLS', async () => {
    const server = await GoServer.start(
      module,
      ...flags,
      '--tls-cert',
      file('server.crt'),
      '--tls-key',
      file('server.key'),
    );
    onTestFinished(() => server.close());
    const client = connect({
      url: `drpcs://127.0.0.1:${server.port}`,
      tls: { ca: pem('ca.crt'), servername: 'localhost' },
      peer: profile,
    });

    expect(await echo(client, 'hello')).toBe('hello');
  });

  it('our client and a Go server on a unix socket', async () => {
    const path = socketPath();
    const server = await GoServer.start(module, ...flags, '--network', 'unix', '--addr', path);
    onTestFinished(() => server.close());
    const client = connect({ url: `drpc+unix:${path}`, peer: profile });

    expect(await echo(client, 'hello')).toBe('hello');
  });

  it('a Go client and a Nest service with TLS', async () => {
    const tls = { cert: pem('server.crt'), key: pem('server.key') };
    const service = await InteropService.start({ plainClients: profile, tls });
    onTestFinished(() => service.close());

    const result = await GoClient.play(module, service.port, 'bidi', [...flags, '--tls-ca', file('ca.crt')]);

    expect(result).toMatchObject({ ok: true });
  });

  it('a Go client and a Nest service on a unix socket', async () => {
    const path = socketPath();
    const service = await InteropService.start({ plainClients: profile, port: undefined, path });
    onTestFinished(() => service.close());

    expect(await GoClient.play(module, path, 'bidi', [...flags, '--network', 'unix'])).toMatchObject({
      ok: true,
    });
  });
});
