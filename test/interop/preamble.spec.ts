import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Logger } from '@nestjs/common';
import { DrpcClient, DrpcCode, type DrpcClientOptions } from 'nestjs-drpc';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { TestClock } from '../pool/helpers/test-clock.js';
import { GoClient, type GoResult } from './helpers/go-client.js';
import { GoServer } from './helpers/go-server.js';
import { InteropService } from './helpers/interop-service.js';
import { STORJ } from './helpers/peers.js';
import { echo, recordedClient, type RecordedClient } from './helpers/recorded-client.js';
import { RecordingProxy } from './helpers/recording-proxy.js';
import { describeWithGo } from './helpers/with-go.js';

const PREAMBLE = 'DRPC!!!1';

beforeAll(() => Logger.overrideLogger(false));

describeWithGo('A Go server behind drpcmigrate and our client', () => {
  async function connect(options: DrpcClientOptions): Promise<RecordedClient> {
    const server = await GoServer.start(STORJ.module, '--preamble');
    onTestFinished(() => server.close());
    return recordedClient(STORJ, server, options);
  }

  it.each(['storj', 'auto'] as const)('is reached with preamble: true (%s)', async (peer) => {
    const { client, proxy } = await connect({ preamble: true, peer });

    expect(await Promise.all([echo(client, 'one'), echo(client, 'two')])).toEqual(['one', 'two']);

    for (const { fromClient } of proxy.recordings) {
      expect(fromClient.toString('latin1', 0, PREAMBLE.length)).toBe(PREAMBLE);
      expect(fromClient.indexOf(PREAMBLE, PREAMBLE.length)).toBe(-1);
    }
  });

  it('is reached without one at its other door', async () => {
    const { client, proxy } = await connect({});

    expect(await echo(client, 'hello')).toBe('hello');
    expect(proxy.recordings[0]!.fromClient.includes(PREAMBLE)).toBe(false);
  });
});

describeWithGo('TLS behind the preamble, as drpcmigrate is used with TLS', () => {
  const file = (name: string): string => fileURLToPath(new URL(`../fixtures/tls/${name}`, import.meta.url));
  const ca = file('ca.crt');
  const [cert, key] = [file('server.crt'), file('server.key')];

  it('our client reaches a Go server', async () => {
    const flags = ['--tls-cert', cert, '--tls-key', key, '--preamble-before-tls'];
    const server = await GoServer.start(STORJ.module, ...flags);
    onTestFinished(() => server.close());
    const client = new DrpcClient({
      url: `drpcs://localhost:${server.port}`,
      tls: { ca: readFileSync(ca) },
      peer: 'storj',
      preamble: 'beforeTls',
      encoding: 'bytes',
    });
    onTestFinished(() => client.close());

    expect(await Promise.all([echo(client, 'one'), echo(client, 'two')])).toEqual(['one', 'two']);
  });

  it.each([['--preamble-before-tls'], ['--preamble'], []])('a Go client is served: %s', async (...sent) => {
    const tls = { cert: readFileSync(cert), key: readFileSync(key) };
    const service = await InteropService.start({ tls, preamble: 'beforeTls' });
    onTestFinished(() => service.close());

    const flags = ['--timeout', '5s', '--tls-ca', ca, ...sent];
    for (const scenario of ['unary', '4mib', 'client-stream-large']) {
      expect(await GoClient.play(STORJ.module, service.port, scenario, flags)).toMatchObject({ ok: true });
    }
  });

  it('a Go client that sends one is refused where it is accepted in TLS only', async () => {
    const tls = { cert: readFileSync(cert), key: readFileSync(key) };
    const service = await InteropService.start({ tls });
    onTestFinished(() => service.close());
    const flags = ['--timeout', '5s', '--tls-ca', ca, '--preamble-before-tls'];
    expect(await GoClient.play(STORJ.module, service.port, 'unary', flags)).toMatchObject({ ok: false });
  });
});

describeWithGo('A Go server that knows no preamble', () => {
  it('takes it for half a frame, and a call ends with its time', async () => {
    const clock = new TestClock();
    const server = await GoServer.start(STORJ.module);
    onTestFinished(() => server.close());
    const url = `drpc://127.0.0.1:${server.port}`;
    const client = new DrpcClient({
      url,
      peer: 'storj',
      preamble: true,
      encoding: 'bytes',
      timeout: 200,
      clock,
    });
    onTestFinished(() => client.close());
    const call = echo(client, 'hello');
    await server.seen({ event: 'open' });

    clock.advance(200);

    await expect(call).rejects.toMatchObject({ code: DrpcCode.DeadlineExceeded });
    expect(server.events({ event: 'start' })).toEqual([]);
  });
});

describeWithGo('A Go client and a Nest service', () => {
  describe.each([
    ['accept', true],
    ['accept', false],
    ['require', true],
    ['off', false],
  ] as const)("with preamble: '%s'", (preamble, isSent) => {
    it(`is served when it ${isSent ? 'sends one' : 'sends none'}`, async () => {
      const { result, proxy } = await play(preamble, isSent);

      expect(result).toMatchObject({ ok: true });
      expect(proxy.recordings[0]!.fromClient.includes(PREAMBLE)).toBe(isSent);
    });
  });

  it.each([
    ['require', false, 'an unknown protocol on a DRPC port: "\\x03\\x01\\x01'],
    ['off', true, 'a DRPC preamble on a DRPC port: "DRPC!!!1'],
  ] as const)("is refused with preamble: '%s' (sent: %s)", async (preamble, isSent, reason) => {
    const { result, errors } = await play(preamble, isSent);

    expect(result.ok).toBe(false);
    expect(errors).toEqual([expect.stringContaining(reason)]);
  });
});

/** Lets a Go client make one call. */
async function play(
  preamble: 'accept' | 'require' | 'off',
  isSent: boolean,
): Promise<{ result: GoResult; errors: string[]; proxy: RecordingProxy }> {
  const service = await InteropService.start({ preamble });
  onTestFinished(() => service.close());
  const errors: string[] = [];
  service.server.on('error', (error) => errors.push((error as Error).message));
  const proxy = await RecordingProxy.listen(service.port);
  onTestFinished(() => proxy.close());
  const flags = isSent ? ['--preamble', '--timeout', '5s'] : ['--timeout', '5s'];
  const result = await GoClient.play(STORJ.module, proxy.port, 'unary', flags);
  return { result, errors, proxy };
}
