import { afterEach, describe, expect, it } from 'vitest';
import {
  ALL_STREAMS,
  CONTROL_RPC,
  marshalControl,
  type ControlMessage,
} from '../../lib/control/control-message.js';
import {
  PeerConn,
  SilentPeerError,
  type PeerConnHooks,
  type PeerConnOptions,
} from '../../lib/control/peer-conn.js';
import { PeerServer, type PeerServerOptions } from '../../lib/control/peer-server.js';
import { LIBRARY, VERSION } from '../../lib/control/version.js';
import { ClosedError } from '../../lib/errors/drpc-error.js';
import { encodeMetadata } from '../../lib/metadata/metadata.js';
import { unmarshalError } from '../../lib/wire/error-payload.js';
import { Kind } from '../../lib/wire/kind.js';
import { FakeSocket } from '../helpers/fake-socket.js';
import {
  cancel,
  closeSend,
  describeFrames,
  frame,
  invoke,
  message,
  parseFrames,
  storjError,
} from '../helpers/frames.js';
import { track } from '../helpers/leaks.js';
import { describeError, outcome, Recorder, trySend } from '../helpers/recorder.js';
import { VirtualClock } from '../helpers/virtual-clock.js';

const CLIENT_SETTINGS: ControlMessage = { type: 'settings', streamWindow: 100_000, maxMessageSize: 50_000 };
const SERVER_SETTINGS: ControlMessage = { ...CLIENT_SETTINGS, maxStreams: 7, pingInterval: 30_000 };

/** What both ends of these tests share: a socket that the test plays, on a clock that stands still. */
class Link {
  readonly clock = new VirtualClock();
  readonly socket = new FakeSocket();

  sentBytes(): Buffer {
    do this.clock.turn();
    while (this.socket.release());
    return this.socket.takeWritten();
  }

  sent(): string[] {
    return describeFrames(this.sentBytes());
  }

  /** The control messages sent since this was last asked. */
  sentControl(): unknown[] {
    return parseFrames(this.sentBytes())
      .filter(({ kind, streamId }) => kind === Kind.Message && streamId === 1)
      .map(({ data }) => JSON.parse(Buffer.from(data).toString()) as unknown);
  }
}

class ServerLink extends Link {
  readonly peer: PeerServer;
  readonly accepted: string[] = [];
  #messageId = 1;

  constructor(options: PeerServerOptions = {}) {
    super();
    this.peer = new PeerServer(
      this.socket,
      { ...options, clock: this.clock, isFedByHand: true },
      {
        accept: (stream) => {
          this.accepted.push(stream.rpc);
          stream.sink = new Recorder();
          stream.request(Infinity);
          stream.handlerEnded();
        },
      },
    );
    track(this.peer.manager, this.clock);
  }

  send(...frames: Uint8Array[]): void {
    this.peer.manager.receive(Buffer.concat(frames));
  }

  control(...messages: ControlMessage[]): void {
    this.send(...messages.map((one) => message(1, ++this.#messageId, marshalControl(one))));
  }

  open(): this {
    this.send(invoke(1, CONTROL_RPC));
    this.control(CLIENT_SETTINGS);
    return this;
  }

  get cause(): string | undefined {
    return this.peer.manager.cause && describeError(this.peer.manager.cause);
  }
}

describe('PeerServer', () => {
  it('answers the control stream with its own settings', () => {
    const link = new ServerLink({ streamWindow: 70_000, maxReceiveSize: 9000, maxStreams: 5 }).open();
    expect(link.sentControl()).toEqual([
      {
        type: 'settings',
        streamWindow: 70_000,
        maxMessageSize: 9000,
        maxStreams: 5,
        pingInterval: 30_000,
        library: LIBRARY,
        version: VERSION,
      },
    ]);
    expect(link.peer.isOwnPeer).toBe(true);
    expect(link.accepted).toEqual([]);
  });

  it('refuses to be one that takes no streams: its clients could not call it', () => {
    expect(() => new ServerLink({ maxStreams: 0 })).toThrow('maxStreams is 0: at least 1 has to be taken');
  });

  it('gives the control stream no slot', () => {
    const link = new ServerLink({ maxStreams: 1 }).open();
    expect(link.peer.manager.slots).toBe(0);
    link.send(invoke(2));
    expect(link.accepted).toEqual(['/rpc']);
    expect(link.peer.manager.slots).toBe(1);
  });

  it('has windows of the announced sizes from the first stream of the client on', () => {
    const link = new ServerLink({ streamWindow: 70_000 }).open();
    expect([link.peer.manager.sendWindow, link.peer.manager.recvWindow]).toEqual([100_000, 70_000]);
  });

  it('sends no message larger than the client takes', () => {
    const { limits } = new ServerLink().open().peer.manager;
    expect([limits.maxSendSize, limits.maxReceiveSize]).toEqual([50_000, 4 * 1024 * 1024]);
  });

  it('knows its own client also where names are to be shorter than that of the control stream', () => {
    const link = new ServerLink({ maxNameSize: 10 }).open();
    expect(link.sentControl()).toEqual([expect.objectContaining({ type: 'settings' })]);
    link.send(invoke(2, 'x'.repeat(29)));
    expect(link.sentBytes().toString('latin1')).toContain(
      'rpc name of 29 bytes or more exceeds the limit of 28',
    );
  });

  it('refuses a second control stream and lives on', () => {
    const link = new ServerLink().open();
    link.sentBytes();
    link.send(invoke(2, CONTROL_RPC), message(2, 2, marshalControl(CLIENT_SETTINGS)));
    const [error] = parseFrames(link.sentBytes());
    expect(error).toMatchObject({ kind: Kind.Error, streamId: 2 });
    const data = Buffer.from(error!.data);
    expect(describeError(unmarshalError(data, 0, data.length))).toContain('code 9');
    expect(link.cause).toBeUndefined();
  });

  it('refuses a control stream after other calls: nothing is applied in hindsight', () => {
    const link = new ServerLink();
    link.send(invoke(1), invoke(2, CONTROL_RPC), message(2, 2, marshalControl(CLIENT_SETTINGS)));
    expect(link.sent()).toEqual([
      expect.stringMatching(/^Error s2 m1 \(9\) the control stream must be the first/),
    ]);
    expect(link.peer.isOwnPeer).toBe(false);
    expect(link.peer.manager.recvWindow).toBe(0);
  });

  it.each<[string, Uint8Array[], RegExp]>([
    ['what is malformed', [message(1, 2, 'hello')], /not JSON/],
    ['a window below 64 KiB', [message(1, 2, '{"type":"settings","streamWindow":1}')], /at least 65536/],
    ['a ping before settings', [message(1, 2, '{"type":"ping","id":1}')], /ping before settings/],
    [
      'settings twice',
      [message(1, 2, marshalControl(CLIENT_SETTINGS)), message(1, 3, marshalControl(CLIENT_SETTINGS))],
      /second settings/,
    ],
    ['its end', [closeSend(1, 2)], /control stream ended/],
    ['its cancel', [cancel(1, 2)], /control stream ended/],
  ])('ends the connection for %s on the control stream', (_what, frames, cause) => {
    const link = new ServerLink();
    link.send(invoke(1, CONTROL_RPC), ...frames);
    expect(link.cause).toMatch(cause);
  });

  it('ignores what a later version may say', () => {
    const link = new ServerLink().open();
    link.send(message(1, 3, '{"type":"weather","rain":true}'));
    expect(link.cause).toBeUndefined();
  });

  it('answers a ping with its id', () => {
    const link = new ServerLink().open();
    link.sentBytes();
    link.control({ type: 'ping', id: 41 });
    expect(link.sentControl()).toEqual([{ type: 'pong', id: 41 }]);
  });

  it.each(['storj', 'cockroach', 'cockroach-fc'] as const)(
    'needs no credit for its answers, which no client grants: %s',
    (plainClients) => {
      const link = new ServerLink({ plainClients, streamWindow: 64 * 1024 }).open();
      link.sentBytes();
      // More than a window of pongs.
      for (let id = 1; id <= 5000; id++) {
        link.control({ type: 'ping', id });
        expect(link.sentControl()).toEqual([{ type: 'pong', id }]);
        if (link.clock.pendingYields > 0) link.clock.yielded();
      }
    },
  );

  it('keeps only the newest answer while the client does not read', () => {
    const link = new ServerLink({ writerBufferSize: 1 }).open();
    // The settings wait at the socket and fill the writer: pongs have to wait as well.
    link.clock.turn();
    for (let id = 1; id <= 50; id++) link.control({ type: 'ping', id });
    expect(link.peer.manager.queuedBytes).toBeLessThan(2 * 192);
  });

  it('answers the newest of the pings that came meanwhile, once, when the client reads again', async () => {
    const link = new ServerLink({ writerBufferSize: 1 }).open();
    link.clock.turn();
    for (let id = 1; id <= 50; id++) link.control({ type: 'ping', id });
    link.sentBytes();
    await new Promise((resolve) => setImmediate(resolve));
    expect(link.sentControl()).toEqual([{ type: 'pong', id: 50 }]);
    link.control({ type: 'ping', id: 51 });
    expect(link.sentControl()).toEqual([{ type: 'pong', id: 51 }]);
  });

  it('tells a client of ours which streams will be finished, and drops the others', () => {
    const link = new ServerLink().open();
    link.send(invoke(2), invoke(3));
    link.sentBytes();
    link.peer.drain('bye');
    link.peer.drain('again');
    expect(link.sentControl()).toEqual([{ type: 'goaway', lastStreamId: 3, reason: 'bye' }]);
    link.send(invoke(4), message(4, 2, 'x'));
    expect(link.accepted).toHaveLength(2);
    expect(link.sent()).toEqual([]);
    expect(link.cause).toBeUndefined();
  });

  it('finishes one whose metadata had come, and so its id, when it began to drain', () => {
    const link = new ServerLink().open();
    link.send(frame(Kind.InvokeMetadata, 2, 1, encodeMetadata({ caller: 'late' })));
    link.sentBytes();
    link.peer.drain('bye');
    expect(link.sentControl()).toEqual([{ type: 'goaway', lastStreamId: 2, reason: 'bye' }]);
    link.send(invoke(2, '/late', 2), invoke(3));
    expect(link.accepted).toEqual(['/late']);
    expect(link.sent()).toEqual([]);
  });

  it('asks a client of ours to go, once, and takes what it sends until it has heard that', () => {
    const link = new ServerLink().open();
    link.send(invoke(2));
    link.sentBytes();
    link.peer.retire('old');
    link.peer.retire('older');
    expect(link.sentControl()).toEqual([{ type: 'goaway', lastStreamId: ALL_STREAMS, reason: 'old' }]);
    link.send(invoke(3), message(3, 2, 'x'));
    expect(link.accepted).toHaveLength(2);
    expect(link.cause).toBeUndefined();
  });

  it('tells it once more which streams will be finished, and drops the others, when it drains', () => {
    const link = new ServerLink().open();
    link.peer.retire('old');
    link.sentBytes();
    link.send(invoke(2));
    link.peer.drain('bye');
    expect(link.sentControl()).toEqual([{ type: 'goaway', lastStreamId: 2, reason: 'bye' }]);
    link.send(invoke(3));
    expect(link.accepted).toHaveLength(1);
    expect(link.sent()).toEqual([]);
  });

  it('asks nobody to go who was told so before, or knows no such word', () => {
    const draining = new ServerLink().open();
    draining.peer.drain('bye');
    draining.sentBytes();
    draining.peer.retire('old');
    expect(draining.sent()).toEqual([]);
    const plain = new ServerLink();
    plain.send(invoke(1));
    plain.peer.retire('old');
    plain.send(invoke(2));
    expect(plain.sent()).toEqual([]);
    expect(plain.accepted).toHaveLength(2);
  });

  it('tells when a client has heard that it should go: with the answer to a ping behind it, or a later one', () => {
    const told: string[] = [];
    const link = new ServerLink().open();
    link.sentBytes();
    link.peer.retire('old');
    link.peer.retire('closing', () => told.push('first'));
    link.peer.retire('closing', () => told.push('second'));
    expect(link.sentControl()).toEqual([
      { type: 'goaway', lastStreamId: ALL_STREAMS, reason: 'old' },
      { type: 'ping', id: 1 },
      { type: 'ping', id: 2 },
    ]);
    link.control({ type: 'pong', id: 1 });
    expect(told).toEqual([]);
    link.control({ type: 'pong', id: 3 }, { type: 'pong', id: 3 });
    expect(told).toEqual(['second']);
  });

  it('tells so at once of a client that can not be asked, or was told more', () => {
    const told: string[] = [];
    new ServerLink().peer.retire('closing', () => told.push('plain'));
    const link = new ServerLink().open();
    link.peer.drain('bye');
    link.peer.retire('closing', () => told.push('draining'));
    expect(told).toEqual(['plain', 'draining']);
  });

  it('answers new calls of any other client with code 14 while it drains', () => {
    const link = new ServerLink();
    link.send(invoke(1));
    link.peer.drain('bye');
    link.send(invoke(2));
    expect(link.sent()).toEqual(['Error s2 m1 (14) bye']);
  });

  it('answers the first call of any other client with code 14 when it drains already', () => {
    const link = new ServerLink();
    link.peer.drain('bye');
    link.send(invoke(1), message(1, 2, 'x'), invoke(2));
    expect(link.sent()).toEqual(['Error s1 m1 (14) bye', 'Error s2 m1 (14) bye']);
    expect(link.accepted).toEqual([]);
    expect(link.peer.manager.slots).toBe(0);
    link.send(invoke(3, CONTROL_RPC));
    expect(link.sent()).toEqual(['Error s3 m1 (14) bye']);
  });

  it.each([
    ['before a client of ours has said anything', []],
    ['before a client of ours has sent its settings', [invoke(1, CONTROL_RPC)]],
  ])('says goaway right after its settings when it began to drain %s', (_, before) => {
    const link = new ServerLink();
    link.send(...before);
    link.peer.drain('bye');
    if (before.length === 0) link.send(invoke(1, CONTROL_RPC));
    link.control(CLIENT_SETTINGS);
    expect(link.sentControl()).toEqual([
      expect.objectContaining({ type: 'settings' }),
      { type: 'goaway', lastStreamId: 1, reason: 'bye' },
    ]);
    link.send(invoke(2));
    expect(link.accepted).toEqual([]);
    expect(link.sent()).toEqual([]);
  });

  it.each([
    ['storj' as const, 0],
    ['cockroach' as const, 0],
    ['cockroach-fc' as const, 70_000],
  ])('treats plain clients as %s', (plainClients, window) => {
    const { manager } = new ServerLink({ plainClients, streamWindow: 70_000 }).peer;
    expect([manager.errorForm, manager.sendWindow, manager.recvWindow]).toEqual([
      plainClients === 'storj' ? 'storj' : 'status',
      window,
      window,
    ]);
  });
});

describe('ping', () => {
  it('is sent after an interval of silence, and answered by any byte', () => {
    const link = new ServerLink({ pingInterval: 1000, pingTimeout: 100 }).open();
    link.sentBytes();
    link.clock.advance(999);
    expect(link.sentControl()).toEqual([]);
    link.clock.advance(1);
    expect(link.sentControl()).toEqual([{ type: 'ping', id: 1 }]);
    link.control({ type: 'pong', id: 1 });
    link.clock.advance(100);
    link.clock.yielded();
    expect(link.cause).toBeUndefined();
  });

  it('is not sent while anything is heard', () => {
    const link = new ServerLink({ pingInterval: 1000 }).open();
    link.sentBytes();
    for (let i = 0; i < 10; i++) {
      link.clock.advance(400);
      link.send(invoke(i + 2));
    }
    expect(link.sentControl()).toEqual([]);
  });

  it('ends the connection when nothing is heard within its timeout', () => {
    const link = new ServerLink({ pingInterval: 1000, pingTimeout: 100 }).open();
    link.clock.advance(1100);
    // One poll first: the answer may lie in the socket while this process was busy.
    expect(link.cause).toBeUndefined();
    link.clock.yielded();
    expect(link.cause).toBe(
      'ClosedError: no sign of life: a ping stayed unanswered for 100 ms after 1000 ms of silence',
    );
  });

  it('spares a peer whose answer was read in that last poll', () => {
    const link = new ServerLink({ pingInterval: 1000, pingTimeout: 100 }).open();
    link.clock.advance(1100);
    link.control({ type: 'pong', id: 1 });
    link.clock.yielded();
    expect(link.cause).toBeUndefined();
  });

  it('is not sent to a peer that is silent because nothing is read from it', () => {
    const link = new ServerLink({ pingInterval: 1000, pingTimeout: 100 }).open();
    link.sentBytes();
    link.peer.manager.pauseReading();
    link.clock.advance(10_000);
    expect(link.sentControl()).toEqual([]);
    link.peer.manager.resumeReading();
    link.clock.advance(1000);
    expect(link.sentControl()).toEqual([{ type: 'ping', id: 1 }]);
  });

  it('makes nobody end a peer from which nothing was read meanwhile', () => {
    const link = new ServerLink({ pingInterval: 1000, pingTimeout: 100 }).open();
    link.clock.advance(1000);
    expect(link.sentControl().at(-1)).toEqual({ type: 'ping', id: 1 });
    link.peer.manager.pauseReading();
    link.clock.advance(100);
    link.clock.yielded();
    expect(link.cause).toBeUndefined();
    link.peer.manager.resumeReading();
  });

  it('is never sent with an interval of 0', () => {
    const link = new ServerLink({ pingInterval: 0 }).open();
    expect(link.clock.pendingTimers).toBe(0);
  });
});

/** A client whose server the test plays. */
class ClientLink extends Link {
  readonly events: string[] = [];
  readonly connecting: Promise<PeerConn>;
  #messageId = 0;

  constructor(options: PeerConnOptions = {}, hooks: PeerConnHooks = {}) {
    super();
    this.connecting = PeerConn.connect(this.socket, { ...options, clock: this.clock }, hooks);
    this.connecting.then(
      (conn) => track(conn.manager, this.clock),
      () => undefined,
    );
  }

  async answer(...frames: Uint8Array[]): Promise<PeerConn> {
    this.socket.push(Buffer.concat(frames));
    return this.connecting;
  }

  control(one: ControlMessage): Buffer {
    return message(1, ++this.#messageId, marshalControl(one));
  }
}

const links: Link[] = [];
afterEach(() => {
  for (const { socket } of links.splice(0)) socket.destroy();
});

describe('PeerConn', () => {
  it('asks with an Invoke and its settings, in one write', async () => {
    const link = new ClientLink({ streamWindow: 70_000, maxReceiveSize: 9000 });
    const bytes = link.sentBytes();
    expect(link.socket.writes).toHaveLength(1);
    expect(describeFrames(bytes)[0]).toBe(`Invoke s1 m1 ${CONTROL_RPC}`);
    expect(JSON.parse(Buffer.from(parseFrames(bytes)[1]!.data).toString())).toEqual({
      type: 'settings',
      streamWindow: 70_000,
      maxMessageSize: 9000,
      library: LIBRARY,
      version: VERSION,
    });
    await link.answer(link.control(SERVER_SETTINGS));
  });

  it('knows one of its own by the answer', async () => {
    const link = new ClientLink({ streamWindow: 70_000 });
    const conn = await link.answer(link.control(SERVER_SETTINGS));
    expect([conn.profile, conn.maxStreams, conn.openStreams]).toEqual(['own', 7, 0]);
    expect([conn.manager.sendWindow, conn.manager.recvWindow]).toEqual([100_000, 70_000]);
    expect(conn.manager.errorForm).toBe('status');
  });

  it('refuses to send more than the server takes', async () => {
    const link = new ClientLink();
    const conn = await link.answer(link.control(SERVER_SETTINGS));
    const stream = conn.open('/rpc', new Recorder());
    expect(trySend(stream, Buffer.alloc(50_001))).toBe(
      'MessageSizeError: message of 50001 bytes exceeds the limit of 50000',
    );
    expect(trySend(stream, Buffer.alloc(50_000))).toBe('ok');
    stream.sendCancel();
  });

  it.each([
    ['an error', storjError(1, 1, 0, 'protocol error: unknown rpc')],
    ['an ordinary end', closeSend(1, 1)],
  ])('takes a server that answers with %s for a plain one', async (_what, frame) => {
    const conn = await new ClientLink().answer(frame);
    expect([conn.profile, conn.maxStreams, conn.isDraining]).toEqual(['storj', 1, false]);
    expect([conn.manager.sendWindow, conn.manager.recvWindow]).toEqual([0, 0]);
  });

  it('gives up on a server that says nothing', async () => {
    const link = new ClientLink({ handshakeTimeout: 50 });
    link.clock.advance(50);
    await expect(link.connecting).rejects.toBeInstanceOf(SilentPeerError);
    expect(link.socket.destroyed).toBe(true);
    expect(link.clock.pendingTimers).toBe(0);
  });

  it('says what ended the connection when that happens first', async () => {
    const link = new ClientLink();
    link.socket.destroy(new Error('reset'));
    await expect(link.connecting).rejects.toBeInstanceOf(ClosedError);
    expect(await outcome(link.connecting)).toBe('ClosedError: connection lost');
    expect(link.clock.pendingTimers).toBe(0);
  });

  it.each(['storj', 'cockroach', 'cockroach-fc'] as const)('does not ask a server named %s', async (peer) => {
    const link = new ClientLink({ peer });
    const conn = await link.connecting;
    expect(link.sent()).toEqual([]);
    expect(conn.profile).toBe(peer);
    expect(conn.maxStreams).toBe(peer === 'storj' ? 1 : Infinity);
    expect(conn.manager.sendWindow > 0).toBe(peer === 'cockroach-fc');
  });

  it('tells of a goaway', async () => {
    let told = 0;
    const link = new ClientLink({}, { goaway: () => told++ });
    const conn = await link.answer(link.control(SERVER_SETTINGS));
    await link.answer(link.control({ type: 'goaway', lastStreamId: 5, reason: 'bye' }));
    await new Promise((resolve) => setImmediate(resolve));
    expect([conn.isDraining, conn.goawayLastId, told]).toEqual([true, 5, 1]);
  });

  it.each([5, 4, 6])(
    'takes the first goaway alone, not another one up to stream %i',
    async (lastStreamId) => {
      let told = 0;
      const link = new ClientLink({}, { goaway: () => told++ });
      const conn = await link.answer(link.control(SERVER_SETTINGS));
      await link.answer(link.control({ type: 'goaway', lastStreamId: 5, reason: 'bye' }));
      await link.answer(link.control({ type: 'goaway', lastStreamId, reason: 'bye' }));
      expect([conn.goawayLastId, told, conn.manager.isTerminated]).toEqual([5, 1, false]);
    },
  );

  it('takes a limit after a goaway that had none, once', async () => {
    let told = 0;
    const link = new ClientLink({}, { goaway: () => told++ });
    const conn = await link.answer(link.control(SERVER_SETTINGS));
    const goaway = async (lastStreamId: number, reason: string): Promise<void> => {
      await link.answer(link.control({ type: 'goaway', lastStreamId, reason }));
    };
    await goaway(ALL_STREAMS, 'old');
    await goaway(ALL_STREAMS, 'older');
    expect([conn.goawayLastId, conn.goawayReason, told]).toEqual([ALL_STREAMS, 'old', 1]);
    await goaway(5, 'bye');
    for (const lastStreamId of [4, ALL_STREAMS]) await goaway(lastStreamId, 'once more');
    expect([conn.goawayLastId, conn.goawayReason, told]).toEqual([5, 'bye', 2]);
  });

  it('ends the connection when a server of its own ends the control stream', async () => {
    const link = new ClientLink();
    const conn = await link.answer(link.control(SERVER_SETTINGS));
    link.socket.push(closeSend(1, 2));
    expect(describeError(await conn.closed)).toMatch(/^ProtocolError: the control stream ended/);
  });

  it('refuses a window below 64 KiB', async () => {
    await expect(new ClientLink({ streamWindow: 65_535 }).connecting).rejects.toThrow(
      'streamWindow is 65535: at least 65536 bytes are needed',
    );
  });
});
