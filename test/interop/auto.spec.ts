import { Logger, type LoggerService } from '@nestjs/common';
import type { DrpcClientOptions } from 'nestjs-drpc';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { CONTROL_RPC } from '../../lib/control/control-message.js';
import { describeFrame } from '../helpers/frames.js';
import { GoServer } from './helpers/go-server.js';
import { rpc } from './helpers/interop.controller.js';
import { PEERS, STORJ } from './helpers/peers.js';
import { echo, recordedClient, type RecordedClient } from './helpers/recorded-client.js';
import { Chat } from './helpers/requests.js';
import { describeWithGo } from './helpers/with-go.js';

/** Keeps the lines that the library logs. */
class Lines implements LoggerService {
  readonly lines: string[] = [];
  readonly log = (message: string): number => this.lines.push(message);
  readonly warn = this.log;
  readonly error = this.log;
}

describeWithGo.each(PEERS)("peer: 'auto' and a Go server (%s)", (_, peer) => {
  let server: GoServer;
  let logged: Lines;

  beforeAll(async () => {
    server = await GoServer.start(peer.module, ...peer.flags);
  });

  afterAll(() => server.close());

  beforeEach(() => {
    logged = new Lines();
    Logger.overrideLogger(logged);
  });

  /** Examined as the careful client that it has to be. */
  const connect = (options?: DrpcClientOptions): Promise<RecordedClient> =>
    recordedClient(STORJ, server, { peer: 'auto', ...options });

  it('finds out by one rpc that the server does not know, on a connection that lives on', async () => {
    const { client, proxy } = await connect();

    expect(await echo(client, 'hello')).toBe('hello');

    expect(proxy.recordings).toHaveLength(1);
    const { clientFrames, serverFrames } = proxy.recordings[0]!;
    expect(clientFrames.slice(0, 3).map(describeFrame)).toEqual([
      `Invoke s1 m1 ${CONTROL_RPC}`,
      expect.stringMatching(/^Message s1 m2 /),
      `Invoke s2 m1 ${rpc('Echo')}`,
    ]);
    expect(serverFrames[0]).toMatchObject({ streamId: 1, messageId: 1 });
    expect(Buffer.from(serverFrames[0]!.data).toString()).toContain(`unknown rpc: "${CONTROL_RPC}"`);
  });

  it('says in one line what it found and what can be said beforehand', async () => {
    const { client, proxy } = await connect();

    await Promise.all([echo(client, 'one'), echo(client, 'two'), echo(client, 'three')]);

    expect(proxy.recordings.length).toBeGreaterThan(1);
    expect(logged.lines).toEqual([
      `drpc://127.0.0.1:${proxy.port} is not a server of this library: each connection carries one call at a time. ` +
        `The option peer names it beforehand: 'storj' for this, 'cockroach' or 'cockroach-fc' for many calls at once`,
    ]);
  });

  it('carries one call at a time on a connection, and many on many', async () => {
    const { client, proxy } = await connect();
    const chats = [await Chat.open(client), await Chat.open(client), await Chat.open(client)];

    expect(await Promise.all(chats.map((chat, i) => chat.say(`${i}`)))).toEqual(['0', '1', '2']);

    expect(proxy.open).toBe(3);
    for (const { requests } of chats) requests.complete();
    await Promise.all(chats.map((chat) => chat.ended));
  });

  it('probes no further connection while it has one', async () => {
    const { client, proxy } = await connect();
    const chats = [await Chat.open(client), await Chat.open(client)];

    for (const { requests } of chats) requests.complete();
    await Promise.all(chats.map((chat) => chat.ended));

    const probes = proxy.recordings.map(({ fromClient }) => fromClient.includes(CONTROL_RPC));
    expect(probes).toEqual([true, false]);
  });

  it('understands its errors', async () => {
    const { client } = await connect();
    const request = Buffer.from('{"code":5,"message":"no such thing"}');

    await expect(client.call(rpc('Fail'), request)).rejects.toMatchObject({
      code: 5,
      message: 'no such thing',
    });
  });

  it('asks nothing when the option names the peer', async () => {
    const { client, proxy } = await recordedClient(peer, server);

    await echo(client, 'hello');

    expect(proxy.recordings[0]!.fromClient.includes(CONTROL_RPC)).toBe(false);
    expect(logged.lines).toEqual([]);
  });
});
