import { describe, expect, it } from 'vitest';
import { CanceledError, DrpcError } from '../../lib/errors/drpc-error.js';
import { jsonEncoding, type Encoding } from '../../lib/encoding/encoding.js';
import { RpcStream } from '../../lib/conn/rpc-stream.js';
import { closeSend, invoke, message } from '../helpers/frames.js';
import { joined } from '../helpers/joined.js';
import { NOTHING, remains } from '../helpers/leaks.js';
import { RawPeer } from '../helpers/raw-peer.js';
import { outcome } from '../helpers/recorder.js';

/** A server's stream as values, and its peer. */
function withStream<T = unknown>(
  encoding: Encoding = jsonEncoding,
): { peer: RawPeer; stream: RpcStream<T, T> } {
  const peer = RawPeer.ofServer({ demand: 0 });
  let stream!: RpcStream<T, T>;
  peer.onAccept = (call) => {
    stream = new RpcStream<T, T>(
      (sink) => {
        call.stream.sink = sink;
        return call.stream;
      },
      encoding,
      'server',
    );
  };
  peer.send(invoke(1));
  return { peer, stream };
}

describe('RpcStream', () => {
  it('receives values one by one, as they are asked for, and then the end', async () => {
    const { peer, stream } = withStream();
    peer.send(message(1, 2, '1'), message(1, 3, '{"a":2}'), closeSend(1, 4));
    expect(await stream.msgRecv()).toBe(1);
    expect(await stream.msgRecv()).toEqual({ a: 2 });
    expect(await stream.msgRecv()).toBeUndefined();
    expect(await stream.msgRecv()).toBeUndefined();
  });

  it('lets several wait at once, served in order', async () => {
    const { peer, stream } = withStream();
    const waiting = [stream.msgRecv(), stream.msgRecv(), stream.msgRecv()];
    peer.send(message(1, 2, '1'), message(1, 3, '2'), closeSend(1, 4));
    expect(await Promise.all(waiting)).toEqual([1, 2, undefined]);
  });

  it('takes no more from the peer than was asked for', async () => {
    const { peer, stream } = withStream();
    peer.send(...[2, 3, 4].map((id) => message(1, id, `${id}`)));
    await stream.msgRecv();
    expect(peer.last.stream.heldBytes).toBeGreaterThan(0);
    await stream.msgRecv();
    await stream.msgRecv();
    expect(peer.last.stream.heldBytes).toBe(0);
  });

  it('fails one receive for a message that can not be decoded; the next goes on', async () => {
    const { peer, stream } = withStream();
    peer.send(message(1, 2, '{nonsense'), message(1, 3, '"fine"'));
    expect(await outcome(stream.msgRecv())).toBe('code 3: a message of "/rpc" is not valid json');
    expect(await stream.msgRecv()).toBe('fine');
    expect(stream.isTerminated).toBe(false);
  });

  it('fails one send for a value that can not be encoded; the next goes on', async () => {
    const { peer, stream } = withStream<unknown>();
    const error: unknown = await stream.msgSend(() => 1).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(DrpcError);
    await stream.msgSend('fine');
    expect(peer.sent()).toEqual(['Message s1 m1 "fine"']);
  });

  it('fails one send for what an encoding gives that is neither bytes nor text', async () => {
    const { peer, stream } = withStream<unknown>({
      name: 'own',
      marshal: (value) => value as string,
      unmarshal: () => undefined,
    });
    expect(await outcome(stream.msgSend(5))).toMatch(/own encoding: marshal\(\) gave a number: must be/);
    await stream.msgSend('fine');
    expect(peer.sent()).toEqual(['Message s1 m1 fine']);
  });

  it('hands over what was queued, then the cause, again and again', async () => {
    const { peer, stream } = withStream();
    peer.send(message(1, 2, '1'));
    stream.sendCancel(new CanceledError('enough'));
    expect(await stream.msgRecv()).toBe(1);
    expect(await outcome(stream.msgRecv())).toBe('CanceledError: enough');
    expect(await outcome(stream.msgRecv())).toBe('CanceledError: enough');
    expect(await outcome(stream.msgSend(1))).toBe('EofError: drpc: the stream has ended');
  });

  it('reads an encoding without ranges by views', async () => {
    const { peer, stream } = withStream({
      name: 'views',
      marshal: (value) => Buffer.from(String(value)),
      unmarshal: (bytes) => `${bytes.length}:${Buffer.from(bytes).toString()}`,
    });
    peer.send(message(1, 2, 'abc'));
    expect(await stream.msgRecv()).toBe('3:abc');
  });

  it('calls the methods of an encoding as methods', async () => {
    class Counting implements Encoding {
      readonly name = 'counting';
      count = 0;
      marshal(): string {
        return `${++this.count}`;
      }
      unmarshal(): unknown {
        return ++this.count;
      }
      unmarshalRange(): unknown {
        return ++this.count;
      }
    }
    const { peer, stream } = withStream(new Counting());
    await stream.msgSend(0);
    peer.send(message(1, 2, 'abc'));
    expect(await stream.msgRecv()).toBe(2);
  });

  it('waits until a stream that is full has room', async () => {
    const { peer, stream } = withStream<unknown>();
    const big = 'x'.repeat(200_000);
    let sent = 0;
    const sending = (async () => {
      for (let i = 0; i < 20; i++) {
        await stream.msgSend(big);
        sent++;
      }
    })();
    await new Promise((resolve) => setImmediate(resolve));
    expect(sent).toBeLessThan(10);
    expect(peer.manager.queuedBytes).toBeLessThan(400_000);
    while (sent < 20) {
      peer.sentBytes();
      peer.clock.yielded();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await sending;
  });

  describe('its signal', () => {
    it('aborts with the cause when the stream ends before its time', () => {
      const { stream } = withStream();
      const { signal } = stream;
      expect([signal.aborted, stream.signal]).toEqual([false, signal]);
      const cause = new CanceledError('enough');
      stream.sendCancel(cause);
      expect([signal.aborted, signal.reason]).toEqual([true, cause]);
    });

    it('has aborted when it is asked for afterwards', () => {
      const { stream } = withStream();
      stream.sendCancel(new CanceledError('enough'));
      expect(stream.signal.reason).toMatchObject({ message: 'enough' });
    });

    it('does not abort at the ordinary end', () => {
      const { peer, stream } = withStream();
      const { signal } = stream;
      stream.closeSend();
      peer.send(closeSend(1, 2));
      expect([stream.isTerminated, signal.aborted]).toEqual([true, false]);
    });
  });

  describe('as an AsyncIterable', () => {
    it('gives all values, also an undefined that comes last', async () => {
      const { peer, stream } = withStream();
      peer.send(message(1, 2, '1'), message(1, 3), message(1, 4, '3'), message(1, 5), closeSend(1, 6));
      const values: unknown[] = [];
      for await (const value of stream) values.push(value);
      expect(values).toEqual([1, undefined, 3, undefined]);
    });

    it('throws what ended it', async () => {
      const { peer, stream } = withStream();
      peer.send(message(1, 2, '1'));
      stream.sendCancel(new CanceledError('enough'));
      const values: unknown[] = [];
      const loop = (async () => {
        for await (const value of stream) values.push(value);
      })();
      expect(await outcome(loop)).toBe('CanceledError: enough');
      expect(values).toEqual([1]);
    });

    it('gives the rpc up when the loop is left, and keeps nothing', async () => {
      const { peer, stream } = withStream();
      peer.send(...Array.from({ length: 10 }, (_, i) => message(1, i + 2, `${i}`)));
      for await (const value of stream) {
        if (value === 3) break;
      }
      expect(peer.sent()).toEqual(['Cancel! s1 m1']);
      expect([peer.manager.heldBytes, peer.manager.pool.usage.lent]).toEqual([0, 0]);
    });
  });

  it('drops what nobody reads any more when told so', async () => {
    const { peer, stream } = withStream();
    peer.send(message(1, 2, '1'), message(1, 3, '2'));
    stream.discard();
    peer.send(message(1, 4, '3'));
    expect([peer.manager.heldBytes, peer.manager.pool.usage.lent]).toEqual([0, 0]);
    stream.sendCancel();
    expect(await outcome(stream.msgRecv())).toBe('CanceledError: canceled');
  });

  it('is made on a connection that ends while it is opened, all the same', async () => {
    const { conn } = joined({});
    await conn.close();
    expect(() => conn.newStream('/x', jsonEncoding)).toThrow('manager closed');
    expect(remains(conn.manager)).toEqual(NOTHING);
  });
});
