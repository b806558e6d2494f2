import { Logger } from '@nestjs/common';
import { DrpcCode, type DrpcClientOptions } from 'nestjs-drpc';
import { firstValueFrom, lastValueFrom, of, toArray } from 'rxjs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { CHECK_RPC } from '../../lib/pool/read-check.js';
import { Kind } from '../../lib/wire/kind.js';
import { Prng, runSeed } from '../helpers/prng.js';
import { TestClock } from '../pool/helpers/test-clock.js';
import { playMix } from './helpers/call-mix.js';
import { GoServer } from './helpers/go-server.js';
import { rpc } from './helpers/interop.controller.js';
import { STORJ } from './helpers/peers.js';
import { echo, idle, recordedClient, type RecordedClient } from './helpers/recorded-client.js';
import type { Recording } from './helpers/recording-proxy.js';
import { Chat } from './helpers/requests.js';
import { describeWithGo } from './helpers/with-go.js';

const NOTHING = Buffer.alloc(0);

/** The rpcs that were invoked on a connection, without the checks between them. */
function invoked({ clientFrames }: Recording): string[] {
  return clientFrames
    .filter(({ kind }) => kind === Kind.Invoke)
    .map(({ data }) => Buffer.from(data).toString())
    .filter((name) => name !== CHECK_RPC);
}

// That no frame of an older stream follows one of a newer is examined at the end of each test.
describeWithGo("peer: 'storj' and a storj server", () => {
  let server: GoServer;

  beforeAll(async () => {
    Logger.overrideLogger(false);
    server = await GoServer.start(STORJ.module);
  });

  afterAll(() => server.close());

  const connect = (options?: DrpcClientOptions): Promise<RecordedClient> =>
    recordedClient(STORJ, server, options);

  it('a hundred send()s at once', async () => {
    const { client } = await connect();
    const texts = Array.from({ length: 100 }, (_, i) => `call ${i}`);

    const answers = await Promise.all(
      texts.map((text) => firstValueFrom(client.send<Buffer>(rpc('Echo'), Buffer.from(text)))),
    );

    expect(answers.map(String)).toEqual(texts);
  });

  it('many calls at once on a few connections', async () => {
    const { client, proxy } = await connect({ maxConnections: 3 });
    const texts = Array.from({ length: 60 }, (_, i) => `call ${i}`);

    expect(await Promise.all(texts.map((text) => echo(client, text)))).toEqual(texts);

    expect(proxy.recordings).toHaveLength(3);
    const calls = proxy.recordings.map((recording) => invoked(recording).length);
    expect(Math.min(...calls)).toBeGreaterThan(5);
  });

  it('takes the connection that was free longest', async () => {
    const { client, proxy } = await connect();
    const chats = [await Chat.open(client), await Chat.open(client), await Chat.open(client)];
    // In this order they become free.
    for (const [i, at] of [2, 0, 1].entries()) {
      chats[at]!.requests.complete();
      await chats[at]!.ended;
      await idle(client, 2 - i);
    }

    const order: number[] = [];
    for (let i = 0; i < 6; i++) {
      const before = proxy.recordings.map((recording) => invoked(recording).length);
      await echo(client, `${i}`);
      await idle(client);
      order.push(proxy.recordings.findIndex((each, at) => invoked(each).length > before[at]!));
    }

    expect(order).toEqual([2, 0, 1, 2, 0, 1]);
  });

  it('closes connections that nobody needed for long', async () => {
    const clock = new TestClock();
    const { client, proxy } = await connect({ clock, idleTimeout: 5000 });
    const chats = [await Chat.open(client), await Chat.open(client), await Chat.open(client)];
    for (const chat of chats) chat.requests.complete();
    await Promise.all(chats.map((chat) => chat.ended));
    await idle(client);
    expect(proxy.open).toBe(3);

    clock.advance(5000);

    await proxy.openIs(1);
    expect(await echo(client, 'still here')).toBe('still here');
    expect(proxy.recordings).toHaveLength(3);
  });

  it('uses a connection again after a cancel', async () => {
    const { client, proxy } = await connect({ maxConnections: 1 });

    for (let i = 0; i < 5; i++) {
      await firstValueFrom(client.send(rpc('Endless'), NOTHING));
      expect(await echo(client, 'still here')).toBe('still here');
    }

    expect(proxy.recordings).toHaveLength(1);
    const kinds = proxy.recordings[0]!.clientFrames.map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === Kind.Cancel)).toHaveLength(5);
  });

  it('closes a connection whose canceled handler the Cancel can not reach', async () => {
    const clock = new TestClock();
    const { client, proxy } = await connect({ clock, maxConnections: 1 });
    const abort = new AbortController();
    const metadata = { 'sink-limit': '1', token: 'unreachable' };
    const messages = of(...['taken', 'not taken', 'not taken'].map((text) => Buffer.from(text)));
    const call = client.call(rpc('Sink'), messages, { metadata, signal: abort.signal });
    await server.seen({ event: 'start', token: 'unreachable' });

    abort.abort(new Error('no longer needed'));
    await expect(call).rejects.toThrow('no longer needed');
    const next = echo(client, 'next');
    clock.advance(2000);

    expect(await next).toBe('next');
    expect(proxy.recordings).toHaveLength(2);
  });

  it.each([
    ['one message', Buffer.from('not taken')],
    ['a stream of messages', of(Buffer.from('not taken'), Buffer.from('nor this'))],
  ])('closes a connection that is not read any more behind %s', async (_, request) => {
    const clock = new TestClock();
    const { client, proxy } = await connect({ clock });
    const answers = await lastValueFrom(client.send<Buffer>(rpc('Early'), request).pipe(toArray()));
    expect(answers.map(String)).toEqual(['early']);

    const next = echo(client, 'next');
    clock.advance(2000);

    expect(await next).toBe('next');
    expect(proxy.recordings).toHaveLength(2);
    expect(invoked(proxy.recordings[0]!)).toEqual([rpc('Early')]);
  });

  it('lets no call wait long for a connection that is not read any more', async () => {
    const clock = new TestClock();
    const { client, proxy } = await connect({ clock });
    await client.call(rpc('Early'), of(Buffer.from('not taken'), Buffer.from('nor this')));

    const next = client.call(rpc('Echo'), Buffer.from('next'), { timeout: 1000 });
    clock.advance(100);

    expect(String(await next)).toBe('next');
    expect(proxy.open).toBe(2);
  });

  it.each([17n, 4_294_967_296n, 9_007_199_254_740_993n])(
    'an error of code %s, which gRPC does not have',
    async (code) => {
      const { client } = await connect();
      const request = Buffer.from(`{"code":${code},"message":"our own"}`);

      await expect(client.call(rpc('Fail'), request)).rejects.toMatchObject({
        code: DrpcCode.Unknown,
        rawCode: code,
        message: 'our own',
      });
    },
  );

  it('a mix of calls, given up in every state, on few connections', async () => {
    const seed = runSeed();
    const prng = new Prng(seed);
    const { client, proxy } = await connect({ maxConnections: 5 });

    const wrong = await playMix(client, prng);

    expect(wrong, `DRPC_TEST_SEED=${seed}`).toEqual([]);
    const cancels = proxy.recordings.flatMap(({ clientFrames }) =>
      clientFrames.filter(({ kind }) => kind === Kind.Cancel),
    );
    expect(cancels.length, `DRPC_TEST_SEED=${seed}`).toBeGreaterThan(20);
    expect(proxy.recordings.length, `DRPC_TEST_SEED=${seed}`).toBeLessThanOrEqual(10);
  });
});
