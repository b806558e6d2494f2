import { describe, expect, it } from 'vitest';
import { ClosedError, DrpcError } from '../../lib/errors/drpc-error.js';
import { MemoryBudget } from '../../lib/manager/memory-budget.js';
import { encodeMetadata, ENTRY_OVERHEAD } from '../../lib/metadata/metadata.js';
import { Kind } from '../../lib/wire/kind.js';
import {
  cancel,
  close,
  closeSend,
  frame,
  invoke,
  message,
  part,
  storjError,
  windowUpdate,
} from '../helpers/frames.js';
import { NOTHING, remains } from '../helpers/leaks.js';
import { RawPeer, type Call } from '../helpers/raw-peer.js';
import { outcome, Recorder, thrownBy, trySend } from '../helpers/recorder.js';
import { vectorsNamed } from '../helpers/vectors.js';

type Role = 'client' | 'server';
const ROLES: Role[] = ['client', 'server'];

const metadata = (id: number, pairs: Record<string, string>, messageId = 1): Buffer =>
  frame(Kind.InvokeMetadata, id, messageId, encodeMetadata(pairs));

/** A peer with one living call, number 1, whatever the role. */
function withCall(role: Role): { peer: RawPeer; call: Call } {
  const peer = new RawPeer(role);
  const call = role === 'server' ? peer.invoke(invoke(1)) : peer.open();
  peer.sent();
  return { peer, call };
}

describe('Manager: the frames of a call', () => {
  const rpc = '/service.Service/Method1';

  it('of a unary call go out in one write, byte for byte as in the references', () => {
    for (const [name, pairs] of [
      ['unary_request_no_metadata', undefined],
      ['unary_request_with_metadata', { key: 'value' }],
    ] as const) {
      const peer = RawPeer.ofClient();
      const { stream } = peer.open(rpc, pairs && encodeMetadata(pairs));
      stream.trySend(Buffer.from('0801', 'hex'));
      stream.closeSend();
      peer.clock.turn();
      expect(peer.socket.writes).toHaveLength(1);
      const expected = vectorsNamed(name)[0]!.hex;
      expect(peer.sentBytes().toString('hex')).toBe(expected);
    }
  });

  it('of a unary answer go out in one write', () => {
    const peer = RawPeer.ofServer();
    const { stream } = peer.invoke(Buffer.from(vectorsNamed('unary_request_no_metadata')[0]!.hex, 'hex'));
    stream.trySend(Buffer.from('0801', 'hex'));
    stream.closeSend();
    peer.clock.turn();
    expect(peer.socket.writes).toHaveLength(1);
    expect(peer.sentBytes().toString('hex')).toBe(vectorsNamed('unary_response_ok')[0]!.hex);
    expect(stream.isTerminated).toBe(true);
  });

  it.each([
    ['storj', 'unary_response_error_storj', new DrpcError(5, 'test')],
    ['status', 'unary_response_error_cockroach', new DrpcError(5, 'test')],
  ] as const)('of an error go out in the %s form', (errorForm, name, error) => {
    const peer = RawPeer.ofServer({ errorForm });
    const { stream } = peer.invoke(invoke(1));
    stream.sendError(error);
    expect(peer.sentBytes().toString('hex')).toBe(vectorsNamed(name)[0]!.hex);
  });

  it('of a client stream', () => {
    const peer = RawPeer.ofClient();
    const { stream, sink } = peer.open(rpc);
    stream.trySend('a');
    stream.trySend('b');
    stream.closeSend();
    expect(peer.sent()).toEqual([
      `Invoke s1 m1 ${rpc}`,
      'Message s1 m2 a',
      'Message s1 m3 b',
      'CloseSend s1 m4',
    ]);
    peer.send(message(1, 1, 'sum'), closeSend(1, 2));
    expect(sink.take()).toEqual(['message sum (last)', 'terminated', 'end']);
    expect(peer.sent()).toEqual([]);
  });

  it('of a server stream', () => {
    const peer = RawPeer.ofServer();
    const { stream, sink } = peer.invoke(invoke(1, rpc), message(1, 2, 'q'), closeSend(1, 3));
    expect(sink.take()).toEqual(['message q (last)', 'end']);
    for (const text of ['1', '2', '3']) stream.trySend(text);
    stream.closeSend();
    expect(peer.sent()).toEqual(['Message s1 m1 1', 'Message s1 m2 2', 'Message s1 m3 3', 'CloseSend s1 m4']);
    expect(sink.take()).toEqual(['terminated']);
  });

  it.each(['client first', 'server first'])('of both directions at once, half-closed %s', (order) => {
    const client = RawPeer.ofClient();
    const server = RawPeer.ofServer();
    const here = client.open(rpc);
    server.send(client.sentBytes());
    const there = server.last;
    const run = (): void => {
      server.send(client.sentBytes());
      client.send(server.sentBytes());
    };
    here.stream.trySend('ping');
    run();
    there.stream.trySend('pong');
    run();
    const [first, second] = order === 'client first' ? [here, there] : [there, here];
    first.stream.closeSend();
    run();
    run();
    expect([first.stream.isTerminated, second.stream.isTerminated]).toEqual([false, false]);
    second.stream.trySend('last words');
    second.stream.closeSend();
    run();
    run();
    expect([first.stream.cause, second.stream.cause]).toEqual([undefined, undefined]);
    expect(here.sink.events.filter((event) => event !== 'terminated')).toEqual(
      order === 'client first'
        ? ['message pong', 'message last words (last)', 'end']
        : ['message pong', 'end'],
    );
    expect(there.sink.events.at(0)).toBe('message ping');
    expect([here, there].every(({ sink }) => sink.events.includes('terminated'))).toBe(true);
  });

  it('of several streams may stand in any order in one chunk', () => {
    const peer = RawPeer.ofServer();
    peer.send(Buffer.from(vectorsNamed('mux_two_streams_interleaved')[0]!.hex, 'hex'));
    expect(peer.accepted.map(({ stream }) => stream.id)).toEqual([1, 2]);
    expect(peer.accepted.every(({ sink }) => sink.events.length > 0)).toBe(true);
    expect(peer.cause).toBeUndefined();
  });

  it('with large messages of several streams stay intact, interleaved', () => {
    const peer = RawPeer.ofServer();
    peer.send(invoke(1), invoke(2), invoke(3));
    const texts = ['a', 'b', 'c'].map((letter) => letter.repeat(3000));
    for (let at = 0; at < 3000; at += 1000) {
      for (const [i, text] of texts.entries()) {
        const data = text.slice(at, at + 1000);
        peer.send(at + 1000 < 3000 ? part(Kind.Message, i + 1, 2, data) : message(i + 1, 2, data));
      }
    }
    expect(peer.accepted.map(({ sink }) => sink.take())).toEqual(
      [1, 2, 3].map(() => ['message <3000 bytes>']),
    );
  });

  it('that were cut anywhere between writes are the same', () => {
    const bytes = Buffer.concat([
      metadata(1, { k: 'v' }),
      invoke(1, rpc, 2),
      message(1, 3, 'hello'),
      part(Kind.Message, 1, 4, 'wor'),
      message(1, 4, 'ld'),
      closeSend(1, 5),
    ]);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const peer = RawPeer.ofServer();
      peer.send(bytes.subarray(0, cut));
      peer.send(bytes.subarray(cut));
      expect([peer.last.stream.rpc, { ...peer.last.stream.metadata }]).toEqual([rpc, { k: 'v' }]);
      expect(peer.last.sink.events.map((event) => event.replace(' (last)', ''))).toEqual([
        'message hello',
        'message world',
        'end',
      ]);
    }
  });
});

describe('Manager: stream ids', () => {
  it('begin at 1 and grow on the wire, whatever the order in which calls were canceled', () => {
    const peer = RawPeer.ofClient();
    const streams = [1, 2, 3].map((n) => peer.open(`/${n}`).stream);
    streams[1]!.sendCancel();
    streams.push(peer.open('/4').stream);
    expect(streams.map(({ id }) => id)).toEqual([1, 2, 3, 4]);
    expect(peer.manager.lastStreamId).toBe(4);
    expect(peer.sent().filter((line) => line.startsWith('Invoke'))).toEqual(
      [1, 2, 3, 4].map((n) => `Invoke s${n} m1 /${n}`),
    );
  });

  it('may come in any order at a server', () => {
    const peer = RawPeer.ofServer();
    for (const id of [7, 3, 5]) peer.send(invoke(id));
    expect(peer.accepted.map(({ stream }) => stream.id)).toEqual([7, 3, 5]);
    expect(peer.manager.lastStreamId).toBe(7);
    peer.send(message(3, 2, 'hello'));
    expect(peer.accepted[1]!.sink.take()).toEqual(['message hello']);
  });

  it('are used once: an Invoke of a finished one ends the connection', () => {
    const peer = RawPeer.ofServer();
    const call = peer.invoke(invoke(1));
    call.stream.close();
    call.stream.handlerEnded();
    peer.send(invoke(1));
    expect(peer.cause).toBe(
      'ProtocolError: invoke of stream 1: the id was used before, or is too old to tell',
    );
    expect(peer.accepted).toHaveLength(1);
  });

  it('do not begin at 0', () => {
    const peer = RawPeer.ofServer();
    peer.send(invoke(0));
    expect(peer.cause).toBe('ProtocolError: invoke of stream 0: stream ids start at 1');
  });
});

describe('Manager: frames of streams it does not know', () => {
  const FRAMES: [string, Buffer][] = [
    ['a message', message(9, 3, 'late')],
    ['a part of one', part(Kind.Message, 9, 3, 'late')],
    ['an Error', storjError(9, 3, 5, 'late')],
    ['a Cancel', cancel(9, 3)],
    ['a Close', close(9, 3)],
    ['a CloseSend', closeSend(9, 3)],
    ['a WindowUpdate', windowUpdate(9, 5)],
    ['an unknown kind with the control bit', frame(63, 9, 3, 'x', { control: true })],
    ['a message of stream 0', message(0, 1, 'x')],
    ['a message with a bad id', message(9, 0)],
  ];

  it.each(ROLES.flatMap((role) => FRAMES.map(([what, bytes]) => [role, what, bytes] as const)))(
    '%s: %s is dropped',
    (role, _what, bytes) => {
      const { peer, call } = withCall(role);
      peer.send(bytes, message(1, 9, 'goes on'));
      expect(call.sink.take()).toEqual(['message goes on']);
      expect(peer.sent()).toEqual([]);
      expect(peer.cause).toBeUndefined();
    },
  );

  it('are dropped when the stream has just ended', () => {
    const { peer, call } = withCall('server');
    call.stream.close();
    peer.send(message(1, 2, 'late'), closeSend(1, 3), close(1, 4), cancel(1, 5));
    expect(call.sink.take()).toEqual([
      'terminated',
      'end EofError: drpc: stream terminated by sending close',
    ]);
    expect(peer.cause).toBeUndefined();
  });

  it('are held by nothing', () => {
    const { peer } = withCall('server');
    for (let id = 100; id < 200; id++) peer.send(part(Kind.Message, id, 1, Buffer.alloc(10_000)));
    expect(remains(peer.manager)).toMatchObject({ heldBytes: 0, lentBuffers: 0, slots: 1 });
  });
});

describe('Manager: the scope of faults', () => {
  const CONNECTION: [string, Role[], (peer: RawPeer) => unknown, string][] = [
    [
      'the end of the socket',
      ROLES,
      (peer) => peer.manager.receiveEnd(),
      'ClosedError: connection closed by the peer',
    ],
    [
      'bytes that are no frame',
      ROLES,
      (peer) => peer.send(Buffer.alloc(12, 0xff)),
      'ProtocolError: varint too long',
    ],
    [
      'a frame over the limit',
      ROLES,
      (peer) => peer.send(message(1, 9, Buffer.alloc(4 * 1024 * 1024 + 1)).subarray(0, 100)),
      'ProtocolError: frame of 4194305 bytes exceeds maximumBufferSize 4194304',
    ],
    ['message id 0', ROLES, (peer) => peer.send(message(1, 0)), 'ProtocolError: message id 0 on stream 1'],
    [
      'message ids that fall',
      ROLES,
      (peer) => peer.send(message(1, 9), message(1, 8)),
      'ProtocolError: message id 8 on stream 1 where 10 is the least allowed',
    ],
    [
      'a message that goes on when it is done',
      ROLES,
      (peer) => peer.send(message(1, 9), message(1, 9)),
      'ProtocolError: message id 9 on stream 1',
    ],
    [
      'a kind that changes within a packet',
      ROLES,
      (peer) => peer.send(part(Kind.Message, 1, 9, 'x'), frame(Kind.Error, 1, 9)),
      'ProtocolError: frame kind 3 after kind 2 in message 9 on stream 1',
    ],
    [
      'an Invoke of a living stream',
      ROLES,
      (peer) => peer.send(invoke(1, '/rpc', 9)),
      'ProtocolError: invoke on existing stream 1',
    ],
    [
      'an unknown kind on a living stream',
      ROLES,
      (peer) => peer.send(frame(9, 1, 9)),
      'ProtocolError: unknown frame kind 9 on stream 1',
    ],
    [
      'an unknown kind on a stream that nobody knows',
      ROLES,
      (peer) => peer.send(frame(9, 77, 9)),
      'ProtocolError: unknown frame kind 9 on stream 77',
    ],
    ['kind 0', ROLES, (peer) => peer.send(frame(0, 1, 9)), 'ProtocolError: unknown frame kind 0 on stream 1'],
    [
      'an Invoke by a server',
      ['client'],
      (peer) => peer.send(invoke(7)),
      'ProtocolError: invoke of stream 7 by a server',
    ],
    [
      'metadata by a server',
      ['client'],
      (peer) => peer.send(metadata(7, { k: 'v' })),
      'ProtocolError: invoke of stream 7 by a server',
    ],
    [
      'metadata that can not be decoded',
      ['server'],
      (peer) => peer.send(frame(Kind.InvokeMetadata, 2, 1, 'nonsense')),
      'ProtocolError: ',
    ],
    [
      'a write that the socket refuses',
      ROLES,
      (peer) => {
        peer.manager.writer.prefix(Buffer.from('anything'));
        peer.clock.turn();
        peer.socket.release(new Error('EPIPE'));
      },
      'ClosedError: connection lost',
    ],
    ['close()', ROLES, (peer) => void peer.manager.close(), 'ClosedError: manager closed: Close called'],
  ];

  it.each(
    CONNECTION.flatMap(([what, roles, run, cause]) => roles.map((role) => [what, role, run, cause] as const)),
  )('%s ends the connection of a %s, and every stream with the same cause', (_what, role, run, cause) => {
    const { peer, call } = withCall(role);
    const other = role === 'server' ? peer.invoke(invoke(5)) : peer.open();
    run(peer);
    expect(peer.cause).toContain(cause);
    expect([call.stream.cause, other.stream.cause]).toEqual([peer.manager.cause, peer.manager.cause]);
    expect(call.sink.events.at(-1)).toBe(`end ${peer.cause}`);
    expect(peer.events).toEqual([`terminated ${peer.cause}`]);
    expect(peer.socket.destroyed).toBe(true);
  });

  const STREAM: [string, Role[], (peer: RawPeer, call: Call) => unknown][] = [
    ['a handler error', ['server'], (_peer, { stream }) => stream.sendError(new DrpcError(5, 'no'))],
    ['a remote Error', ROLES, (peer) => peer.send(storjError(1, 9, 5, 'no'))],
    ['a remote Cancel', ROLES, (peer) => peer.send(cancel(1, 9))],
    ['a remote Close', ROLES, (peer) => peer.send(close(1, 9))],
    ['a local cancel', ROLES, (_peer, { stream }) => stream.sendCancel()],
    ['a local close', ROLES, (_peer, { stream }) => stream.close()],
    ['both ends half-closed', ROLES, (peer, { stream }) => [stream.closeSend(), peer.send(closeSend(1, 9))]],
    ['a deadline', ROLES, (peer, { stream }) => [stream.setDeadline(1), peer.clock.advance(1)]],
    [
      'a message over the limit',
      ROLES,
      (peer) => {
        const half = Buffer.alloc(3 * 1024 * 1024);
        peer.send(part(Kind.Message, 1, 9, half), message(1, 9, half));
      },
    ],
    [
      'an error payload that is none',
      ROLES,
      (peer) => peer.send(frame(Kind.Error, 1, 9, Buffer.of(0xff, 0xfe))),
    ],
    ['an empty error payload', ROLES, (peer) => peer.send(frame(Kind.Error, 1, 9))],
  ];

  it.each(STREAM.flatMap(([what, roles, run]) => roles.map((role) => [what, role, run] as const)))(
    '%s ends its stream alone, at a %s',
    (_what, role, run) => {
      const { peer, call } = withCall(role);
      const other = role === 'server' ? peer.invoke(invoke(5)) : peer.open();
      peer.sent();
      run(peer, call);
      expect([call.stream.isTerminated, other.stream.isTerminated]).toEqual([true, false]);
      expect(peer.cause).toBeUndefined();
      peer.sent();
      peer.send(message(other.stream.id, 9, 'goes on'));
      expect(other.sink.take()).toEqual(['message goes on']);
      expect([trySend(other.stream, 'too'), peer.sent().length]).toEqual(['ok', 1]);
    },
  );

  it('a hook that accepts and throws ends that stream alone, with no word of why', () => {
    const peer = RawPeer.ofServer();
    peer.onAccept = ({ stream }) => {
      if (stream.id === 1) throw new Error('secret');
    };
    peer.send(invoke(1), invoke(2));
    expect(peer.events).toEqual(['failed s1 Error: secret']);
    expect(peer.sent()).toEqual(['Error! s1 m1 (2) Internal server error']);
    expect([peer.manager.openStreams, peer.manager.slots]).toEqual([1, 1]);
    expect(peer.cause).toBeUndefined();
  });
});

describe('Manager: termination', () => {
  it('tells the first cause to all who come later', async () => {
    const { peer, call } = withCall('client');
    const cause = new ClosedError('first');
    peer.manager.terminate(cause);
    peer.manager.terminate(new ClosedError('second'));
    peer.manager.receiveEnd();
    expect([peer.manager.cause, call.stream.cause]).toEqual([cause, cause]);
    expect(thrownBy(() => peer.manager.open('/late', new Recorder()))).toBe(cause);
    expect(peer.manager.writer.stopCause).toBe(cause);
    expect(await peer.manager.closed).toBe(cause);
    expect(peer.events).toEqual(['terminated ClosedError: first']);
  });

  it('tells all streams in the same turn, before the hook', () => {
    const { peer, call } = withCall('server');
    const seen: string[] = [];
    call.sink.during.terminated = () => seen.push(`stream, ${peer.events.length} told`);
    peer.manager.terminate(new ClosedError('over'));
    expect(seen).toEqual(['stream, 0 told']);
    expect(peer.events).toHaveLength(1);
  });

  it('drops what was appended and not written', () => {
    const { peer, call } = withCall('client');
    call.stream.trySend('lost');
    peer.manager.terminate(new ClosedError('over'));
    expect(peer.sentBytes().length).toBe(0);
  });

  it('ends streams that have no id yet', () => {
    const peer = RawPeer.ofClient({ writerBufferSize: 100 });
    const first = peer.open();
    peer.clock.turn();
    first.stream.trySend(Buffer.alloc(200));
    const waiting = peer.open('/waits');
    expect([waiting.stream.id, peer.manager.openStreams]).toEqual([0, 2]);
    const cause = new ClosedError('over');
    peer.manager.terminate(cause);
    expect([waiting.stream.cause, waiting.stream.isUnsent]).toEqual([cause, true]);
    expect(waiting.sink.take()).toEqual(['terminated', 'end ClosedError: over']);
    expect(remains(peer.manager)).toEqual(NOTHING);
  });

  it('keeps the error of the socket as the cause of its own', async () => {
    const { peer } = withCall('client');
    const error = new Error('read ECONNRESET');
    peer.socket.destroy(error);
    const cause = await peer.manager.closed;
    expect(cause).toMatchObject({ name: 'ClosedError', code: 14, message: 'connection lost', cause: error });
  });

  it('reads nothing more', () => {
    const { peer, call } = withCall('server');
    peer.manager.terminate(new ClosedError('over'));
    peer.send(message(1, 2, 'late'), invoke(2));
    expect(call.sink.events.filter((event) => event.startsWith('message'))).toEqual([]);
    expect(peer.accepted).toHaveLength(1);
  });

  it('close() may be called again, and waits for the socket', async () => {
    const { peer } = withCall('client');
    expect(await Promise.all([1, 2, 3].map(() => outcome(peer.manager.close())))).toEqual([
      'resolved',
      'resolved',
      'resolved',
    ]);
    expect(peer.socket.closed).toBe(true);
  });

  it('knows a socket that was closed before it came', async () => {
    const peer = new RawPeer('client');
    peer.socket.destroy();
    await outcome(peer.manager.closed);
    const late = RawPeer.ofClient({ socket: peer.socket });
    late.clock.turn();
    expect(await late.manager.closed).toMatchObject({ code: 14 });
    expect(late.events).toHaveLength(1);
  });
});

describe('Manager: accepting', () => {
  it('gives each rpc its name and metadata, without the reserved keys', () => {
    const peer = RawPeer.ofServer();
    const { stream } = peer.invoke(
      metadata(1, { user: 'ann', 'grpc-timeout': '5S', 'drpc-foo': 'x' }),
      invoke(1, '/pkg.Service/Method', 2),
    );
    expect([stream.rpc, { ...stream.metadata }]).toEqual(['/pkg.Service/Method', { user: 'ann' }]);
    expect(peer.invoke(invoke(2)).stream.metadata).toBeUndefined();
  });

  it('arms the deadline that the client sent', () => {
    const peer = RawPeer.ofServer();
    const { stream } = peer.invoke(metadata(1, { 'grpc-timeout': '250m' }), invoke(1, '/rpc', 2));
    peer.clock.advance(249);
    expect(stream.isTerminated).toBe(false);
    peer.clock.advance(1);
    expect(peer.sent()).toEqual(['Error! s1 m1 (4) deadline exceeded']);
  });

  it('knows the keys of the protocol in any case', () => {
    const peer = RawPeer.ofServer();
    const timeout = Buffer.from('0a140a0c475250432d54696d656f757412043235306d', 'hex'); // GRPC-Timeout: 250m
    const foo = Buffer.from('0a0d0a08445250432d466f6f120178', 'hex'); // DRPC-Foo: x
    const pairs = Buffer.concat([timeout, foo]);
    const { stream } = peer.invoke(frame(Kind.InvokeMetadata, 1, 1, pairs), invoke(1, '/rpc', 2));
    expect(Object.keys(stream.metadata!)).toEqual([]);
    peer.clock.advance(250);
    expect(peer.sent()).toEqual(['Error! s1 m1 (4) deadline exceeded']);
  });

  it.each(['', 'soon', '5x', '-5S'])('takes no notice of a deadline that is none: "%s"', (text) => {
    const peer = RawPeer.ofServer();
    peer.invoke(metadata(1, { 'grpc-timeout': text }), invoke(1, '/rpc', 2));
    expect([peer.clock.pendingTimers, peer.cause]).toEqual([0, undefined]);
  });

  it('answers a compression it does not know on that stream alone', () => {
    const peer = RawPeer.ofServer();
    peer.send(metadata(1, { 'drpc-compression': 'snappy' }), invoke(1, '/rpc', 2), message(1, 3, 'x'));
    expect(peer.sent()).toEqual([
      expect.stringContaining('Error s1 m1 (12) compression "snappy" is not supported'),
    ]);
    expect(peer.accepted).toHaveLength(0);
    expect([peer.manager.slots, peer.cause]).toEqual([0, undefined]);
    expect(peer.invoke(metadata(2, { 'drpc-compression': '' }), invoke(2, '/rpc', 2)).stream.id).toBe(2);
  });

  it('keeps metadata apart by stream, interleaved as it comes', () => {
    const peer = RawPeer.ofServer();
    peer.send(
      metadata(1, { of: 'one' }),
      metadata(2, { of: 'two' }),
      invoke(2, '/two', 2),
      invoke(3),
      invoke(1, '/one', 2),
    );
    expect(peer.accepted.map(({ stream }) => [stream.rpc, stream.metadata?.of])).toEqual([
      ['/two', 'two'],
      ['/rpc', undefined],
      ['/one', 'one'],
    ]);
  });

  it.each([
    ['Cancel', cancel(1, 2)],
    ['Close', close(1, 2)],
  ])('forgets metadata whose Invoke never comes, on %s', (_what, end) => {
    const peer = RawPeer.ofServer();
    peer.send(metadata(1, { k: 'v' }));
    expect(peer.manager.slots).toBe(1);
    peer.send(end);
    expect(remains(peer.manager)).toEqual(NOTHING);
    expect(peer.cause).toBeUndefined();
  });

  it('delivers an Invoke and the messages behind it in one chunk', () => {
    const peer = RawPeer.ofServer();
    const { sink } = peer.invoke(invoke(1), message(1, 2, 'a'), closeSend(1, 3));
    expect(sink.take()).toEqual(['message a (last)', 'end']);
  });

  it('lets an unread message of one stream delay no other', () => {
    const peer = RawPeer.ofServer({ demand: 0 });
    const first = peer.invoke(invoke(1));
    peer.send(message(1, 2, 'unread'));
    const second = peer.invoke(invoke(2));
    second.stream.request(1);
    peer.send(message(2, 2, 'read'));
    expect([first.sink.take(), second.sink.take()]).toEqual([[], ['message read']]);
  });

  describe('the limits of an Invoke', () => {
    it('are 4 KiB of name', () => {
      const peer = RawPeer.ofServer();
      peer.send(invoke(1, 'x'.repeat(4096)), invoke(2, 'x'.repeat(4097)), message(2, 2), invoke(3));
      expect(peer.accepted.map(({ stream }) => stream.id)).toEqual([1, 3]);
      expect(peer.sent()).toEqual([
        'Error s2 m1 (3) rpc name of 4097 bytes or more exceeds the limit of 4096',
      ]);
      expect(peer.cause).toBeUndefined();
    });

    it('are 64 KiB of metadata', () => {
      const peer = RawPeer.ofServer();
      peer.send(metadata(1, { k: 'x'.repeat(65_000) }), invoke(1, '/rpc', 2));
      peer.send(metadata(2, { k: 'x'.repeat(66_000) }), invoke(2, '/rpc', 2), invoke(3));
      expect(peer.accepted.map(({ stream }) => stream.id)).toEqual([1, 3]);
      expect(peer.sent()).toEqual([
        expect.stringMatching(/^Error s2 m1 \(8\) metadata of 660\d\d bytes or more/),
      ]);
      expect(peer.manager.slots).toBe(2);
    });

    it('count each entry of the metadata: many small ones are refused on their stream alone', () => {
      const peer = RawPeer.ofServer();
      const pairs = Object.fromEntries(Array.from({ length: 700 }, (_, i) => [`${i}`, '']));
      peer.send(metadata(1, pairs), invoke(1, '/rpc', 2), invoke(2));
      expect(peer.accepted.map(({ stream }) => stream.id)).toEqual([2]);
      expect(peer.sent()).toEqual([
        expect.stringMatching(
          /^Error s1 m1 \(8\) metadata of 76\d\d\d bytes, with 100 for each entry, exceeds the limit of 65536$/,
        ),
      ]);
      expect(peer.cause).toBeUndefined();
    });

    it('hold for what comes in parts', () => {
      const peer = RawPeer.ofServer({ maxMetadataSize: 100, maxNameSize: 10 });
      peer.send(
        part(Kind.InvokeMetadata, 1, 1, Buffer.alloc(60)),
        part(Kind.InvokeMetadata, 1, 1, Buffer.alloc(60)),
      );
      peer.send(part(Kind.Invoke, 3, 1, '123456'), part(Kind.Invoke, 3, 1, '123456'));
      expect(peer.sent()).toEqual([
        expect.stringContaining('Error s1 m1 (8) metadata'),
        expect.stringContaining('Error s3 m1 (3) rpc name'),
      ]);
      // The rest of them is swallowed.
      peer.send(
        frame(Kind.InvokeMetadata, 1, 1, 'rest'),
        invoke(1, '/rpc', 2),
        frame(Kind.Invoke, 3, 1, 'rest'),
      );
      expect([peer.accepted.length, peer.sent(), peer.cause]).toEqual([0, [], undefined]);
      expect(remains(peer.manager)).toEqual(NOTHING);
    });
  });

  describe('the metadata', () => {
    const SIZE = encodeMetadata({ k: 'x'.repeat(1000) }).length + ENTRY_OVERHEAD;
    const ofOne = (id: number): Buffer => metadata(id, { k: 'x'.repeat(1000) });

    it('are counted as received from their arrival until the stream has ended', () => {
      const peer = RawPeer.ofServer();
      peer.send(ofOne(1));
      expect(peer.manager.heldBytes).toBe(SIZE);
      const { stream } = peer.invoke(invoke(1, '/rpc', 2));
      expect([peer.manager.heldBytes, stream.heldBytes]).toEqual([SIZE, SIZE]);
      peer.send(message(1, 3, 'taken at once'));
      expect(peer.manager.heldBytes).toBe(SIZE);
      peer.send(closeSend(1, 4));
      expect(peer.manager.heldBytes).toBe(SIZE);
      stream.closeSend();
      expect([peer.manager.heldBytes, stream.heldBytes]).toEqual([0, 0]);
      // What its handler holds is still its own.
      expect({ ...stream.metadata }).toEqual({ k: 'x'.repeat(1000) });
    });

    it.each<[string, Buffer[]]>([
      ['its Invoke is canceled', [ofOne(1), cancel(1, 2)]],
      ['the stream is canceled', [ofOne(1), invoke(1, '/rpc', 2), cancel(1, 3)]],
      ['compression is refused', [metadata(1, { 'drpc-compression': 'snappy' }), invoke(1, '/rpc', 2)]],
      ['the name is too long', [ofOne(1), invoke(1, 'x'.repeat(5000), 2)]],
    ])('are no longer counted when %s', (_what, frames) => {
      const receiveBudget = new MemoryBudget(1_000_000);
      const peer = RawPeer.ofServer({ receiveBudget });
      peer.send(...frames);
      expect([peer.manager.heldBytes, receiveBudget.used]).toEqual([0, 0]);
    });

    it('are no longer counted when the connection ends', () => {
      const receiveBudget = new MemoryBudget(1_000_000);
      const peer = RawPeer.ofServer({ receiveBudget });
      peer.send(ofOne(1), invoke(1, '/rpc', 2), ofOne(2), part(Kind.Invoke, 3, 1, '/half'));
      expect(receiveBudget.used).toBe(2 * SIZE + 5);
      peer.manager.terminate(new ClosedError('over'));
      expect([peer.manager.heldBytes, receiveBudget.used]).toEqual([0, 0]);
    });

    it('of open streams are bounded by maxReceivedBytes: the stream that holds most ends', () => {
      const peer = RawPeer.ofServer({ maxReceivedBytes: 10 * SIZE });
      for (let id = 1; id <= 50; id++) peer.send(ofOne(id), invoke(id, '/rpc', 2));
      expect(peer.manager.heldBytes).toBeLessThanOrEqual(10 * SIZE);
      expect(peer.accepted.filter(({ stream }) => !stream.isTerminated)).toHaveLength(10);
      expect(peer.sent()[0]).toMatch(/^Error! s\d+ m1 \(8\) too much memory is held .* and for metadata: /);
      expect(peer.cause).toBeUndefined();
    });

    it('of Invokes that never come are bounded by it: the one that holds most is refused', () => {
      const peer = RawPeer.ofServer({ maxReceivedBytes: 10 * SIZE });
      for (let id = 1; id <= 50; id++) peer.send(ofOne(id));
      expect(peer.manager.heldBytes).toBe(10 * SIZE);
      const sent = peer.sent();
      expect(sent).toHaveLength(40);
      expect(sent[0]).toMatch(
        /^Error s1 m1 \(8\) too much memory .*; the call that holds most does not begin \(\d+ bytes\)$/,
      );
      expect(peer.overloads).toHaveLength(40);
      expect(sent[0]).toContain(peer.overloads[0]);
      // The rest of a refused one is swallowed, the others begin.
      peer.send(invoke(1, '/rpc', 2), invoke(50, '/rpc', 2));
      expect(peer.accepted.map(({ stream }) => stream.id)).toEqual([50]);
      expect(peer.cause).toBeUndefined();
    });

    it('of another connection give way when all hold too much together', () => {
      const receiveBudget = new MemoryBudget(10 * SIZE);
      const great = RawPeer.ofServer({ receiveBudget });
      for (let id = 1; id <= 8; id++) great.send(ofOne(id));
      const small = RawPeer.ofServer({ receiveBudget });
      for (let id = 1; id <= 3; id++) small.send(ofOne(id));
      expect([small.manager.heldBytes, great.manager.heldBytes]).toEqual([3 * SIZE, 7 * SIZE]);
      expect(great.sent()).toEqual([expect.stringMatching(/^Error s1 m1 \(8\) .* on all connections/)]);
      expect([small.sent(), small.cause, great.cause]).toEqual([[], undefined, undefined]);
    });

    it('that are evicted without end, of Invokes that never complete, end the connection', () => {
      const peer = RawPeer.ofServer({ maxReceivedBytes: SIZE, maxStreams: 2000 });
      for (let id = 1; id <= 1100 && !peer.cause; id++) {
        peer.send(ofOne(id));
        peer.sentBytes();
        peer.clock.yielded();
      }
      expect(peer.cause).toContain('ProtocolError: 1001 invokes were refused and never completed');
      expect(remains(peer.manager)).toEqual(NOTHING);
    });
  });

  describe('at most maxStreams streams', () => {
    it('refuses more with an Error on that stream, and the connection lives', () => {
      const peer = RawPeer.ofServer({ maxStreams: 2 });
      peer.send(invoke(1), invoke(2), invoke(3), message(3, 2, 'dropped'));
      expect(peer.accepted.map(({ stream }) => stream.id)).toEqual([1, 2]);
      expect(peer.sent()).toEqual([
        'Error s3 m1 (8) too many concurrent streams: refused: at most 2 concurrent streams',
      ]);
      expect(peer.overloads).toEqual(['too many concurrent streams: refused: at most 2 concurrent streams']);
      expect(peer.cause).toBeUndefined();
    });

    it('refuses with the mark that says "never started", where the form can hold it', () => {
      const peer = RawPeer.ofServer({ maxStreams: 0, errorForm: 'status' });
      peer.send(invoke(1));
      const bytes = peer.sentBytes().toString('latin1');
      expect(bytes).toContain('STREAM_REFUSED');
      expect(bytes.charCodeAt(0)).toBe(0x07);
    });

    it('is 1,000 by default, and 0 refuses all', () => {
      const peer = RawPeer.ofServer();
      for (let id = 1; id <= 1001; id++) peer.send(invoke(id));
      while (peer.clock.pendingYields > 0) peer.clock.yielded();
      expect(peer.accepted).toHaveLength(1000);
      const none = RawPeer.ofServer({ maxStreams: 0 });
      none.send(invoke(1));
      expect(none.accepted).toHaveLength(0);
    });

    it('counts a canceled one until its handler has ended', () => {
      const peer = RawPeer.ofServer({ maxStreams: 1 });
      const { stream } = peer.invoke(invoke(1));
      peer.send(cancel(1, 2), invoke(2));
      expect(peer.accepted).toHaveLength(1);
      stream.handlerEnded();
      stream.handlerEnded();
      peer.send(invoke(3));
      expect(peer.accepted.map(({ stream: { id } }) => id)).toEqual([1, 3]);
      expect(peer.manager.slots).toBe(1);
    });

    it('counts one whose handler has ended until it has ended itself', () => {
      const peer = RawPeer.ofServer({ maxStreams: 1 });
      const { stream } = peer.invoke(invoke(1));
      stream.closeSend();
      stream.handlerEnded();
      peer.send(invoke(2));
      expect(peer.accepted).toHaveLength(1);
      peer.send(closeSend(1, 2), invoke(3));
      expect(peer.accepted).toHaveLength(2);
    });

    it('counts Invokes that are not complete', () => {
      const peer = RawPeer.ofServer({ maxStreams: 1 });
      peer.send(metadata(1, { k: 'v' }), invoke(2), invoke(1, '/rpc', 2));
      expect(peer.accepted.map(({ stream: { id } }) => id)).toEqual([1]);
    });

    it('stops reading a peer that floods and does not read its refusals', () => {
      const peer = RawPeer.ofServer({ maxStreams: 0, writerBufferSize: 1000 });
      const flood = Array.from({ length: 200 }, (_, i) => invoke(i + 1));
      peer.send(...flood);
      expect(peer.manager.isPaused).toBe(true);
      expect(peer.manager.writer.pending).toBeLessThan(2000);
      let refusals = 0;
      for (let round = 0; round < 50 && refusals < 200; round++) {
        refusals += peer.sent().length;
        peer.clock.yielded();
      }
      expect([refusals, peer.manager.isPaused, peer.cause]).toEqual([200, false, undefined]);
    });

    it.each<[string, (id: number) => Buffer[]]>([
      ['an Invoke', (id) => [invoke(id)]],
      ['metadata', (id) => [metadata(id, { k: 'v' }), cancel(id, 2)]],
    ])('lets others have their turn after 256 refusals of %s, or sooner', (_what, frames) => {
      const peer = RawPeer.ofServer({ maxStreams: 0 });
      let refusals = 0;
      let turns = 0;
      peer.send(...Array.from({ length: 1000 }, (_, i) => frames(i + 1)).flat());
      while (peer.clock.pendingYields > 0) {
        const more = peer.sent().length;
        expect(more).toBeLessThanOrEqual(256);
        refusals += more;
        turns++;
        peer.clock.yielded();
      }
      expect(turns).toBeGreaterThanOrEqual(3);
      expect(refusals + peer.sent().length).toBe(1000);
    });

    it('ends the connection of a peer that begins refused Invokes without end', () => {
      const peer = RawPeer.ofServer({ maxStreams: 0 });
      for (let id = 1; id <= 1100 && !peer.cause; id++) {
        peer.send(part(Kind.InvokeMetadata, id, 1, 'x'));
        peer.sentBytes();
        peer.clock.yielded();
      }
      expect(peer.cause).toContain('ProtocolError: 1001 invokes were refused and never completed');
    });
  });
});

describe('Manager: draining', () => {
  it('answers new rpcs with an error and goes on with the others', () => {
    const { peer, call } = withCall('server');
    peer.manager.stopAccepting(new DrpcError(14, 'draining'));
    peer.send(invoke(2), message(2, 2, 'x'), message(1, 2, 'goes on'));
    expect(peer.sent()).toEqual(['Error s2 m1 (14) draining']);
    expect(call.sink.take()).toEqual(['message goes on']);
    expect(peer.accepted).toHaveLength(1);
  });

  it('drops them without an answer when told so: every frame above the highest id', () => {
    const { peer, call } = withCall('server');
    peer.manager.stopAccepting(undefined);
    peer.send(
      metadata(2, { k: 'v' }),
      invoke(2, '/rpc', 2),
      message(2, 3, 'x'),
      cancel(2, 4),
      message(1, 2, 'goes on'),
    );
    expect(peer.sent()).toEqual([]);
    expect(call.sink.take()).toEqual(['message goes on']);
    expect([peer.manager.slots, peer.cause]).toEqual([1, undefined]);
  });

  it('serves those below the highest id, which were on their way when it was told so', () => {
    const { peer } = withCall('server');
    peer.send(invoke(5));
    peer.manager.stopAccepting(undefined);
    peer.send(invoke(3, '/late'), message(3, 2, 'goes on'), invoke(6, '/too/late'));
    expect(peer.accepted.map(({ stream }) => stream.id)).toEqual([1, 5, 3]);
    expect([peer.last.stream.rpc, peer.last.sink.take()]).toEqual(['/late', ['message goes on']]);
    expect([peer.sent(), peer.cause]).toEqual([[], undefined]);
  });

  it("finish() writes what waits, then FIN, and goes on reading until the peer's", async () => {
    const { peer, call } = withCall('server');
    call.stream.trySend('answer');
    call.stream.closeSend();
    peer.send(closeSend(1, 2));
    const cause = new ClosedError('server closed');
    peer.manager.finish(cause, 2000);
    expect(peer.socket.isFinished).toBe(false);
    expect(peer.sent()).toEqual(['Message s1 m1 answer', 'CloseSend s1 m2']);
    await new Promise((resolve) => setImmediate(resolve));
    expect([peer.socket.isFinished, peer.cause]).toEqual([true, undefined]);
    peer.manager.receiveEnd();
    expect(await peer.manager.closed).toBe(cause);
    expect(peer.clock.pendingTimers).toBe(0);
  });

  it('finish() ends by itself when the peer sends no FIN', () => {
    const { peer } = withCall('server');
    const cause = new ClosedError('server closed');
    peer.manager.finish(cause, 2000);
    peer.sent();
    peer.clock.advance(1999);
    expect(peer.cause).toBeUndefined();
    peer.clock.advance(1);
    expect(peer.manager.cause).toBe(cause);
  });

  it('finish() counts the writing into its time', () => {
    const { peer, call } = withCall('server');
    call.stream.trySend('owed');
    const cause = new ClosedError('server closed');
    peer.manager.finish(cause, 2000);
    peer.clock.advance(2000);
    expect(peer.manager.cause).toBe(cause);
    expect(peer.sent()).toEqual([]);
  });

  it.each([
    ['a peer that takes what it is owed, and not the FIN', 9000, 11_000],
    ['one that takes it in the last moment: no longer than both times', 11_500, 12_000],
    ['one that takes nothing: no longer either', Infinity, 12_000],
  ])('finish() gives what waits time of its own: %s', async (_what, takenAt, endsAt) => {
    const { peer, call } = withCall('server');
    call.stream.trySend('owed');
    const cause = new ClosedError('server closed');
    peer.manager.finish(cause, 2000, 10_000);
    const written: string[] = [];
    if (takenAt < endsAt) {
      peer.clock.advance(takenAt);
      written.push(...peer.sent());
    }
    peer.clock.advance(endsAt - 1 - peer.clock.now());
    expect(peer.cause).toBeUndefined();
    peer.clock.advance(1);
    expect(peer.manager.cause).toBe(cause);
    expect(written).toEqual(takenAt < endsAt ? ['Message s1 m1 owed'] : []);
    await peer.manager.closed;
    expect(peer.clock.pendingTimers).toBe(0);
  });

  it('finish() makes no fault of what still wants to be written', async () => {
    const { peer, call } = withCall('server');
    const cause = new ClosedError('server closed');
    peer.manager.finish(cause, 2000);
    peer.sent();
    await new Promise((resolve) => setImmediate(resolve));
    peer.manager.stopAccepting(new DrpcError(14, 'draining'));
    peer.send(invoke(2));
    trySend(call.stream, 'late');
    peer.sent();
    await new Promise((resolve) => setImmediate(resolve));
    expect(peer.cause).toBeUndefined();
    peer.manager.receiveEnd();
    expect(peer.manager.cause).toBe(cause);
  });

  it('finish() of an ended connection does nothing', () => {
    const { peer } = withCall('server');
    peer.manager.terminate(new ClosedError('over'));
    peer.manager.finish(new ClosedError('late'), 2000);
    expect(peer.clock.pendingTimers).toBe(0);
  });
});

describe('Manager: the beginning of a connection', () => {
  it.each([
    ['HTTP', 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['TLS', '\x16\x03\x01\x00\xf8'],
  ])('that is %s ends it, and says so', (protocol, text) => {
    const peer = RawPeer.ofServer();
    peer.send(Buffer.from(text, 'latin1'));
    expect(peer.cause).toContain(`ProtocolError: ${protocol} on a DRPC port`);
  });

  // The Go client of storj/drpc with SoftCancel writes this when a context ends between NewStream and the Invoke.
  it('may be the Cancel of a call that was never invoked; the next one is served', () => {
    const peer = RawPeer.ofServer();
    peer.send(cancel(1, 1), invoke(2, '/next'));
    expect(peer.cause).toBeUndefined();
    expect(peer.accepted.map(({ stream }) => stream.rpc)).toEqual(['/next']);
  });

  it('may be the preamble, in whatever pieces', () => {
    const peer = RawPeer.ofServer();
    const bytes = Buffer.from(vectorsNamed('migrate_preamble_plus_invoke')[0]!.hex, 'hex');
    for (const byte of bytes) peer.send(Buffer.of(byte));
    expect(peer.last.stream.rpc).toBe('/service.Service/Method1');
  });

  it('must be the preamble where it is required, and must not where it is off', () => {
    const required = RawPeer.ofServer({ preamble: 'require' });
    required.send(invoke(1));
    expect(required.cause).toContain('must begin with the preamble');
    const off = RawPeer.ofServer({ preamble: 'off' });
    off.send(Buffer.from('DRPC!!!1'), invoke(1));
    expect(off.cause).toContain('a DRPC preamble on a DRPC port');
  });

  it('is the preamble when a client is told to send it, glued to its first write', () => {
    const peer = RawPeer.ofClient({ preamble: true });
    peer.open('/service.Service/Method1');
    peer.clock.turn();
    expect(peer.socket.writes.map((bytes) => bytes.toString('hex'))).toEqual([
      vectorsNamed('migrate_preamble_plus_invoke')[0]!.hex,
    ]);
  });

  it.each([
    ['HTTP', 'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n', '"HTTP/1.1 400 Bad Request"'],
    ['TLS', '\x15\x03\x03\x00\x02\x02\x46', '"\\x15\\x03\\x03\\x00\\x02\\x02F"'],
  ])('that is %s ends it for a client too, at once', (protocol, text, shown) => {
    const peer = RawPeer.ofClient();
    peer.send(Buffer.from(text, 'latin1'));
    expect(peer.cause).toBe(
      `ProtocolError: the server speaks ${protocol}: ${shown}; expected frames of DRPC`,
    );
  });

  it('is looked at once: what comes later is taken for frames', () => {
    const peer = RawPeer.ofClient();
    peer.open('/x');
    peer.send(message(1, 1));
    peer.send(Buffer.from(`HTTP/1.1 400 Bad Request${'.'.repeat(100)}`));
    expect(peer.cause).toContain('unknown frame kind 36');
  });

  it('is nothing special for a client that is not', () => {
    const peer = RawPeer.ofClient({ preamble: false });
    peer.open('/x');
    expect(peer.sent()).toEqual(['Invoke s1 m1 /x']);
  });
});

describe('Manager: settings of a peer that says who it is', () => {
  it('hold for streams that are made from then on', () => {
    const peer = RawPeer.ofServer();
    const before = peer.invoke(invoke(1));
    peer.manager.adopt({ errorForm: 'status', sendWindow: 65_536, recvWindow: 65_536 });
    const after = peer.invoke(invoke(2));
    peer.send(message(1, 2, Buffer.alloc(60_000)), message(2, 2, Buffer.alloc(60_000)));
    expect(peer.sent()).toEqual(['WindowUpdate! s2 m0 +60000']);
    for (const { stream } of [before, after]) stream.trySend(Buffer.alloc(65_536));
    peer.sent();
    expect([before.stream.trySend('x'), after.stream.trySend('x')]).toEqual([true, false]);
    after.stream.sendCancel();
    before.stream.sendError(new DrpcError(5, 'no'));
    expect(peer.sentBytes().subarray(-6).toString('latin1')).toContain('no');
  });
});
