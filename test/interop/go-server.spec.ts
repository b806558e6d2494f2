import { Logger } from '@nestjs/common';
import { DrpcCode, DrpcError, DrpcRecord, type DrpcClientOptions } from 'nestjs-drpc';
import { firstValueFrom, lastValueFrom, map, of, range, tap, toArray, type Observable } from 'rxjs';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { decodeErrorInfo } from '../../lib/errors/error-info.js';
import { Kind } from '../../lib/wire/kind.js';
import { Prng, runSeed } from '../helpers/prng.js';
import { TestClock } from '../pool/helpers/test-clock.js';
import { playMix } from './helpers/call-mix.js';
import { GoServer } from './helpers/go-server.js';
import { rpc } from './helpers/interop.controller.js';
import { MULTIPLEXING_PEERS, patternBytes, PEERS, type GoPeer } from './helpers/peers.js';
import { echo, recordedClient, type RecordedClient } from './helpers/recorded-client.js';
import { Chat, Requests } from './helpers/requests.js';
import { describeWithGo } from './helpers/with-go.js';

const MIB = 1024 * 1024;

// Lost connections are logged.
beforeAll(() => Logger.overrideLogger(false));

describeWithGo.each(PEERS)('DrpcClient and a Go server (%s)', (_, peer) => {
  const { server, connect } = useServer(peer);

  // ------------------------------------------------------------ shapes and sizes

  it.each([
    ['a message', Buffer.from('hello')],
    ['an empty message', Buffer.alloc(0)],
    ['a message larger than a frame', patternBytes(0, 200_000)],
    ['a message of 4 MiB', patternBytes(0, 4 * MIB)],
  ])('unary, with %s', async (_, message) => {
    const { client } = await connect();

    const answer = await client.call<Buffer>(rpc('Echo'), message);

    expect(answer!.equals(message)).toBe(true);
  });

  it('a unary call without an answer', async () => {
    const { client } = await connect();

    expect(await client.call(rpc('Nil'), Buffer.alloc(0))).toBeUndefined();
  });

  it.each([
    ['ten messages', 10, 0],
    ['no message', 0, 0],
    ['messages larger than a frame', 20, 100_000],
  ])('a server stream of %s', async (_, n, size) => {
    const { client } = await connect();

    const messages: Buffer[] = [];
    for await (const message of client.stream<Buffer>(rpc('Count'), json({ n, size })))
      messages.push(message);

    expect(messages).toHaveLength(n);
    const expected = (i: number): Buffer => (size > 0 ? patternBytes(i, size) : Buffer.from(String(i)));
    expect(messages.every((message, i) => message.equals(expected(i)))).toBe(true);
  });

  it.each([
    ['a hundred messages', range(1, 100), '5050'],
    ['no message', range(1, 0), '0'],
  ])('a client stream of %s', async (_, numbers, sum) => {
    const { client } = await connect();

    const answer = await client.call<Buffer>(rpc('Sum'), numbers.pipe(map(json)));

    expect(answer!.toString()).toBe(sum);
  });

  it('a client stream of messages larger than a frame', async () => {
    const { client } = await connect();
    const messages = range(0, 50).pipe(map((i) => patternBytes(i, 100_000)));

    const answer = await client.call<Buffer>(rpc('Sink'), messages);

    expect(JSON.parse(answer!.toString())).toMatchObject({ messages: 50, bytes: 5_000_000 });
  });

  it('a stream in both directions, in turn', async () => {
    const { client } = await connect();
    const requests = new Requests();
    const seen: string[] = [];
    const ended = lastValueFrom(
      client.send<Buffer>(rpc('Chat'), requests.values).pipe(
        tap((message) => {
          seen.push(message.toString());
          if (seen.length === 10) requests.complete();
          else requests.next(`message ${seen.length}`);
        }),
      ),
    );
    await requests.started;

    requests.next('message 0');

    await ended;
    expect(seen).toEqual(Array.from({ length: 10 }, (_, i) => `message ${i}`));
  });

  it('a stream in both directions, all at once', async () => {
    const { client } = await connect();
    const messages = Array.from({ length: 200 }, (_, i) => patternBytes(i, 1000 + i));

    const answers = await all(client.send<Buffer>(rpc('Chat'), of(...messages)));

    expect(answers.map((answer, i) => answer.equals(messages[i]!))).toEqual(messages.map(() => true));
  });

  it('a server that ends while the client still sends', async () => {
    const { client } = await connect();
    const requests = new Requests();

    expect((await all(client.send<Buffer>(rpc('Early'), requests.values))).map(String)).toEqual(['early']);
    expect(requests.isObserved).toBe(false);
    expect(await echo(client, 'still here')).toBe('still here');
  });

  it('metadata', async () => {
    const metadata = { key: 'value', unicode: 'grüße', empty: '', 'x-long': 'v'.repeat(1000) };
    const { client } = await connect({ metadata: { 'of-the-client': 'yes' } });

    const answer = await client.call<Buffer>(rpc('EchoMeta'), Buffer.alloc(0), { metadata });

    expect(JSON.parse(answer!.toString())).toEqual({ ...metadata, 'of-the-client': 'yes' });
  });

  // ------------------------------------------------------------------- failures

  it('an error: code, text, and details where its errors have them', async () => {
    const { client } = await connect();
    const reason = Buffer.from('0a0454455354120c696e7465726f702e746573741a060a016b120176', 'hex');
    const detail = {
      typeUrl: 'type.googleapis.com/google.rpc.ErrorInfo',
      value: reason.toString('base64'),
    };
    const failure = { code: DrpcCode.NotFound, message: 'no such thing: ünïcode', details: [detail] };

    const error = await failureOf(client.call(rpc('Fail'), json(failure)));

    expect(error).toMatchObject({ code: DrpcCode.NotFound, message: failure.message });
    const info = { reason: 'TEST', domain: 'interop.test', metadata: { k: 'v' } };
    expect(error.details.map(decodeErrorInfo)).toMatchObject(peer.profile === 'storj' ? [] : [info]);
    expect(await echo(client, 'still here')).toBe('still here');
  });

  it('an error after values', async () => {
    const { client } = await connect();
    const request = json({ n: 3, code: DrpcCode.FailedPrecondition, message: 'after three' });
    const seen: string[] = [];

    const error = await failureOf(
      lastValueFrom(
        client.send<Buffer>(rpc('FailAfter'), request).pipe(map((value) => seen.push(String(value)))),
      ),
    );

    expect(seen).toEqual(['0', '1', '2']);
    expect(error).toMatchObject({ code: DrpcCode.FailedPrecondition, message: 'after three' });
  });

  it('an unknown rpc: code 2, which is what Go has for it', async () => {
    const { client } = await connect();

    expect(await failureOf(client.call(rpc('Missing'), Buffer.alloc(0)))).toMatchObject({
      code: DrpcCode.Unknown,
      message: 'protocol error: unknown rpc: "/interop.Interop/Missing"',
    });
  });

  it('connection lost: code 14, and the next call finds another', async () => {
    const { client, proxy } = await connect();
    const requests = new Requests();
    const seen: string[] = [];
    const failed = failureOf(
      lastValueFrom(
        client.send<Buffer>(rpc('Drop'), requests.values).pipe(
          tap((message) => {
            if (seen.push(message.toString()) === 2) requests.next('now');
          }),
        ),
      ),
    );
    await requests.started;

    requests.next(json({ n: 2 }));

    expect(await failed).toMatchObject({ name: 'ClosedError', code: DrpcCode.Unavailable });
    expect(seen).toEqual(['0', '1']);
    expect(await echo(client, 'again')).toBe('again');
    expect(proxy.recordings).toHaveLength(2);
  });

  it('a server that drops its connections', async () => {
    const { client } = await connect();
    const failed = failureOf(client.call(rpc('Hang'), Buffer.alloc(0), { metadata: { token: 'dropped' } }));
    await server().seen({ event: 'start', token: 'dropped' });

    server().drop();

    expect(await failed).toMatchObject({ code: DrpcCode.Unavailable });
    await server().seen({ event: 'canceled', token: 'dropped' });
  });

  // -------------------------------------------------------- cancels and deadlines

  it('a canceled unary call', async () => {
    const { client } = await connect();
    const token = 'cancel-unary';
    const record = new DrpcRecord(Buffer.from('hello'), { metadata: { token } });
    const subscription = client.send(rpc('Hang'), record).subscribe();
    await server().seen({ event: 'start', token });

    subscription.unsubscribe();

    await ended(server(), token);
    expect(await echo(client, 'still here')).toBe('still here');
  });

  it('a canceled server stream', async () => {
    const { client } = await connect();
    const token = 'cancel-server-stream';
    const seen: string[] = [];

    for await (const message of client.stream<Buffer>(rpc('Endless'), json({}), { metadata: { token } })) {
      if (seen.push(String(message)) === 3) break;
    }

    expect(seen).toEqual(['0', '1', '2']);
    await ended(server(), token);
    expect(await echo(client, 'still here')).toBe('still here');
  });

  it('a canceled client stream', async () => {
    const { client } = await connect();
    const token = 'cancel-client-stream';
    const abort = new AbortController();
    const requests = new Requests();
    const answer = client.call(rpc('Sink'), requests.values, { metadata: { token }, signal: abort.signal });
    await requests.started;
    for (let i = 0; i < 3; i++) requests.next('message');
    await server().seen({ event: 'start', token });

    abort.abort(new Error('no longer needed'));

    await expect(answer).rejects.toThrow('no longer needed');
    expect(requests.isObserved).toBe(false);
    await ended(server(), token);
    expect(await echo(client, 'still here')).toBe('still here');
  });

  it('a canceled stream in both directions', async () => {
    const { client } = await connect();
    const token = 'cancel-bidi';
    const requests = new Requests();
    const record = new DrpcRecord(requests.values, { metadata: { token } });
    const first = firstValueFrom(client.send<Buffer>(rpc('Chat'), record));
    await requests.started;

    requests.next('hello');

    expect(String(await first)).toBe('hello');
    expect(requests.isObserved).toBe(false);
    await ended(server(), token);
    expect(await echo(client, 'still here')).toBe('still here');
  });

  it('a call that was canceled before it began', async () => {
    const { client, proxy } = await connect();
    const reason = new Error('never mind');

    const call = client.call(rpc('Echo'), Buffer.alloc(0), { signal: AbortSignal.abort(reason) });

    await expect(call).rejects.toBe(reason);
    expect(proxy.recordings).toEqual([]);
    await client.call(rpc('Echo'), Buffer.alloc(0));
  });

  it.each([
    ['a unary call', 'Hang'],
    ['a stream', 'Endless'],
  ])('a deadline of %s', async (_, name) => {
    const clock = new TestClock();
    const { client, proxy } = await connect({ clock });
    const token = `deadline of ${name}`;
    const record = new DrpcRecord(json({ delayMs: 10 }), { metadata: { token }, timeout: 250 });
    const error = failureOf(lastValueFrom(client.send(rpc(name), record)));
    await server().seen({ event: 'start', token });

    clock.advance(250);

    expect(await error).toMatchObject({ name: 'DeadlineError', code: DrpcCode.DeadlineExceeded });
    await ended(server(), token);
    expect(proxy.recordings[0]!.fromClient.includes('grpc-timeout')).toBe(true);
  });

  // ------------------------------------------------------- many calls at once

  it('a thousand calls, one after another', async () => {
    const { client, proxy } = await connect();

    for (let i = 0; i < 1000; i++) {
      expect(await echo(client, `${i}`)).toBe(`${i}`);
    }

    expect(proxy.recordings.length).toBeLessThanOrEqual(2);
  });
});

describeWithGo.each(MULTIPLEXING_PEERS)('many streams to a Go server (%s)', (_, peer) => {
  const { server, connect } = useServer(peer);

  it('1,000 streams at once on one connection, then 1,000 calls', async () => {
    const { client, proxy } = await connect();
    const chats = await Promise.all(Array.from({ length: 1000 }, () => Chat.open(client)));

    // Each was answered while all were open.
    expect(new Set(await Promise.all(chats.map((chat) => chat.say('all here'))))).toEqual(
      new Set(['all here']),
    );

    for (const { requests } of chats) requests.complete();
    const texts = chats.map((_, i) => `call ${i}`);
    expect(await Promise.all(texts.map((text) => echo(client, text)))).toEqual(texts);
    expect(proxy.recordings).toHaveLength(1);
  });

  it('large messages of several streams share the connection', async () => {
    const { client, proxy } = await connect();
    const messages = Array.from({ length: 8 }, (_, i) => patternBytes(i, MIB + i));

    const answers = await Promise.all(messages.map((message) => client.call<Buffer>(rpc('Echo'), message)));

    expect(answers.map((answer, i) => answer!.equals(messages[i]!))).toEqual(messages.map(() => true));
    const frames = proxy.recordings[0]!.clientFrames.filter(({ kind }) => kind === Kind.Message);
    const changes = frames.filter(({ streamId }, i) => i > 0 && frames[i - 1]!.streamId !== streamId).length;
    expect(changes).toBeGreaterThan(messages.length);
  });

  it('a cancel leaves the other streams alone', async () => {
    const { client, proxy } = await connect();
    const chats = [await Chat.open(client), await Chat.open(client), await Chat.open(client)] as const;

    chats[1].subscription.unsubscribe();

    expect(await chats[0].say('after')).toBe('after');
    expect(await chats[2].say('after')).toBe('after');
    expect(await echo(client, 'still here')).toBe('still here');
    expect(proxy.recordings).toHaveLength(1);
    const cancels = proxy.recordings[0]!.clientFrames.filter(({ kind }) => kind === Kind.Cancel);
    expect(cancels.map(({ streamId }) => streamId)).toEqual([2]);
  });

  it('a mix of calls, given up in every state, on one connection', async () => {
    const seed = runSeed();
    const { client, proxy } = await connect();

    expect(await playMix(client, new Prng(seed)), `DRPC_TEST_SEED=${seed}`).toEqual([]);

    const { clientFrames } = proxy.recordings[0]!;
    const cancels = clientFrames.filter(({ kind }) => kind === Kind.Cancel);
    expect(cancels.length, `DRPC_TEST_SEED=${seed}`).toBeGreaterThan(20);
    expect(proxy.recordings).toHaveLength(1);
  });

  it('a message above the limit: code 8, and the others go on', async () => {
    const { client, proxy } = await connect();
    const chat = await Chat.open(client);

    expect(await failureOf(client.call(rpc('Count'), json({ n: 1, size: 4 * MIB + 1 })))).toMatchObject({
      code: DrpcCode.ResourceExhausted,
    });

    expect(await chat.say('still here')).toBe('still here');
    expect(proxy.recordings).toHaveLength(1);
  });

  it('a stream that nobody reads holds no other up', async () => {
    const { client } = await connect();
    const unread = client.stream<Buffer>(rpc('Count'), json({ n: 100, size: 1000 }))[Symbol.asyncIterator]();
    expect((await unread.next()).value).toEqual(patternBytes(0, 1000));

    for (let i = 0; i < 20; i++) {
      expect(await echo(client, `${i}`)).toBe(`${i}`);
    }

    for (let i = 1; i < 100; i++) expect((await unread.next()).value).toEqual(patternBytes(i, 1000));
    expect(await unread.next()).toEqual({ done: true, value: undefined });
  });

  // Without windows the fork's server reads nothing more on the connection then, not even a Cancel.
  it.runIf(peer.profile === 'cockroach-fc')(
    'with windows a handler that reads no more holds no other up, and hears its cancel',
    async () => {
      const { client } = await connect();
      const token = `unread by ${peer.name}`;
      const requests = new Requests();
      const record = new DrpcRecord(requests.values, { metadata: { token, 'sink-limit': '1' } });
      const subscription = client.send(rpc('Sink'), record).subscribe();
      await requests.started;
      for (let i = 0; i < 1000; i++) requests.next('message');

      expect(await echo(client, 'beside it')).toBe('beside it');
      subscription.unsubscribe();

      await ended(server(), token);
      expect(await echo(client, 'after it')).toBe('after it');
    },
  );

  it('a server with MaxStreams refuses what is too much', async () => {
    const { client } = await limited(peer);
    const chats = [await Chat.open(client), await Chat.open(client)] as const;

    expect(await failureOf(client.call(rpc('Echo'), Buffer.alloc(0)))).toMatchObject({
      code: DrpcCode.Unknown,
      message: 'too many concurrent streams: refused: at most 2 concurrent streams',
    });

    expect(await chats[0].say('still here')).toBe('still here');
    expect(await chats[1].say('still here')).toBe('still here');
  });

  it('with maxStreamsPerConnection no call is refused', async () => {
    const { client, proxy } = await limited(peer, { maxStreamsPerConnection: 1 });
    const texts = Array.from({ length: 20 }, (_, i) => `${i}`);

    expect(await Promise.all(texts.map((text) => echo(client, text)))).toEqual(texts);
    expect(proxy.recordings).toHaveLength(1);
  });
});

/** A server for the tests of a group. */
function useServer(peer: GoPeer) {
  let server: GoServer;

  beforeAll(async () => {
    server = await GoServer.start(peer.module, ...peer.flags);
  });

  afterAll(() => server.close());

  return {
    server: () => server,
    connect: (options?: DrpcClientOptions): Promise<RecordedClient> => recordedClient(peer, server, options),
  };
}

/** The same with a server of its own that takes two streams a connection. */
async function limited(peer: GoPeer, options?: DrpcClientOptions): Promise<RecordedClient> {
  const server = await GoServer.start(peer.module, ...peer.flags, '--max-streams', '2');
  onTestFinished(() => server.close());
  return recordedClient(peer, server, options);
}

/** Resolves when the server knows that a call was canceled, and its handler has ended. */
async function ended(server: GoServer, token: string): Promise<void> {
  await server.seen({ event: 'canceled', token });
  await server.seen({ event: 'end', token });
}

function all<T>(values: Observable<T>): Promise<T[]> {
  return lastValueFrom(values.pipe(toArray()));
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

async function failureOf(promise: Promise<unknown>): Promise<DrpcError> {
  const error: unknown = await promise.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(DrpcError);
  return error as DrpcError;
}
