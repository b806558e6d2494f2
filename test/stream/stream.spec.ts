import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { CanceledError, ClosedError, DrpcError, MessageSizeError } from '../../lib/errors/drpc-error.js';
import { encodeMetadata } from '../../lib/metadata/metadata.js';
import { Kind } from '../../lib/wire/kind.js';
import {
  cancel,
  close,
  closeSend,
  describeFrames,
  frame,
  invoke,
  message,
  part,
  storjError,
} from '../helpers/frames.js';
import { RawPeer, type Call, type RawPeerOptions } from '../helpers/raw-peer.js';
import { outcome, thrownBy, trySend } from '../helpers/recorder.js';

const KIB = 1024;
const OVER = 'EofError: drpc: the stream has ended';

/** A client whose writer is full: what is sent from now on waits until `sent()` is asked. */
function fullClient(options: RawPeerOptions = {}): RawPeer {
  const peer = RawPeer.ofClient({ writerBufferSize: 1000, ...options });
  // Its stream is number 1.
  const { stream } = peer.open('/filler');
  peer.clock.turn();
  stream.trySend(Buffer.alloc(1000));
  return peer;
}

/** The same for a server with one call, number 1. */
function fullServer(options: RawPeerOptions = {}): { peer: RawPeer; call: Call } {
  const peer = RawPeer.ofServer({ writerBufferSize: 1000, ...options });
  const filler = peer.invoke(invoke(99));
  filler.stream.trySend(Buffer.alloc(1000));
  peer.clock.turn();
  filler.stream.trySend(Buffer.alloc(1000));
  return { peer, call: peer.invoke(invoke(1)) };
}

/** The frames of stream `id` among those sent. */
function sentOn(peer: RawPeer, id: number): string[] {
  return peer.sent().filter((line) => line.includes(` s${id} `));
}

describe('Stream: sending', () => {
  it('sends text and bytes, empty ones too', () => {
    const peer = RawPeer.ofClient();
    const { stream } = peer.open();
    peer.sent();
    expect([stream.trySend(''), stream.trySend(Buffer.alloc(0)), stream.trySend('né')]).toEqual([
      true,
      true,
      true,
    ]);
    expect(peer.sentBytes().toString('hex')).toBe('0501020005010300050104036ec3a9');
  });

  it('splits a message at the split size, without an empty last frame', () => {
    const peer = RawPeer.ofClient({ splitSize: 5 });
    const { stream } = peer.open();
    peer.sent();
    stream.trySend('abcdefghijkl');
    stream.trySend(Buffer.from('abcdefghij'));
    expect(peer.sent()).toEqual([
      'Message+ s1 m2 abcde',
      'Message+ s1 m2 fghij',
      'Message s1 m2 kl',
      'Message+ s1 m3 abcde',
      'Message s1 m3 fghij',
    ]);
  });

  it('splits at 64 KiB by default', () => {
    const peer = RawPeer.ofClient();
    const { stream } = peer.open();
    peer.sent();
    stream.trySend(Buffer.alloc(65_537));
    expect(peer.sent()).toEqual([
      'Message+ s1 m2 <65536 bytes>',
      'Message s1 m2 \0'.replace('\0', '<1 bytes>'),
    ]);
  });

  it('refuses a message over the limit and goes on, in bytes and in text', () => {
    const peer = RawPeer.ofClient({ maxSendSize: 10 });
    const { stream } = peer.open();
    peer.sent();
    expect(trySend(stream, Buffer.alloc(11))).toBe(
      'MessageSizeError: message of 11 bytes exceeds the limit of 10',
    );
    expect(thrownBy(() => stream.msgSend('ééééé!'))).toBeInstanceOf(MessageSizeError);
    expect(trySend(stream, 'ééééé')).toBe('ok');
    expect(peer.sentBytes().subarray(0, 4).toString('hex')).toBe('0501020a');
  });

  it('copies what it appends: the bytes may be used again', () => {
    const peer = RawPeer.ofClient();
    const { stream } = peer.open();
    peer.sent();
    const bytes = Buffer.from('hello');
    stream.trySend(bytes);
    bytes.fill('x');
    expect(peer.sent()).toEqual(['Message s1 m2 hello']);
  });

  it('answers true while there is room, and a promise once it waits', async () => {
    const peer = fullClient();
    const { stream } = peer.open();
    const waiting = stream.msgSend('waits');
    expect(waiting).toBeInstanceOf(Promise);
    expect(stream.queuedBytes).toBeGreaterThanOrEqual(5);
    peer.sent();
    await waiting;
    expect([stream.queuedBytes, stream.msgSend('now')]).toEqual([0, true]);
  });

  it('keeps what waits in order: Invoke, messages, CloseSend', () => {
    const peer = fullClient();
    const { stream } = peer.open('/waits', encodeMetadata({ k: 'v' }));
    expect([stream.id, stream.isUnsent]).toEqual([0, true]);
    stream.trySend('one');
    stream.trySend('two');
    stream.closeSend();
    expect(sentOn(peer, 2)).toEqual([
      'InvokeMetadata s2 m1 <8 bytes>',
      'Invoke s2 m2 /waits',
      'Message s2 m3 one',
      'Message s2 m4 two',
      'CloseSend s2 m5',
    ]);
    expect(stream.isUnsent).toBe(false);
  });

  it.each<[string, (call: Call) => void, string]>([
    ['closeSend', ({ stream }) => stream.closeSend(), 'CloseSend s1 m2'],
    ['close', ({ stream }) => stream.close(), 'Close s1 m2'],
    ['sendError', ({ stream }) => stream.sendError(new DrpcError(5, 'no')), 'Error s1 m2 (5) no'],
  ])('keeps %s behind messages that wait, and loses it not', (_name, end, expected) => {
    const { peer, call } = fullServer();
    call.stream.trySend('first');
    end(call);
    expect(call.stream.isTerminated).toBe(false);
    expect(trySend(call.stream)).toMatch(/^EofError/);
    expect(sentOn(peer, 1)).toEqual(['Message s1 m1 first', expected]);
  });

  it('says only the first of several ends that wait', () => {
    const { peer, call } = fullServer();
    call.stream.trySend('first');
    call.stream.sendError(new DrpcError(5, 'first error'));
    call.stream.sendError(new DrpcError(6, 'second error'));
    call.stream.close();
    expect(sentOn(peer, 1)).toEqual(['Message s1 m1 first', 'Error s1 m2 (5) first error']);
    expect(call.stream.cause).toMatchObject({ code: 5, message: 'first error' });
  });

  it('counts nothing as waiting any more when a queue ends with an end', () => {
    const { peer, call } = fullServer();
    for (let i = 0; i < 5; i++) call.stream.trySend('x'.repeat(100));
    call.stream.sendError(new DrpcError(5, 'no'));
    expect(peer.manager.queuedBytes).toBeGreaterThan(500);
    peer.sent();
    expect([peer.manager.queuedBytes, call.stream.queuedBytes]).toEqual([0, 0]);
  });

  it('ends when both sides have closed, also when its CloseSend had to wait', () => {
    const { peer, call } = fullServer();
    call.stream.trySend('answer');
    call.stream.closeSend();
    peer.send(closeSend(1, 2));
    expect(call.sink.take()).toEqual(['end']);
    expect(call.stream.isTerminated).toBe(false);
    expect(sentOn(peer, 1)).toEqual(['Message s1 m1 answer', 'CloseSend s1 m2']);
    expect([call.stream.isTerminated, call.stream.cause]).toEqual([true, undefined]);
    expect(call.sink.take()).toEqual(['terminated']);
    expect(peer.manager.queuedBytes).toBe(0);
  });

  it('gives up on a source that can not wait when too much has gathered', () => {
    const { peer, call } = fullServer({ sendQueueSize: 3000, maxSendSize: 1000 });
    const sent = [1, 2, 3, 4, 5].map(() => trySend(call.stream, Buffer.alloc(800)));
    expect(sent.at(-1)).toBe(OVER);
    expect(call.stream.cause).toMatchObject({ code: 8 });
    expect(call.stream.cause!.message).toContain('bytes wait to be sent: at most 3000 may');
    expect(peer.overloads).toEqual([call.stream.cause!.message]);
    expect(sentOn(peer, 1)).toEqual([expect.stringContaining('Error! s1 m1 (8)')]);
    expect([peer.manager.queuedBytes, peer.cause]).toEqual([0, undefined]);
  });

  it('counts what each waiting message costs beside its bytes', () => {
    const { call } = fullServer({ sendQueueSize: 10_000, maxSendSize: 1000 });
    let sent = 0;
    while (call.stream.canSend && sent < 100_000) {
      call.stream.trySend('');
      sent++;
    }
    expect(sent).toBeLessThan(1000);
  });

  it('takes one message of the largest size, whatever the bound of its queue', () => {
    const { call } = fullServer({ sendQueueSize: 10, maxSendSize: 5000 });
    expect(trySend(call.stream, Buffer.alloc(5000))).toBe('ok');
    expect(call.stream.isTerminated).toBe(false);
  });

  it('gives others a turn after 256 messages that had not to wait', async () => {
    const peer = RawPeer.ofClient();
    const { stream } = peer.open();
    for (let round = 0; round < 2; round++) {
      const sent = Array.from({ length: 256 }, () => stream.msgSend('x'));
      expect(sent.indexOf(true)).toBe(0);
      expect(sent.findIndex((result) => result !== true)).toBe(255);
      const order: string[] = [];
      const turn = (sent[255] as Promise<void>).then(() => order.push('sent'));
      await Promise.resolve();
      order.push('turn');
      peer.clock.yielded();
      await turn;
      expect(order).toEqual(['turn', 'sent']);
    }
  });

  it('waits for room as well after that turn', async () => {
    const { peer, call } = fullServer();
    const sent = Array.from({ length: 256 }, () => call.stream.msgSend('x') as Promise<void>);
    const order: string[] = [];
    const last = sent[255]!.then(() => order.push('sent'));
    peer.clock.yielded();
    await new Promise((resolve) => setImmediate(resolve));
    order.push('room');
    peer.sent();
    await last;
    expect(order).toEqual(['room', 'sent']);
  });

  it.each([
    ['text', 'x'.repeat(16 * KIB)],
    ['bytes', Buffer.alloc(16 * KIB)],
  ])('makes a stream wait that sent much %s, and no other, until the next write', (_what, much) => {
    const peer = RawPeer.ofServer({ bulkSize: 1000 });
    const [filler, great, small] = [1, 2, 3].map((id) => peer.invoke(invoke(id)).stream);
    const keepBusy = (): void => {
      filler!.trySend('under way');
      peer.clock.turn();
      filler!.trySend(Buffer.alloc(1000));
    };
    keepBusy();
    expect(great!.trySend(much)).toBe(true);
    expect([great!.trySend('more'), small!.trySend('little')]).toEqual([false, true]);
    peer.sent();
    keepBusy();
    expect(great!.trySend('again')).toBe(true);
  });

  it('takes no notice of canSend being asked', () => {
    const peer = RawPeer.ofClient();
    const { stream } = peer.open();
    expect(stream.canSend).toBe(true);
    stream.closeSend();
    expect(stream.canSend).toBe(false);
    expect(describeFrames(peer.sentBytes())).toEqual(['Invoke s1 m1 /rpc', 'CloseSend s1 m2']);
  });
});

describe('Stream: a sender that waits', () => {
  const ends: [string, (peer: RawPeer, call: Call) => unknown, string][] = [
    ['a remote Cancel', (peer) => peer.send(cancel(1, 9)), OVER],
    ['a remote Error', (peer) => peer.send(storjError(1, 9, 5, 'no')), OVER],
    ['a remote Close', (peer) => peer.send(close(1, 9)), 'ClosedError: remote closed the stream'],
    ['a local cancel', (_peer, { stream }) => stream.sendCancel(new CanceledError('enough')), OVER],
    ['a fault found here', (_peer, { stream }) => stream.fail(new DrpcError(8, 'full')), OVER],
    [
      'the end of the connection, whose very cause it is told',
      (peer) => peer.manager.terminate(new ClosedError('connection lost')),
      'ClosedError: connection lost',
    ],
  ];

  it.each(ends)('for room is woken by %s', async (_what, end, expected) => {
    const { peer, call } = fullServer();
    const sending = call.stream.msgSend('waits') as Promise<void>;
    end(peer, call);
    expect(await outcome(sending)).toBe(expected);
    expect([call.stream.queuedBytes, peer.manager.queuedBytes]).toEqual([0, 0]);
  });

  it.each(ends)('for credit is woken by %s', async (_what, end, expected) => {
    const peer = RawPeer.ofServer({ sendWindow: 64 * KIB, recvWindow: 64 * KIB });
    const call = peer.invoke(invoke(1));
    call.stream.trySend(Buffer.alloc(64 * KIB));
    const sending = call.stream.msgSend('waits') as Promise<void>;
    peer.sent();
    end(peer, call);
    expect(await outcome(sending)).toBe(expected);
    expect(peer.manager.queuedBytes).toBe(0);
  });

  it('is told so when its own message brings the stream to its end', async () => {
    const { call } = fullServer({ sendQueueSize: 1000, maxSendSize: 1000 });
    const first = call.stream.msgSend(Buffer.alloc(900)) as Promise<void>;
    const second = call.stream.msgSend(Buffer.alloc(900)) as Promise<void>;
    expect(call.stream.isTerminated).toBe(true);
    expect([await outcome(first), await outcome(second)]).toEqual([OVER, OVER]);
  });

  it('is woken once everything it waited for has been appended', async () => {
    const { peer, call } = fullServer();
    const order: string[] = [];
    const sends = [1, 2, 3].map((n) =>
      (call.stream.msgSend(`${n}`) as Promise<void>).then(() => order.push(`${n}`)),
    );
    await Promise.resolve();
    expect(order).toEqual([]);
    peer.sent();
    await Promise.all(sends);
    expect(order).toEqual(['1', '2', '3']);
  });

  it.each<[string, (stream: Call['stream']) => void]>([
    ['closeSend', (stream) => stream.closeSend()],
    ['close', (stream) => stream.close()],
    ['sendError', (stream) => stream.sendError(new DrpcError(5, 'no'))],
  ])('has sent everything, and is told so, when %s waits behind it', async (_name, end) => {
    const { peer, call } = fullServer();
    const sending = call.stream.msgSend('waits') as Promise<void>;
    // So that all three end the stream.
    peer.send(closeSend(1, 2));
    end(call.stream);
    peer.sent();
    expect(call.stream.isTerminated).toBe(true);
    expect(await outcome(sending)).toBe('resolved');
  });

  it('hears of room at once when nothing waits', async () => {
    const peer = RawPeer.ofServer();
    const { stream } = peer.invoke(invoke(1));
    expect(await outcome(stream.drained())).toBe('resolved');
  });

  it('makes no unhandled rejection when nobody listens', async () => {
    const { call } = fullServer();
    void call.stream.msgSend('waits');
    void call.stream.drained();
    call.stream.sendCancel();
    // vitest fails a run with unhandled rejections.
    await new Promise((resolve) => setImmediate(resolve));
    expect(call.stream.isTerminated).toBe(true);
  });
});

describe('Stream: a receiver that waits', () => {
  it.each<[string, (peer: RawPeer, call: Call) => unknown, string]>([
    ['a remote CloseSend', (peer) => peer.send(closeSend(1, 9)), 'end'],
    ['a remote Close', (peer) => peer.send(close(1, 9)), 'end'],
    ['a remote Error', (peer) => peer.send(storjError(1, 9, 5, 'no')), 'end code 5: no'],
    ['a remote Cancel', (peer) => peer.send(cancel(1, 9)), 'end CanceledError: canceled'],
    [
      'a local Close',
      (_peer, { stream }) => stream.close(),
      'end EofError: drpc: stream terminated by sending close',
    ],
    [
      'a local SendError',
      (_peer, { stream }) => stream.sendError(new DrpcError(5, 'no')),
      'end EofError: drpc: stream terminated by sending error',
    ],
    ['a local cancel', (_peer, { stream }) => stream.sendCancel(), 'end CanceledError: canceled'],
    [
      'a deadline',
      ({ clock }, { stream }) => [stream.setDeadline(5), clock.advance(5)],
      'end DeadlineError: deadline exceeded',
    ],
    [
      'the end of the connection',
      (peer) => peer.manager.terminate(new ClosedError('connection lost')),
      'end ClosedError: connection lost',
    ],
    [
      'the end of the socket',
      (peer) => peer.manager.receiveEnd(),
      'end ClosedError: connection closed by the peer',
    ],
  ])('is woken by %s', (_what, run, expected) => {
    const peer = RawPeer.ofServer();
    const call = peer.invoke(invoke(1));
    expect(call.sink.take()).toEqual([]);
    run(peer, call);
    expect(call.sink.take().filter((event) => event !== 'terminated')).toEqual([expected]);
  });
});

describe('Stream: canceling', () => {
  it('sends one Cancel and nothing that waited; other streams and the connection go on', () => {
    const peer = fullClient();
    const other = peer.open('/other');
    const { stream } = peer.open('/canceled');
    peer.sent();
    peer.open('/filler2').stream.trySend(Buffer.alloc(1000));
    peer.clock.turn();
    peer.open('/filler3').stream.trySend(Buffer.alloc(1000));
    stream.trySend('dropped');
    other.stream.trySend('kept');
    expect(stream.sendCancel()).toBe(true);
    const sent = peer.sent();
    expect(sent.filter((line) => line.includes(' s3 '))).toEqual(['Cancel! s3 m2']);
    expect(sent).toContain('Message s2 m2 kept');
    expect(peer.cause).toBeUndefined();
  });

  it('overtakes a half-written message, which is abandoned', () => {
    const peer = RawPeer.ofClient({ writerBufferSize: 100_000, bulkSize: 100_000 });
    const { stream } = peer.open();
    peer.sent();
    stream.trySend(Buffer.alloc(1_000_000));
    peer.clock.turn();
    stream.sendCancel();
    const sent = peer.sent();
    expect(sent.at(-1)).toBe('Cancel! s1 m3');
    expect(sent.slice(0, -1).every((line) => line.startsWith('Message+ s1 m2'))).toBe(true);
    expect(sent.length).toBeLessThan(6);
  });

  it('passes a writer that is full', () => {
    const { peer, call } = fullServer();
    call.stream.trySend('dropped');
    call.stream.sendCancel();
    expect(peer.manager.writer.isFull).toBe(true);
    expect(sentOn(peer, 1)).toEqual(['Cancel! s1 m1']);
  });

  it('sends nothing, and spends no stream id, when the Invoke never entered the writer', () => {
    const peer = fullClient();
    const { stream, sink } = peer.open('/never', encodeMetadata({ k: 'v' }));
    stream.trySend('never');
    stream.closeSend();
    expect(stream.sendCancel()).toBe(true);
    expect([stream.isUnsent, stream.id]).toEqual([true, 0]);
    expect(sink.take()).toEqual(['terminated', 'end CanceledError: canceled']);
    const next = peer.open('/next');
    const sent = peer.sent();
    expect(sent.filter((line) => /never|Cancel/.test(line))).toEqual([]);
    expect(sent.at(-1)).toBe('Invoke s2 m1 /next');
    expect(next.stream.id).toBe(2);
    expect(peer.manager.queuedBytes).toBe(0);
  });

  it('can not come between metadata and Invoke', () => {
    const peer = RawPeer.ofClient();
    const { stream } = peer.open('/rpc', encodeMetadata({ k: 'v' }));
    stream.sendCancel();
    expect(peer.sent()).toEqual(['InvokeMetadata s1 m1 <8 bytes>', 'Invoke s1 m2 /rpc', 'Cancel! s1 m3']);
  });

  it('is recorded together with the end: no receiver is told the ordinary end', () => {
    const peer = RawPeer.ofClient();
    const { stream, sink } = peer.open();
    const seen: unknown[] = [];
    sink.during.terminated = () => seen.push(stream.cause, stream.isCanceled);
    const cause = new CanceledError('enough');
    stream.sendCancel(cause);
    expect(seen).toEqual([cause, true]);
    expect(sink.causes).toEqual([cause]);
  });

  it('after a finished call sends nothing', () => {
    const peer = RawPeer.ofClient();
    const { stream } = peer.open();
    stream.closeSend();
    peer.sent();
    peer.send(message(1, 1, 'answer'), closeSend(1, 2));
    expect(stream.sendCancel()).toBe(false);
    expect(peer.sent()).toEqual([]);
  });

  it('is not stopped by a close that waits, nor stops it twice', () => {
    const { peer, call } = fullServer();
    call.stream.trySend('waits');
    call.stream.close();
    call.stream.sendCancel();
    call.stream.close();
    expect(sentOn(peer, 1)).toEqual(['Cancel! s1 m1']);
    expect(call.sink.take()).toEqual(['terminated', 'end CanceledError: canceled']);
  });
});

describe('Stream: what was sent', () => {
  it('counts as unsent until the batch with its Invoke is at the socket', () => {
    const peer = RawPeer.ofClient();
    const first = peer.open().stream;
    expect([first.id, first.isUnsent]).toEqual([1, true]);
    peer.clock.turn();
    expect(first.isUnsent).toBe(false);
    const second = peer.open().stream;
    peer.clock.turn();
    // The first write has not been answered, so the second waits.
    expect(second.isUnsent).toBe(true);
    peer.socket.release();
    expect(second.isUnsent).toBe(false);
  });

  it('stays known when the connection ends', () => {
    const peer = RawPeer.ofClient();
    const first = peer.open().stream;
    peer.clock.turn();
    const second = peer.open().stream;
    peer.manager.terminate(new ClosedError('lost'));
    expect([first.isUnsent, second.isUnsent]).toEqual([false, true]);
  });
});

describe('Stream: receiving', () => {
  it('hands over as many messages as were asked for, in order', () => {
    const peer = RawPeer.ofServer({ demand: 0 });
    const { stream, sink } = peer.invoke(invoke(1));
    peer.send(message(1, 2, 'a'), message(1, 3, 'b'), message(1, 4, ''), message(1, 5, 'd'));
    expect(sink.take()).toEqual([]);
    stream.request(1);
    expect(sink.take()).toEqual(['message a']);
    stream.request(2);
    expect(sink.take()).toEqual(['message b', 'message ']);
    stream.request(5);
    expect(sink.take()).toEqual(['message d']);
    peer.send(message(1, 6, 'e'));
    expect(sink.take()).toEqual(['message e']);
  });

  it('tells an answer and its end in one callback when they arrive together', () => {
    const peer = RawPeer.ofClient();
    const { stream, sink } = peer.open();
    stream.closeSend();
    peer.sent();
    peer.send(message(1, 1, 'answer'), closeSend(1, 2));
    expect(sink.take()).toEqual(['message answer (last)', 'terminated', 'end']);
  });

  it('tells the same of an answer that waited', () => {
    const peer = RawPeer.ofClient({ demand: 0 });
    const { stream, sink } = peer.open();
    peer.send(message(1, 1, 'one'), message(1, 2, 'two'), closeSend(1, 3));
    stream.request(Infinity);
    expect(sink.take()).toEqual(['message one', 'message two (last)', 'end']);
  });

  it('does not call a message the last before an error', () => {
    const peer = RawPeer.ofClient({ demand: 0 });
    const { stream, sink } = peer.open();
    peer.send(message(1, 1, 'one'), storjError(1, 2, 5, 'no'));
    stream.request(Infinity);
    expect(sink.take()).toEqual(['terminated', 'message one', 'end code 5: no']);
  });

  it('delivers what is queued after the end, and then the end', () => {
    const peer = RawPeer.ofServer({ demand: 0 });
    const { stream, sink } = peer.invoke(invoke(1));
    peer.send(message(1, 2, 'a'), message(1, 3, 'b'), cancel(1, 4));
    expect(sink.take()).toEqual(['terminated']);
    stream.request(1);
    expect(sink.take()).toEqual(['message a']);
    stream.request(1);
    expect(sink.take()).toEqual(['message b', 'end CanceledError: canceled']);
    stream.request(1);
    expect(sink.take()).toEqual([]);
  });

  it('tells the end at once when nothing is queued, whether anybody asked or not', () => {
    const peer = RawPeer.ofServer({ demand: 0 });
    const { sink } = peer.invoke(invoke(1));
    peer.send(closeSend(1, 2));
    expect(sink.take()).toEqual(['end']);
  });

  it('puts a message of many frames together, in pieces of any size', () => {
    const peer = RawPeer.ofServer();
    const { sink } = peer.invoke(invoke(1));
    const bytes = Buffer.concat([
      part(Kind.Message, 1, 2, 'x'.repeat(5000)),
      message(1, 2, 'y'.repeat(10_000)),
    ]);
    for (let at = 0; at < bytes.length; at += 777) peer.send(bytes.subarray(at, at + 777));
    expect(sink.take()).toEqual(['message <15000 bytes>']);
    expect(peer.manager.heldBytes).toBe(0);
  });

  it('drops an unfinished message behind which the end comes', () => {
    const peer = RawPeer.ofServer();
    const { sink } = peer.invoke(invoke(1));
    peer.send(part(Kind.Message, 1, 2, 'half'), closeSend(1, 3));
    expect(sink.take()).toEqual(['end']);
    expect([peer.manager.heldBytes, peer.manager.pool.usage.lent]).toEqual([0, 0]);
  });

  it('ignores the data of Cancel, Close and CloseSend', () => {
    const peer = RawPeer.ofServer();
    const call = peer.invoke(invoke(1));
    peer.send(frame(Kind.CloseSend, 1, 2, 'why'), frame(Kind.Close, 1, 3, 'why'));
    expect(call.sink.take()).toEqual(['end', 'terminated']);
  });

  it('answers ids beyond 2^53 exactly', () => {
    const peer = RawPeer.ofServer();
    const ids = [2n ** 53n, 2n ** 53n + 1n, 2n ** 64n - 1n];
    for (const id of ids) {
      const { stream } = peer.invoke(invoke(id, '/big', 2n ** 60n));
      peer.send(message(id, 2n ** 60n + 1n, 'hello'));
      stream.trySend(`to ${id}`);
      stream.closeSend();
    }
    expect(peer.accepted.map(({ sink }) => sink.take())).toEqual(ids.map(() => ['message hello']));
    expect(peer.sent()).toEqual(ids.flatMap((id) => [`Message s${id} m1 to ${id}`, `CloseSend s${id} m2`]));
  });

  it('keeps no chunk of the socket alive while it is idle', async () => {
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    const peer = RawPeer.ofServer();
    peer.send(invoke(1));
    let chunk: Buffer | undefined = Buffer.alloc(200_000);
    message(1, 2, 'hello').copy(chunk);
    const memory = new WeakRef(chunk.buffer);
    peer.manager.receive(chunk.subarray(0, 9));
    chunk = undefined;
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
    expect(peer.last.sink.take()).toEqual(['message hello']);
    expect(memory.deref()).toBeUndefined();
  });
});

describe('Stream: discard', () => {
  it('drops what is queued and what still comes, and frees it', () => {
    const peer = RawPeer.ofServer({ demand: 0 });
    const { stream, sink } = peer.invoke(invoke(1));
    peer.send(message(1, 2, 'a'), message(1, 3, 'b'));
    expect(peer.manager.heldBytes).toBeGreaterThan(0);
    stream.discard();
    peer.send(message(1, 4, 'c'), closeSend(1, 5));
    expect(sink.take()).toEqual([]);
    expect([peer.manager.heldBytes, peer.manager.pool.usage.lent]).toEqual([0, 0]);
    stream.discard();
  });

  it('frees what waits of a stream that has ended', () => {
    const peer = RawPeer.ofServer({ demand: 0 });
    const { stream } = peer.invoke(invoke(1));
    peer.send(message(1, 2, 'a'), cancel(1, 3));
    expect(stream.heldBytes).toBeGreaterThan(0);
    stream.discard();
    expect([stream.heldBytes, peer.manager.heldBytes]).toEqual([0, 0]);
  });
});

describe('Stream: the deadline', () => {
  it('ends a server stream with an Error of code 4', () => {
    const peer = RawPeer.ofServer();
    const { stream, sink } = peer.invoke(invoke(1));
    stream.setDeadline(250);
    peer.clock.advance(249);
    expect(sink.take()).toEqual([]);
    peer.clock.advance(1);
    expect(peer.sent()).toEqual(['Error! s1 m1 (4) deadline exceeded']);
    expect(sink.take()).toEqual(['terminated', 'end DeadlineError: deadline exceeded']);
  });

  it('ends a client stream with a Cancel', () => {
    const peer = RawPeer.ofClient();
    const { stream, sink } = peer.open();
    peer.sent();
    stream.setDeadline(250);
    peer.clock.advance(250);
    expect(peer.sent()).toEqual(['Cancel! s1 m2']);
    expect(sink.take()).toEqual(['terminated', 'end DeadlineError: deadline exceeded']);
    expect(stream.isCanceled).toBe(false);
  });

  it('sends nothing for a stream whose Invoke waits', () => {
    const peer = fullClient();
    const { stream } = peer.open('/never');
    stream.setDeadline(250);
    peer.clock.advance(250);
    expect(peer.sent().filter((line) => line.includes('never') || line.includes('Cancel'))).toEqual([]);
  });

  it('leaves no timer when the stream ends before, and none when it is set later', () => {
    const peer = RawPeer.ofServer();
    const { stream } = peer.invoke(invoke(1));
    stream.setDeadline(250);
    stream.setDeadline(500);
    expect(peer.clock.pendingTimers).toBe(1);
    stream.sendCancel();
    expect(peer.clock.pendingTimers).toBe(0);
    stream.setDeadline(250);
    expect(peer.clock.pendingTimers).toBe(0);
  });

  it('is one: the last that was set', () => {
    const peer = RawPeer.ofServer();
    const { stream } = peer.invoke(invoke(1));
    stream.setDeadline(250);
    stream.setDeadline(500);
    peer.clock.advance(499);
    expect(stream.isTerminated).toBe(false);
    peer.clock.advance(1);
    expect(stream.isTerminated).toBe(true);
  });
});
