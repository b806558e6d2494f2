import { describe, expect, it } from 'vitest';
import { CanceledError, ClosedError, DrpcError } from '../../lib/errors/drpc-error.js';
import { Kind } from '../../lib/wire/kind.js';
import { cancel, close, closeSend, frame, invoke, message, part, storjError } from '../helpers/frames.js';
import { RawPeer, type Call } from '../helpers/raw-peer.js';
import { trySend } from '../helpers/recorder.js';

type Role = 'client' | 'server';
type State = 'open' | 'half-closed local' | 'half-closed remote';

/** A stream in a state of spec 4.2, with one message in its queue that nobody asked for yet. */
class Scene {
  readonly peer: RawPeer;
  readonly call: Call;
  /** The number of frames this end had sent when the event came. */
  readonly sentBefore: number;

  constructor(role: Role, state: State) {
    this.peer = new RawPeer(role, { demand: 0 });
    this.call = role === 'server' ? this.peer.invoke(invoke(1)) : this.peer.open();
    this.peer.sent();
    this.peer.send(message(1, 2, 'queued'));
    if (state === 'half-closed local') this.stream.closeSend();
    if (state === 'half-closed remote') this.peer.send(closeSend(1, 3));
    this.sentBefore = (role === 'client' ? 1 : 0) + this.peer.sent().length;
  }

  get stream(): Call['stream'] {
    return this.call.stream;
  }

  /** The frames sent since, with their message ids counted from the event on. */
  sent(): string[] {
    return this.peer
      .sent()
      .map((line) => line.replace(/ m(\d+)/, (_all, id) => ` m+${Number(id) - this.sentBefore}`));
  }

  /** What a receiver is told who asks for everything from now on. */
  recv(): string[] {
    this.call.sink.take();
    this.stream.request(Infinity);
    return this.call.sink.take().filter((event) => event !== 'terminated');
  }
}

const SEND_CLOSED = 'EofError: drpc: send closed';
const OVER = 'EofError: drpc: the stream has ended';
const SENT_CLOSE = 'EofError: drpc: stream terminated by sending close';
const SENT_ERROR = 'EofError: drpc: stream terminated by sending error';
const REMOTE_CLOSED = 'ClosedError: remote closed the stream';

const ROLES: Role[] = ['client', 'server'];
const ALL: State[] = ['open', 'half-closed local', 'half-closed remote'];

interface Row {
  /** The number of the row in the table of states (docs/protocol.md). */
  row: number;
  event: string;
  states: State[];
  run: (scene: Scene) => unknown;
  /** The frames it sends. */
  frames?: string[];
  /** What a send meets afterwards; what a half-closed stream says is always "send closed". */
  send: string;
  /** What a receiver is told after the queued message; half-closed remote: always the ordinary end. */
  recv: string[];
  /** Whether it ends the stream. */
  ends: boolean;
}

const ROWS: Row[] = [
  {
    row: 1,
    event: 'a send',
    states: ['open', 'half-closed remote'],
    run: ({ stream }) => stream.trySend('hello'),
    frames: ['Message s1 m+1 hello'],
    send: 'ok',
    recv: [],
    ends: false,
  },
  {
    row: 2,
    event: 'a local CloseSend, which happens once',
    states: ['open'],
    run: ({ stream }) => [stream.closeSend(), stream.closeSend()],
    frames: ['CloseSend s1 m+1'],
    send: SEND_CLOSED,
    recv: [],
    ends: false,
  },
  {
    row: 3,
    event: 'a remote CloseSend',
    states: ['open'],
    run: ({ peer }) => peer.send(closeSend(1, 9)),
    send: 'ok',
    recv: ['end'],
    ends: false,
  },
  {
    row: 4,
    event: 'a remote CloseSend',
    states: ['half-closed local'],
    run: ({ peer }) => peer.send(closeSend(1, 9)),
    send: SEND_CLOSED,
    recv: ['end'],
    ends: true,
  },
  {
    row: 5,
    event: 'a local CloseSend',
    states: ['half-closed remote'],
    run: ({ stream }) => stream.closeSend(),
    frames: ['CloseSend s1 m+1'],
    send: SEND_CLOSED,
    recv: ['end'],
    ends: true,
  },
  {
    row: 6,
    event: 'a local Close',
    states: ['open', 'half-closed remote'],
    run: ({ stream }) => stream.close(),
    frames: ['Close s1 m+1'],
    send: SENT_CLOSE,
    recv: [`end ${SENT_CLOSE}`],
    ends: true,
  },
  {
    row: 7,
    event: 'a local Close',
    states: ['half-closed local'],
    run: ({ stream }) => stream.close(),
    frames: ['Close s1 m+1'],
    send: SEND_CLOSED,
    recv: [`end ${SENT_CLOSE}`],
    ends: true,
  },
  {
    row: 8,
    event: 'a local SendError',
    states: ALL,
    run: ({ stream }) => stream.sendError(new DrpcError(5, 'not here')),
    frames: ['Error s1 m+1 (5) not here'],
    send: OVER,
    recv: [`end ${SENT_ERROR}`],
    ends: true,
  },
  {
    row: 9,
    event: 'a remote Message',
    states: ['open', 'half-closed local'],
    run: ({ peer }) => peer.send(message(1, 9, 'more')),
    send: 'ok',
    recv: ['message more'],
    ends: false,
  },
  {
    row: 10,
    event: 'a remote Message of a sender that had finished',
    states: ['half-closed remote'],
    run: ({ peer }) => peer.send(message(1, 9, 'illegal')),
    send: 'ok',
    recv: ['end'],
    ends: false,
  },
  {
    row: 11,
    event: 'a remote Close',
    states: ALL,
    run: ({ peer }) => peer.send(close(1, 9)),
    send: REMOTE_CLOSED,
    recv: ['end'],
    ends: true,
  },
  {
    row: 12,
    event: 'a remote Error',
    states: ALL,
    run: ({ peer }) => peer.send(storjError(1, 9, 5, 'not there')),
    send: OVER,
    recv: ['end code 5: not there'],
    ends: true,
  },
  {
    row: 13,
    event: 'a remote Cancel',
    states: ALL,
    run: ({ peer }) => peer.send(cancel(1, 9)),
    send: OVER,
    recv: ['end CanceledError: canceled'],
    ends: true,
  },
  {
    row: 13,
    event: 'a remote Cancel without the control bit',
    states: ALL,
    run: ({ peer }) => peer.send(frame(Kind.Cancel, 1, 9, '', { control: false })),
    send: OVER,
    recv: ['end CanceledError: canceled'],
    ends: true,
  },
  {
    row: 14,
    event: 'a local cancel with a cause',
    states: ALL,
    run: ({ stream }) => stream.sendCancel(new DrpcError(4, 'too late')),
    frames: ['Cancel! s1 m+1'],
    send: OVER,
    recv: ['end code 4: too late'],
    ends: true,
  },
  {
    row: 14,
    event: 'a local cancel without one',
    states: ALL,
    run: ({ stream }) => stream.sendCancel(),
    frames: ['Cancel! s1 m+1'],
    send: OVER,
    recv: ['end CanceledError: canceled'],
    ends: true,
  },
  {
    row: 15,
    event: 'cancel(cause), which tells the peer nothing',
    states: ALL,
    run: ({ stream }) => stream.cancel(new DrpcError(14, 'gone')),
    send: OVER,
    recv: ['end code 14: gone'],
    ends: true,
  },
  {
    row: 17,
    event: 'the end of the connection',
    states: ALL,
    run: ({ peer }) => peer.manager.terminate(new ClosedError('connection lost')),
    send: OVER,
    recv: ['end ClosedError: connection lost'],
    ends: true,
  },
  {
    row: 18,
    event: 'a remote Invoke of the same stream',
    states: ALL,
    run: ({ peer }) => peer.send(invoke(1, '/again', 9)),
    send: OVER,
    recv: ['end ProtocolError: invoke on existing stream 1: a stream is invoked once'],
    ends: true,
  },
  {
    row: 19,
    event: 'remote metadata for the same stream',
    states: ALL,
    run: ({ peer }) => peer.send(frame(Kind.InvokeMetadata, 1, 9)),
    send: OVER,
    recv: ['end ProtocolError: invoke on existing stream 1: a stream is invoked once'],
    ends: true,
  },
  {
    row: 20,
    event: 'an unknown kind with the control bit',
    states: ['open', 'half-closed remote'],
    run: ({ peer }) =>
      peer.send(frame(63, 1, 9, 'x', { control: true }), frame(0, 1, 10, '', { control: true })),
    send: 'ok',
    recv: [],
    ends: false,
  },
  {
    row: 21,
    event: 'an unknown kind without the control bit',
    states: ALL,
    run: ({ peer }) => peer.send(frame(63, 1, 9, 'x')),
    send: OVER,
    recv: ['end ProtocolError: unknown frame kind 63 on stream 1: known are 1 to 8'],
    ends: true,
  },
];

/** All rows, in each state and role to which they belong. */
const CASES = ROWS.flatMap((row) =>
  row.states.flatMap((state) =>
    ROLES.map((role) => [`row ${row.row}, ${role}, ${state}: ${row.event}`, role, state, row] as const),
  ),
);

describe('Stream states', () => {
  it.each(CASES)('%s', (_name, role, state, row) => {
    const scene = new Scene(role, state);
    row.run(scene);
    expect(scene.sent()).toEqual(row.frames ?? []);
    expect(scene.stream.isTerminated).toBe(row.ends);
    // What the receiver is told: the queued message first, whatever ended the stream.
    const told = state === 'half-closed remote' ? ['end'] : row.recv;
    const [first, ...rest] = scene.recv();
    expect(first).toMatch(/^message queued/);
    expect(rest).toEqual(told);
    expect(trySend(scene.stream)).toBe(state === 'half-closed local' ? SEND_CLOSED : row.send);
  });

  it.each(CASES.filter(([, , , { ends }]) => ends))(
    '%s: all that follows does nothing',
    (...[, role, state, row]) => {
      const scene = new Scene(role, state);
      row.run(scene);
      scene.sent();
      const { stream } = scene;
      const cause = stream.cause;
      stream.closeSend();
      stream.close();
      stream.sendError(new DrpcError(3, 'late'));
      stream.fail(new DrpcError(3, 'late'));
      expect([stream.sendCancel(), stream.cancel(new Error('late'))]).toEqual([false, false]);
      expect(scene.sent()).toEqual([]);
      expect(stream.cause).toBe(cause);
      expect(scene.call.sink.events.filter((event) => event === 'terminated')).toHaveLength(1);
    },
  );

  it.each(CASES.filter(([, , , { ends, row }]) => ends && row < 17))(
    '%s: leaves the connection alive, and nothing of the stream',
    (...[, role, state, row]) => {
      const scene = new Scene(role, state);
      row.run(scene);
      scene.stream.handlerEnded();
      expect(scene.peer.cause).toBeUndefined();
      expect([scene.peer.manager.openStreams, scene.peer.manager.slots]).toEqual([0, 0]);
    },
  );

  it.each(CASES.filter(([, , , { row }]) => row >= 17 && row !== 20))(
    '%s: ends the connection with the same cause',
    (...[, role, state, row]) => {
      const scene = new Scene(role, state);
      row.run(scene);
      expect(scene.peer.manager.cause).toBe(scene.stream.cause);
      expect(scene.peer.events).toEqual([`terminated ${scene.peer.cause}`]);
      expect(scene.peer.socket.destroyed).toBe(true);
    },
  );

  it.each(ROLES)('row 16, %s: cancel after the end says so and changes nothing', (role) => {
    const scene = new Scene(role, 'half-closed local');
    scene.peer.send(closeSend(1, 9));
    expect(scene.stream.isTerminated).toBe(true);
    expect([scene.stream.cancel(new Error('late')), scene.stream.sendCancel()]).toEqual([false, false]);
    expect([scene.stream.cause, scene.stream.isCanceled]).toEqual([undefined, false]);
  });

  it.each(ROLES)('row 22, %s: frames behind the end are ignored, even with bad ids', (role) => {
    const scene = new Scene(role, 'open');
    scene.peer.send(close(1, 9));
    scene.call.sink.take();
    scene.peer.send(
      message(1, 0, 'zero'),
      message(1, 3, 'fallen'),
      part(Kind.Message, 1, 10, 'half'),
      frame(Kind.Error, 1, 10, 'kind changed'),
      cancel(1, 1),
      closeSend(1, 2),
      frame(Kind.WindowUpdate, 1, 0, 'x'),
    );
    expect(scene.call.sink.take()).toEqual([]);
    expect(scene.peer.cause).toBeUndefined();
    expect(scene.sent()).toEqual([]);
  });

  it('row 23, server: a message over the limit ends the stream with an abortive Error', () => {
    const peer = RawPeer.ofServer({ maxReceiveSize: 10 });
    const { stream, sink } = peer.invoke(invoke(1));
    peer.send(message(1, 2, 'x'.repeat(11)));
    expect(peer.sent()).toEqual(['Error! s1 m1 (8) message of 11 bytes or more exceeds the limit of 10']);
    expect(sink.take()).toEqual([
      'terminated',
      'end MessageSizeError: message of 11 bytes or more exceeds the limit of 10',
    ]);
    expect(trySend(stream)).toBe(OVER);
    expect(peer.cause).toBeUndefined();
  });

  it('row 23, client: a message over the limit ends the stream with a Cancel', () => {
    const peer = RawPeer.ofClient({ maxReceiveSize: 10 });
    const { stream, sink } = peer.open();
    peer.sent();
    peer.send(part(Kind.Message, 1, 1, 'x'.repeat(6)), message(1, 1, 'x'.repeat(5)));
    expect(peer.sent()).toEqual(['Cancel! s1 m2']);
    expect(sink.take()).toEqual([
      'terminated',
      'end MessageSizeError: message of 11 bytes or more exceeds the limit of 10',
    ]);
    expect([trySend(stream), peer.cause]).toEqual([OVER, undefined]);
  });

  it.each(ROLES)('%s: says what ended it', (role) => {
    const ended = (run: (scene: Scene) => unknown): [string | undefined, boolean] => {
      const scene = new Scene(role, 'open');
      run(scene);
      return [scene.stream.cause && String(scene.stream.cause), scene.stream.isCanceled];
    };
    expect(ended(() => undefined)).toEqual([undefined, false]);
    expect(ended(({ peer }) => peer.send(cancel(1, 9)))).toEqual(['CanceledError: canceled', true]);
    expect(ended(({ stream }) => stream.sendCancel())).toEqual(['CanceledError: canceled', true]);
    const own = new CanceledError('enough');
    expect(ended(({ stream }) => stream.sendCancel(own))).toEqual(['CanceledError: enough', true]);
    expect(ended(({ stream }) => stream.cancel(own))).toEqual(['CanceledError: enough', false]);
    expect(ended(({ peer }) => peer.send(close(1, 9)))).toEqual([REMOTE_CLOSED, false]);
    expect(ended(({ stream }) => stream.close())).toEqual([SENT_CLOSE, false]);
  });
});
