import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { Conn } from '../../lib/conn/conn.js';
import { serveOne, unknownRpc, type RpcHandler } from '../../lib/conn/serve-one.js';
import { bytesEncoding, jsonEncoding } from '../../lib/encoding/encoding.js';
import { CanceledError, DrpcError } from '../../lib/errors/drpc-error.js';
import { FakeSocket } from '../helpers/fake-socket.js';
import { cancel, closeSend, describeFrames, invoke, message } from '../helpers/frames.js';
import { joined } from '../helpers/joined.js';
import { NOTHING, remains, track } from '../helpers/leaks.js';
import { outcome } from '../helpers/recorder.js';
import { socketPair } from '../helpers/socket-pair.js';

const KIB = 1024;

describe('serveOne', () => {
  it('serves the four shapes', async () => {
    const { conn } = joined({
      '/unary': async (stream) => stream.msgSend(await stream.msgRecv()),
      '/client-stream': async (stream) => {
        let sum = 0;
        for await (const value of stream) sum += value as number;
        await stream.msgSend(sum);
      },
      '/server-stream': async (stream) => {
        const count = (await stream.msgRecv()) as number;
        for (let i = 0; i < count; i++) await stream.msgSend(i);
      },
      '/bidi': async (stream) => {
        for await (const value of stream) await stream.msgSend(`${value as string}!`);
      },
    });
    expect(await conn.invoke('/unary', jsonEncoding, 'hello')).toBe('hello');

    const clientStream = conn.newStream('/client-stream', jsonEncoding);
    for (const value of [1, 2, 3]) await clientStream.msgSend(value);
    clientStream.closeSend();
    expect(await clientStream.msgRecv()).toBe(6);
    expect(await clientStream.msgRecv()).toBeUndefined();

    const serverStream = conn.newStream('/server-stream', jsonEncoding);
    await serverStream.msgSend(3);
    serverStream.closeSend();
    const values: unknown[] = [];
    for await (const value of serverStream) values.push(value);
    expect(values).toEqual([0, 1, 2]);

    const bidi = conn.newStream('/bidi', jsonEncoding);
    for (const word of ['a', 'b']) {
      await bidi.msgSend(word);
      expect(await bidi.msgRecv()).toBe(`${word}!`);
    }
    bidi.closeSend();
    expect(await bidi.msgRecv()).toBeUndefined();
    expect(bidi.isTerminated).toBe(true);
  });

  it('runs each rpc by itself: one that hangs delays no other', async () => {
    const { conn, serverManager } = joined({
      '/hangs': (stream) =>
        new Promise<void>((resolve) => {
          stream.signal.addEventListener('abort', () => resolve(), { once: true });
        }),
      '/quick': (stream) => stream.msgSend('done'),
    });
    const hanging = outcome(conn.invoke('/hangs', jsonEncoding, 1));
    expect(await conn.invoke('/quick', jsonEncoding, 1)).toBe('done');
    serverManager.terminate(new CanceledError());
    expect(await hanging).toContain('ClosedError');
  });

  it('answers code 3 for a request that can not be decoded, naming rpc and encoding', async () => {
    const { conn } = joined({
      '/json': async (stream) => stream.msgSend(await stream.msgRecv()),
    });
    const garbage = Buffer.from('{');
    expect(await outcome(conn.invoke('/json', bytesEncoding, garbage))).toBe(
      'code 3: a message of "/json" is not valid json',
    );
    expect(await conn.invoke('/json', jsonEncoding, 'fine')).toBe('fine');
  });

  it('lets one rpc fail and the others go on', async () => {
    const { conn, failures } = joined({
      '/throws': () => {
        throw new Error('secret of the handler');
      },
      '/rejects': () => Promise.reject(new DrpcError(9, 'not now')),
      '/fine': (stream) => stream.msgSend('fine'),
    });
    const all = await Promise.all(
      ['/throws', '/rejects', '/fine'].map((rpc) => outcome(conn.invoke(rpc, jsonEncoding, 1))),
    );
    expect(all).toEqual(['code 2: Internal server error', 'code 9: not now', 'resolved']);
    expect(failures).toEqual(['Error: secret of the handler', 'code 9: not now']);
  });

  it('answers an rpc whose failure it can tell nobody, as the hook throws: that becomes a warning', async () => {
    const pair = socketPair();
    const run = () => Promise.reject(new Error('secret of the handler'));
    const handlers = new Map<string, RpcHandler>([['/fails', { encoding: jsonEncoding, run }]]);
    const failed = () => {
      throw new Error('the log is gone');
    };
    track(serveOne(pair.server, handlers, {}, { failed }));
    const conn = new Conn(pair.client);
    track(conn.manager);
    const warned = once(process, 'warning');

    expect(await outcome(conn.invoke('/fails', jsonEncoding, 1))).toBe('code 2: Internal server error');

    expect(await warned).toEqual([
      expect.objectContaining({
        name: 'DrpcWarning',
        message: 'the failed hook threw for rpc "/fails"',
        detail: expect.stringContaining('Error: the log is gone') as string,
      }),
    ]);
  });

  it.each([
    ['details that are none', 'status', { details: [{ typeUrl: 7 }] }],
    ['a code that is no bigint', 'storj', { rawCode: 7 }],
  ] as const)('answers an error that can not be sent: %s', async (_what, errorForm, options) => {
    const error = new DrpcError(5, 'gone', options as never);
    const run = () => Promise.reject(error);
    const { conn, failures } = joined({ '/fails': run }, { server: { errorForm } });

    expect(await outcome(conn.invoke('/fails', jsonEncoding, 1))).toBe('code 2: Internal server error');

    expect(failures).toEqual(['code 5: gone', expect.stringMatching(/^(Range|Type)Error/)]);
  });

  it('cancels one rpc and the others go on, also in the middle of large messages', async () => {
    let canceled = 0;
    const { conn, toServer } = joined(
      {
        '/sink': async (stream) => {
          let size = 0;
          try {
            for await (const bytes of stream) size += (bytes as Buffer).length;
            await stream.msgSend(Buffer.from(`${size}`));
          } catch {
            canceled++;
          }
        },
      },
      { encoding: bytesEncoding },
    );
    const streams = Array.from({ length: 10 }, () => conn.newStream<Buffer, Buffer>('/sink', bytesEncoding));
    const sends = streams.map(async (stream) => {
      for (let i = 0; i < 5; i++) await stream.msgSend(Buffer.alloc(300 * KIB));
      stream.closeSend();
      return (await stream.msgRecv())?.toString();
    });
    await new Promise((resolve) => setImmediate(resolve));
    for (const stream of streams.slice(0, 5)) stream.sendCancel();
    const outcomes = await Promise.all(sends.map((send) => send.then(String, () => 'canceled')));
    expect(outcomes).toEqual([
      ...Array.from({ length: 5 }, () => 'canceled'),
      ...Array.from({ length: 5 }, () => `${1500 * KIB}`),
    ]);
    await toServer.fence();
    expect(canceled).toBe(5);
    expect(remains(conn.manager)).toEqual(NOTHING);
  });

  it('sends a hundred messages of up to 128 KiB both ways unharmed', async () => {
    const { conn } = joined(
      {
        '/echo': async (stream) => {
          for await (const bytes of stream) await stream.msgSend(bytes);
        },
      },
      {
        encoding: bytesEncoding,
        cut: (chunk) => [chunk.subarray(0, chunk.length >> 1), chunk.subarray(chunk.length >> 1)],
      },
    );
    const stream = conn.newStream<Buffer, Buffer>('/echo', bytesEncoding);
    const messages = Array.from({ length: 100 }, (_, i) => Buffer.alloc((i * 7919) % (128 * KIB), i));
    const sending = (async () => {
      for (const bytes of messages) await stream.msgSend(bytes);
      stream.closeSend();
    })();
    let damaged = 0;
    let at = 0;
    for await (const bytes of stream) if (!bytes.equals(messages[at++]!)) damaged++;
    await sending;
    expect([at, damaged]).toEqual([100, 0]);
  });

  it('tells a handler that its caller has left: unary', async () => {
    let reason: unknown;
    const { conn, toServer, serverManager } = joined({
      '/wait': (stream) =>
        new Promise<void>((resolve) => {
          stream.signal.addEventListener(
            'abort',
            () => {
              reason = stream.signal.reason;
              resolve();
            },
            { once: true },
          );
        }),
    });
    const controller = new AbortController();
    const call = outcome(conn.invoke('/wait', jsonEncoding, 1, { signal: controller.signal }));
    await toServer.fence();
    controller.abort();
    expect(await call).toBe('CanceledError: canceled');
    await toServer.fence();
    expect(reason).toMatchObject({ name: 'CanceledError' });
    expect(serverManager.slots).toBe(0);
  });

  it('tells a handler that its connection is gone', async () => {
    let ended: string | undefined;
    const { conn, toServer, toClient } = joined({
      '/wait': async (stream) => {
        ended = await outcome(stream.msgRecv());
      },
    });
    conn.newStream('/wait', jsonEncoding);
    await toServer.fence();
    await conn.close();
    await toServer.fence();
    await toClient.fence();
    expect(ended).toBe('ClosedError: connection closed by the peer');
  });

  it('closes the sending side when the handler returns, though the client still sends', async () => {
    const { conn, toServer, serverManager } = joined({
      '/hasty': (stream) => stream.msgSend('done'),
    });
    const stream = conn.newStream('/hasty', jsonEncoding);
    expect(await stream.msgRecv()).toBe('done');
    expect(await stream.msgRecv()).toBeUndefined();
    for (let i = 0; i < 500; i++) await stream.msgSend(i);
    await toServer.fence();
    // What nobody reads is dropped as it comes, and the slot is free when the client has closed, too.
    expect(remains(serverManager)).toMatchObject({ heldBytes: 0, lentBuffers: 0, slots: 1 });
    stream.closeSend();
    await toServer.fence();
    expect(remains(serverManager)).toEqual(NOTHING);
  });

  it('does nothing more on a stream that was canceled when the handler returns', async () => {
    const { conn, toServer, toClient } = joined({
      '/late': async (stream) => {
        await stream.msgRecv().catch(() => undefined);
        await stream.msgSend('late').catch(() => undefined);
      },
    });
    conn.newStream('/late', jsonEncoding).sendCancel();
    await toServer.fence();
    await toClient.fence();
    expect(toClient.bytes.length).toBe(0);
  });

  it('answers an unknown rpc and keeps nothing of what its caller sends', async () => {
    const socket = new FakeSocket();
    const manager = serveOne(socket, new Map<string, RpcHandler>(), {
      isFedByHand: true,
      writerBufferSize: 50,
    });
    track(manager);
    manager.receive(invoke(1, '/gone'));
    await new Promise((resolve) => setImmediate(resolve));
    // The writer is full: the answers wait, and messages come before they are out.
    manager.receive(invoke(2, '/gone'));
    manager.receive(invoke(3, '/gone'));
    manager.receive(
      Buffer.concat([message(3, 2, 'x'.repeat(1000)), message(3, 3, 'y'), closeSend(3, 4), cancel(2, 2)]),
    );
    for (let i = 0; i < 5; i++) {
      socket.release();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(describeFrames(socket.takeWritten())).toContain(
      'Error s3 m1 (12) protocol error: unknown rpc: "/gone"',
    );
    expect(remains(manager)).toEqual(NOTHING);
  });
});

describe('unknownRpc', () => {
  it('names the rpc, escaped and cut', () => {
    expect(unknownRpc('/a\n\x1b').message).toBe('protocol error: unknown rpc: "/a\\n\\x1b"');
    expect(unknownRpc('x'.repeat(5000)).message.length).toBeLessThan(400);
    expect(unknownRpc('/x').code).toBe(12);
    // Made for a peer, by the thousand where one floods.
    expect(unknownRpc('/x').stack).not.toContain('\n');
  });
});
