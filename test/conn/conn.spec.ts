import { getEventListeners } from 'node:events';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { abortCause, encodeCallMetadata } from '../../lib/conn/conn.js';
import type { RpcStream } from '../../lib/conn/rpc-stream.js';
import { jsonEncoding } from '../../lib/encoding/encoding.js';
import { CanceledError, DeadlineError, DrpcError } from '../../lib/errors/drpc-error.js';
import { decodeMetadata } from '../../lib/metadata/metadata.js';
import { describeFrames } from '../helpers/frames.js';
import { joined } from '../helpers/joined.js';
import { NOTHING, remains } from '../helpers/leaks.js';
import { describeError, outcome, Recorder, thrownBy } from '../helpers/recorder.js';
import { VirtualClock } from '../helpers/virtual-clock.js';

/** A handler that goes on until its caller or connection is gone. */
const untilGone = (stream: RpcStream): Promise<void> =>
  new Promise((resolve) => {
    stream.signal.addEventListener('abort', () => resolve(), { once: true });
  });

describe('Conn.invoke', () => {
  it('sends one request and resolves with the answer', async () => {
    const { conn, toServer, toClient } = joined({
      '/sum': async (stream) => {
        const numbers = (await stream.msgRecv()) as number[];
        await stream.msgSend(numbers.reduce((a, b) => a + b, 0));
      },
    });
    expect(await conn.invoke('/sum', jsonEncoding, [1, 2, 3])).toBe(6);
    expect(describeFrames(toServer.bytes)).toEqual([
      'Invoke s1 m1 /sum',
      'Message s1 m2 [1,2,3]',
      'CloseSend s1 m3',
    ]);
    expect(describeFrames(toClient.bytes)).toEqual(['Message s1 m1 6', 'CloseSend s1 m2']);
  });

  it('resolves with undefined when the rpc ends without an answer', async () => {
    const { conn } = joined({ '/nothing': () => undefined });
    expect(await conn.invoke('/nothing', jsonEncoding, 1)).toBeUndefined();
  });

  it('sends metadata and the timeout, in front of the Invoke', async () => {
    const { conn } = joined({
      '/echo': (stream) => stream.msgSend({ ...stream.metadata }),
    });
    const options = { metadata: { User: 'ann' }, timeout: 5000 };
    expect(await conn.invoke('/echo', jsonEncoding, 1, options)).toEqual({ user: 'ann' });
  });

  it('rejects with the error of the handler: code and message', async () => {
    const { conn, failures } = joined({
      '/fails': () => Promise.reject(new DrpcError(5, 'not here')),
    });
    expect(await outcome(conn.invoke('/fails', jsonEncoding, 1))).toBe('code 5: not here');
    expect(failures).toEqual(['code 5: not here']);
  });

  it('rejects with code 12 for an rpc that nobody serves, and the connection goes on', async () => {
    const { conn } = joined({ '/here': (stream) => stream.msgSend('yes') });
    expect(await outcome(conn.invoke('/gone', jsonEncoding, 1))).toBe(
      'code 12: protocol error: unknown rpc: "/gone"',
    );
    expect(await conn.invoke('/here', jsonEncoding, 1)).toBe('yes');
  });

  it('rejects with code 13 for a second answer, tells the server, and keeps nothing of it', async () => {
    let ended: string | undefined;
    const { conn, toServer } = joined({
      '/twice': async (stream) => {
        for (let i = 0; i < 5; i++) await stream.msgSend(i);
        await untilGone(stream);
        ended = describeError(stream.signal.reason);
      },
    });
    expect(await outcome(conn.invoke('/twice', jsonEncoding, 1))).toBe(
      'code 13: rpc /twice answered twice: a unary rpc answers once',
    );
    await toServer.fence();
    expect(remains(conn.manager)).toEqual(NOTHING);
    expect(ended).toBe('CanceledError: canceled');
  });

  it('resolves with an answer behind which the server closed everything', async () => {
    const { conn } = joined({
      '/closes': async (stream) => {
        await stream.msgSend('answer');
        stream.close();
      },
    });
    const call = conn.invoke('/closes', jsonEncoding, 'x'.repeat(300_000));
    expect(await call).toBe('answer');
  });

  it('rejects with what can not be decoded, that call alone', async () => {
    const { conn } = joined({
      '/bad': (stream) => stream.msgSend('bad'),
    });
    const picky = {
      name: 'picky',
      marshal: () => 'null',
      unmarshal: () => {
        throw new TypeError('unreadable');
      },
    };
    expect(await outcome(conn.invoke('/bad', picky, 1))).toBe(
      'code 13: an answer of "/bad" is not valid picky',
    );
    expect(await conn.invoke('/bad', jsonEncoding, 1)).toBe('bad');
    expect(remains(conn.manager)).toEqual(NOTHING);
  });

  it('rejects with a DrpcError when the request can not be encoded, and cancels', async () => {
    const { conn, toServer } = joined({ '/x': () => undefined });
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    const error: unknown = await conn.invoke('/x', jsonEncoding, circular).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(DrpcError);
    expect((error as DrpcError).cause).toBeInstanceOf(TypeError);
    await toServer.fence();
    expect(describeFrames(toServer.bytes)).toEqual(['Invoke s1 m1 /x', 'Cancel! s1 m2']);
  });

  it('rejects with MessageSizeError for a request over the limit', async () => {
    const { conn } = joined({ '/x': () => undefined }, { client: { maxSendSize: 10 } });
    expect(await outcome(conn.invoke('/x', jsonEncoding, 'x'.repeat(20)))).toBe(
      'MessageSizeError: message of 22 bytes exceeds the limit of 10',
    );
  });

  it('rejects with MessageSizeError for metadata over the limit, and the connection goes on', async () => {
    const { conn, serverManager } = joined({ '/echo': (stream) => stream.msgSend({ ...stream.metadata }) });
    const withMetadata = (size: number) =>
      conn.invoke('/echo', jsonEncoding, 1, { metadata: { k: 'x'.repeat(size) } });
    expect(await outcome(withMetadata(5_000_000))).toBe(
      'MessageSizeError: metadata of 5000013 bytes exceeds the limit of 65536',
    );
    expect(await outcome(withMetadata(65_526))).toContain('metadata of 65537 bytes');
    // What fits on the wire may still be too much with what its entry costs there.
    expect(await outcome(withMetadata(65_525))).toContain(
      'code 8: metadata of 65636 bytes, with 100 for each',
    );
    expect(await outcome(withMetadata(65_425))).toBe('resolved');
    expect([remains(conn.manager), remains(serverManager)]).toEqual([NOTHING, NOTHING]);
  });

  it('resolves although the server never read the request', async () => {
    const { conn } = joined({ '/hasty': (stream) => stream.msgSend('already') });
    expect(await conn.invoke('/hasty', jsonEncoding, 'x'.repeat(100_000))).toBe('already');
  });

  it('runs any number of calls at once on one connection', async () => {
    const { conn } = joined({
      '/double': async (stream) => stream.msgSend(((await stream.msgRecv()) as number) * 2),
    });
    const answers = await Promise.all(
      Array.from({ length: 500 }, (_, i) => conn.invoke('/double', jsonEncoding, i)),
    );
    expect(answers).toEqual(Array.from({ length: 500 }, (_, i) => i * 2));
    expect(remains(conn.manager)).toEqual(NOTHING);
  });

  it('rejects all calls with the same cause when the connection ends', async () => {
    const { conn, serverManager } = joined({ '/never': untilGone });
    const calls = [1, 2, 3].map(() =>
      conn.invoke('/never', jsonEncoding, 1).catch((error: unknown) => error),
    );
    await new Promise((resolve) => setImmediate(resolve));
    serverManager.terminate(new CanceledError('server gone'));
    const causes = await Promise.all(calls);
    expect(causes[0]).toMatchObject({ name: 'ClosedError', code: 14 });
    expect(new Set([...causes, await conn.closed]).size).toBe(1);
    expect(await outcome(conn.invoke('/never', jsonEncoding, 1))).toBe(describeError(causes[0]));
  });
});

describe('Conn: canceling by signal', () => {
  it('rejects with the reason, sends one Cancel and takes its listener back', async () => {
    let handlerSaw: unknown;
    const { conn, toServer } = joined({
      '/wait': async (stream) => {
        handlerSaw = await new Promise((resolve) =>
          stream.signal.addEventListener('abort', () => resolve(stream.signal.reason), { once: true }),
        );
      },
    });
    const controller = new AbortController();
    const reason = new Error('enough');
    const call = conn.invoke('/wait', jsonEncoding, 1, { signal: controller.signal });
    await toServer.fence();
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(1);
    controller.abort(reason);
    await expect(call).rejects.toBe(reason);
    await toServer.fence();
    expect(handlerSaw).toBeInstanceOf(CanceledError);
    expect(describeFrames(toServer.bytes).filter((line) => line.startsWith('Cancel'))).toEqual([
      'Cancel! s1 m4',
    ]);
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
  });

  it('spends no stream id when it has aborted before', async () => {
    const { conn, toServer } = joined({ '/x': (stream) => stream.msgSend(1) });
    expect(await outcome(conn.invoke('/x', jsonEncoding, 1, { signal: AbortSignal.abort() }))).toBe(
      'CanceledError: canceled',
    );
    expect(thrownBy(() => conn.newStream('/x', jsonEncoding, { timeout: 0 }))).toBeInstanceOf(DeadlineError);
    await conn.invoke('/x', jsonEncoding, 1);
    expect(describeFrames(toServer.bytes)[0]).toBe('Invoke s1 m1 /x');
  });

  it('takes one signal for many calls, which Node would call a leak', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    onTestFinished(() => warn.mockRestore());
    const { conn } = joined({ '/x': (stream) => stream.msgSend(1) });
    const { signal } = new AbortController();
    const calls = Array.from({ length: 20 }, () => conn.invoke('/x', jsonEncoding, 1, { signal }));
    expect(getEventListeners(signal, 'abort')).toHaveLength(20);
    await Promise.all(calls);
    expect(warn).not.toHaveBeenCalled();
  });

  it('after a finished call does nothing, and no listener is left', async () => {
    const { conn, toServer } = joined({ '/x': (stream) => stream.msgSend(1) });
    const controller = new AbortController();
    await conn.invoke('/x', jsonEncoding, 1, { signal: controller.signal });
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
    controller.abort();
    await toServer.fence();
    expect(describeFrames(toServer.bytes).join()).not.toContain('Cancel');
  });

  it('leaves no listener when the connection ends, the call fails, or no answer comes', async () => {
    const { conn } = joined({
      '/fails': () => Promise.reject(new DrpcError(5, 'no')),
      '/nothing': () => undefined,
      '/never': untilGone,
    });
    const { signal } = new AbortController();
    await outcome(conn.invoke('/fails', jsonEncoding, 1, { signal }));
    await outcome(conn.invoke('/nothing', jsonEncoding, 1, { signal }));
    const call = outcome(conn.invoke('/never', jsonEncoding, 1, { signal }));
    await conn.close();
    expect(await call).toBe('ClosedError: manager closed: Close called');
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  it('cancels a thousand calls on one connection, one after the other', async () => {
    let canceled = 0;
    const { conn, toServer } = joined({
      '/wait': async (stream) => {
        await stream.msgRecv();
        await stream.msgRecv().catch(() => canceled++);
      },
    });
    for (let i = 0; i < 1000; i++) {
      const stream = conn.newStream('/wait', jsonEncoding);
      await stream.msgSend(i);
      stream.sendCancel();
    }
    await new Promise<void>((resolve) => conn.manager.writer.whenDrained(resolve));
    await toServer.fence();
    expect(canceled).toBe(1000);
    expect(remains(conn.manager)).toEqual(NOTHING);
  });
});

describe('Conn: the timeout of a call', () => {
  it('rejects with a DeadlineError, and the server is told the time it has', async () => {
    const clock = new VirtualClock();
    clock.soon = (task) => process.nextTick(task);
    const { conn, toServer, serverManager } = joined({ '/never': untilGone }, { client: { clock } });
    const call = outcome(conn.invoke('/never', jsonEncoding, 1, { timeout: 250 }));
    await toServer.fence();
    expect(toServer.bytes.toString('latin1')).toContain('grpc-timeout\x12\x04250m');
    clock.advance(250);
    expect(await call).toBe('DeadlineError: deadline exceeded');
    await toServer.fence();
    expect(describeFrames(toServer.bytes).at(-1)).toBe('Cancel! s1 m5');
    expect(clock.pendingTimers).toBe(0);
    expect(serverManager.openStreams).toBe(0);
  });

  it('leaves no timer when the call ends before', async () => {
    const clock = new VirtualClock();
    clock.soon = (task) => process.nextTick(task);
    const { conn } = joined({ '/x': (stream) => stream.msgSend(1) }, { client: { clock } });
    await conn.invoke('/x', jsonEncoding, 1, { timeout: 250 });
    expect(clock.pendingTimers).toBe(0);
  });
});

describe('Conn.openUnary', () => {
  it('goes out in one write and gives back the stream', async () => {
    const { conn, toServer, toClient } = joined({ '/x': (stream) => stream.msgSend('answer') });
    const sink = new Recorder();
    const stream = conn.openUnary('/x', '"q"', sink);
    stream.request(Infinity);
    await toServer.fence();
    expect(describeFrames(toServer.bytes)).toEqual([
      'Invoke s1 m1 /x',
      'Message s1 m2 "q"',
      'CloseSend s1 m3',
    ]);
    await toClient.fence();
    await toClient.fence();
    expect(sink.events.map((event) => event.replace(' (last)', ''))).toEqual([
      'message "answer"',
      'terminated',
      'end',
    ]);
  });

  it('tells of a message over the limit once: by the throw', () => {
    const { conn } = joined({ '/x': () => undefined }, { client: { maxSendSize: 3 } });
    const sink = new Recorder();
    expect(() => conn.openUnary('/x', 'abcd', sink)).toThrow('message of 4 bytes exceeds the limit of 3');
    expect(sink.events).toEqual([]);
    expect(remains(conn.manager)).toMatchObject({ openStreams: 0 });
  });
});

describe('encodeCallMetadata', () => {
  it('is nothing when there is nothing to say', () => {
    expect(encodeCallMetadata(undefined, undefined)).toBeUndefined();
    expect(encodeCallMetadata({}, undefined)).toBeUndefined();
  });

  it('holds the metadata and the timeout', () => {
    const decoded = (bytes: Uint8Array | undefined): object => ({ ...decodeMetadata(Buffer.from(bytes!)) });
    expect(decoded(encodeCallMetadata({ a: '1' }, undefined))).toEqual({ a: '1' });
    expect(decoded(encodeCallMetadata(undefined, 250))).toEqual({ 'grpc-timeout': '250m' });
    expect(decoded(encodeCallMetadata({ a: '1' }, 1))).toEqual({ a: '1', 'grpc-timeout': '1m' });
  });
});

describe('abortCause', () => {
  it('is the reason where that is an error of its own, and a CanceledError otherwise', () => {
    const reason = new Error('mine');
    expect(abortCause(AbortSignal.abort(reason))).toBe(reason);
    expect(abortCause(AbortSignal.abort())).toMatchObject({ name: 'CanceledError', code: 1 });
    expect(abortCause(AbortSignal.abort('text'))).toMatchObject({ name: 'CanceledError', cause: 'text' });
  });
});
