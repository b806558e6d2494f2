import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect as connectTls } from 'node:tls';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { CONTROL_RPC, marshalControl } from '../../lib/control/control-message.js';
import type { PeerServerOptions } from '../../lib/control/peer-server.js';
import { ProtocolError } from '../../lib/errors/drpc-error.js';
import { encodeMetadata } from '../../lib/metadata/metadata.js';
import { unmarshalError } from '../../lib/wire/error-payload.js';
import { Kind } from '../../lib/wire/kind.js';
import {
  cancel,
  closeSend,
  describeFrames,
  frame,
  invoke,
  message,
  parseFrames,
  part,
  storjError,
  varint,
  windowUpdate,
} from '../helpers/frames.js';
import { heldBuffers } from './garbage.js';
import { Random } from '../simulation/random.js';
import { RawSocket, type RawSocketOptions } from './raw-socket.js';
import { NOTHING, TargetServer, type Handler } from './target-server.js';

const KIB = 1024;
const MIB = 1024 * KIB;
/** Work that a connection may do in a turn, in Invokes: 4,096 units of 16. */
const INVOKES_IN_TURN = 256;

let server: TargetServer;
let attackers: RawSocket[];
let warnings: string[];
const onWarning = (warning: Error): void => void warnings.push(warning.message);

beforeEach(() => {
  attackers = [];
  warnings = [];
  process.on('warning', onWarning);
});

async function start(
  options: PeerServerOptions & { budget?: number } = {},
  handlers: Record<string, Handler> = {},
): Promise<void> {
  server = await TargetServer.start(options, handlers);
}

async function attack(options?: RawSocketOptions): Promise<RawSocket> {
  const count = server.managers.length;
  const attacker = await RawSocket.connect(server.port, options);
  attackers.push(attacker);
  await server.accepts(count + 1);
  return attacker;
}

/** The error that ended the connection made last. */
async function fault(): Promise<Error> {
  return server.manager.closed;
}

/** After whatever was done to it: the server answers, and keeps nothing of those who have left. */
afterEach(async () => {
  assert.equal(await server.call('and now?'), 'and now?');
  await Promise.all(attackers.map((attacker) => attacker.leave()));
  await server.quiet();
  assert.deepEqual(server.remains(), NOTHING);
  assert(server.mostInTurn <= INVOKES_IN_TURN, `${server.mostInTurn} calls were begun in one turn`);
  await server.close();
  await until(() => !process.getActiveResourcesInfo().some((name) => name.startsWith('TCP')));
  process.off('warning', onWarning);
  assert.deepEqual(warnings, []);
});

/** A varint of `size` bytes of which none is the last. */
const endless = (size: number): Buffer => Buffer.alloc(size, 0xff);

describe('malformed bytes', () => {
  it.each([
    ['stream id', [Buffer.of(0x03), endless(10)]],
    ['message id', [Buffer.of(0x03, 1), endless(10)]],
    ['length', [Buffer.of(0x03, 1, 1), endless(10)]],
    ['length after eleven bytes', [Buffer.of(0x03, 1, 1), endless(11), Buffer.of(0)]],
  ])('malformed and oversized varints: a %s without an end', async (_what, bytes) => {
    await start();
    const attacker = await attack();
    await attacker.send(...bytes);
    expect((await fault()).message).toBe('varint too long: ten bytes and no end; a varint has at most ten');
    expect(await fault()).toBeInstanceOf(ProtocolError);
    expect(attacker.received).toHaveLength(0);
  });

  it('malformed and oversized varints: takes those that are longer than they need to be', async () => {
    await start();
    const attacker = await attack();
    const long = (value: number): Buffer =>
      Buffer.of(0x80 | value, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0);
    await attacker.send(Buffer.of(0x03), long(1), long(1), long(5), Buffer.from('/echo'));
    await attacker.send(Buffer.of(0x05), long(1), long(2), long(2), Buffer.from('hi'), closeSend(1, 3));
    await attacker.receives((bytes) => bytes.includes(closeSend(1, 2)));
    expect(describeFrames(attacker.received)).toEqual(['Message s1 m1 hi', 'CloseSend s1 m2']);
  });

  it.each([4 * MIB + 1, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n])(
    'announced lengths up to 2^64-1: %s bytes are refused before they are waited for',
    async (length) => {
      await start();
      const attacker = await attack();
      await attacker.send(invoke(1, '/echo'), Buffer.of(0x05, 1, 2), varint(length));
      expect((await fault()).message).toMatch(
        /^frame of (\d+|Infinity) bytes exceeds maximumBufferSize 4194304$/,
      );
      expect(server.manager.pool.usage.made).toBe(0);
    },
  );

  it('announced lengths up to 2^64-1: what was only announced is not allocated', async () => {
    await start();
    const before = await heldBuffers();
    const count = 100;
    for (let i = 0; i < count; i++) {
      const attacker = await attack();
      const frames = [1, 2, 3].map((id) => invoke(id, '/echo'));
      await attacker.send(...frames, Buffer.of(0x05, 1, 2), varint(4 * MIB), Buffer.alloc(10));
    }
    await until(() =>
      server.managers.every((manager) => manager.openStreams === 3 && manager.heldBytes <= 10),
    );
    expect((await heldBuffers()) - before).toBeLessThan(count * 100 * KIB);
    expect(server.managers.every((manager) => manager.pool.usage.made <= 1)).toBe(true);
  });

  it.each([0, 9, 34, 63])('unknown kinds: %s ends the connection, whatever its stream', async (kind) => {
    await start();
    for (const streamId of [1, 7]) {
      const attacker = await attack();
      await attacker.send(invoke(1, '/echo'), frame(kind, streamId, 2, 'x'));
      expect((await fault()).message).toBe(
        `unknown frame kind ${kind} on stream ${streamId}: known are 1 to 8`,
      );
    }
  });

  it('unknown kinds: those marked as control change nothing', async () => {
    await start();
    const attacker = await attack();
    const strange = [0, 9, 34, 63].flatMap((kind, i) => [
      frame(kind, 1, 2 + i, 'x', { control: true }),
      frame(kind, 9, 1, 'x', { control: true }),
    ]);
    await attacker.send(invoke(1, '/echo'), ...strange, message(1, 6, 'hi'), closeSend(1, 7));
    await attacker.receives((bytes) => bytes.includes(closeSend(1, 2)));
    expect(describeFrames(attacker.received)).toEqual(['Message s1 m1 hi', 'CloseSend s1 m2']);
  });

  it('random bytes end the connection or wait for more', async () => {
    await start();
    const random = new Random(7);
    for (let i = 0; i < 200; i++) {
      const attacker = await attack();
      const bytes = random.bytes(random.size(300));
      await attacker.send(random.chance(0.5) ? Buffer.concat([invoke(1, '/echo'), bytes]) : bytes);
      attacker.end();
    }
    await server.quiet();
    expect(server.failures).toEqual([]);
  });
});

describe('ids', () => {
  it('replayed and regressing ids: a stream id is used once', async () => {
    await start();
    const attacker = await attack();
    await attacker.send(invoke(3, '/echo'), closeSend(3, 2));
    await attacker.receives((bytes) => bytes.length > 0);
    await attacker.send(invoke(1, '/echo'), closeSend(1, 2));
    await attacker.receives((bytes) => parseFrames(bytes).length === 2);
    expect(describeFrames(attacker.received)).toEqual(['CloseSend s3 m1', 'CloseSend s1 m1']);
    await attacker.send(invoke(3, '/echo'));
    expect((await fault()).message).toBe('invoke of stream 3: the id was used before, or is too old to tell');
    expect(server.accepted).toBe(2);
  });

  it('replayed and regressing ids: one far below the highest is refused', async () => {
    await start();
    const attacker = await attack();
    await attacker.send(invoke(5000, '/echo'), invoke(5000 - 4095, '/echo'), invoke(5000 - 4096, '/echo'));
    expect((await fault()).message).toMatch(/^invoke of stream 904: /);
    expect(server.accepted).toBe(2);
  });

  it('replayed and regressing ids: message ids must grow', async () => {
    await start();
    for (const messageId of [0, 1, 2]) {
      const attacker = await attack();
      await attacker.send(invoke(1, '/echo'), message(1, 2, 'a'), message(1, messageId, 'b'));
      expect((await fault()).message).toMatch(
        `message id ${messageId} on stream 1 where 3 is the least allowed`,
      );
    }
  });

  it.each([2 ** 53 - 1, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n])(
    'ids beyond 2^53: serves stream and message %s',
    async (id) => {
      await start();
      const attacker = await attack();
      const before = BigInt(id) - 1n;
      await attacker.send(invoke(id, '/echo'), message(id, before, 'hi'), closeSend(id, id));
      await attacker.receives((bytes) => parseFramesSafely(bytes).length === 2);
      expect(describeFrames(attacker.received)).toEqual([`Message s${id} m1 hi`, `CloseSend s${id} m2`]);
      await attacker.send(invoke(1, '/echo'));
      expect((await fault()).message).toMatch(/^invoke of stream 1: /);
    },
  );

  it('ids beyond 2^53: stream 0 is none', async () => {
    await start();
    const attacker = await attack();
    await attacker.send(invoke(0, '/echo'));
    expect((await fault()).message).toBe('invoke of stream 0: stream ids start at 1');
  });

  it('invoke twice: ends the connection while the stream lives', async () => {
    await start();
    for (const again of [
      invoke(1, '/echo', 2),
      frame(Kind.InvokeMetadata, 1, 2, encodeMetadata({ a: 'b' })),
    ]) {
      const attacker = await attack();
      await attacker.send(invoke(1, '/echo'), again);
      expect((await fault()).message).toBe('invoke on existing stream 1: a stream is invoked once');
    }
  });
});

describe('metadata', () => {
  const metadata = (id: number, size = 0): Buffer =>
    frame(Kind.InvokeMetadata, id, 1, encodeMetadata({ a: 'x'.repeat(size) }));

  it('metadata without invoke: takes slots, then is refused, then ends the connection', async () => {
    await start({ maxStreams: 10 });
    const attacker = await attack();
    const ids = Array.from({ length: 1011 }, (_, i) => i + 1);
    await attacker.send(...ids.slice(0, 10).map((id) => metadata(id)));
    await until(() => server.manager.slots === 10);
    await attacker.send(...ids.slice(10, -1).map((id) => metadata(id)));
    await attacker.receives((bytes) => parseFramesSafely(bytes).length === 1000);
    const [first] = parseFrames(attacker.received);
    expect(errorIn(first!.data)).toBe(
      '8 too many concurrent streams: refused: at most 10 concurrent streams',
    );
    await attacker.send(metadata(1011));
    expect((await fault()).message).toMatch(/^1001 invokes were refused and never completed/);
  });

  it('metadata without invoke: slots are free again after Cancel', async () => {
    await start({ maxStreams: 2 });
    const attacker = await attack();
    await attacker.send(
      metadata(1),
      metadata(2),
      cancel(1, 2),
      cancel(2, 2),
      invoke(3, '/echo'),
      closeSend(3, 2),
    );
    await attacker.receives((bytes) => bytes.length > 0);
    expect(describeFrames(attacker.received)).toEqual(['CloseSend s3 m1']);
    expect(server.manager.slots).toBe(0);
  });

  it('endless metadata: fails the stream at its limit, and keeps none of it', async () => {
    await start();
    const attacker = await attack();
    for (let i = 0; i < 200; i++) await attacker.send(part(Kind.InvokeMetadata, 1, 1, Buffer.alloc(KIB)));
    await attacker.send(invoke(1, '/echo', 2), invoke(2, '/echo'), closeSend(2, 2));
    await attacker.receives((bytes) => bytes.includes(closeSend(2, 1)));
    const [error, ...rest] = parseFrames(attacker.received);
    expect(errorIn(error!.data)).toBe('8 metadata of 66560 bytes or more exceeds the limit of 65536');
    expect(rest).toHaveLength(1);
    expect(server.manager.pool.usage.lent).toBe(0);
    expect(server.accepted).toBe(1);
  });

  it('endless metadata: one that can not be decoded ends the connection', async () => {
    await start();
    const attacker = await attack();
    await attacker.send(frame(Kind.InvokeMetadata, 1, 1, Buffer.of(0x0a, 0x05, 0x01)));
    expect(await fault()).toBeInstanceOf(ProtocolError);
  });

  it('endless metadata: names of objects mean nothing', async () => {
    let seen: unknown;
    await start(
      {},
      {
        '/look': (stream) => {
          seen = { ...stream.metadata };
          expect(Object.getPrototypeOf(stream.metadata)).toBeNull();
          stream.closeSend();
          stream.discard();
          stream.handlerEnded();
        },
      },
    );
    const attacker = await attack();
    const pairs = [
      ['__proto__', 'polluted'],
      ['constructor', 'x'],
      ['hasOwnProperty', 'y'],
    ] as const;
    const bytes = Buffer.concat(pairs.map((pair) => encodeMetadata(Object.fromEntries([pair]))));
    await attacker.send(frame(Kind.InvokeMetadata, 1, 1, bytes), invoke(1, '/look', 2));
    await attacker.receives((received) => received.length > 0);
    expect(Object.entries(seen as object).map(([key]) => key)).toContain('constructor');
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});

describe('messages that never end', () => {
  it('partial messages on many streams: what is held stays under its bounds, and the connection lives', async () => {
    await start({ maxReceivedBytes: 2 * MIB, budget: 3 * MIB });
    const attacker = await attack();
    const streams = 400;
    for (let id = 1; id <= streams; id++) {
      await attacker.send(invoke(id, '/idle'), part(Kind.Message, id, 2, Buffer.alloc(20 * KIB)));
      expect(server.manager.heldBytes).toBeLessThanOrEqual(2 * MIB);
      expect(server.budget.used).toBeLessThanOrEqual(3 * MIB);
    }
    await attacker.send(invoke(999, '/echo'), closeSend(999, 2));
    await attacker.receives((bytes) => bytes.includes(closeSend(999, 1)));
    const failed = parseFrames(attacker.received).filter(({ kind }) => kind === Kind.Error);
    expect(failed.length).toBeGreaterThan(streams - (2 * 1024) / 20 - 1);
    expect(errorIn(failed[0]!.data)).toMatch(/^8 too much memory is held for messages that nobody reads/);
  });

  it('partial messages on many streams: memory that was overtaken is given back', async () => {
    await start();
    const attacker = await attack();
    const before = await heldBuffers();
    for (let id = 1; id <= 100; id++) {
      await attacker.send(
        invoke(id, '/idle'),
        part(Kind.Message, id, 2, Buffer.alloc(600 * KIB)),
        part(Kind.Message, id, 3, Buffer.of(1)),
      );
    }
    await until(() => server.manager.openStreams === 100 && server.manager.heldBytes === 100);
    expect(server.manager.pool.usage.lent).toBe(100);
    expect((await heldBuffers()) - before).toBeLessThan(5 * MIB);
  });

  it('partial messages on many streams: a server of many connections stays under its budget', async () => {
    await start({ budget: MIB });
    for (let i = 0; i < 20; i++) {
      const attacker = await attack();
      await attacker.send(invoke(1, '/idle'), part(Kind.Message, 1, 2, Buffer.alloc(200 * KIB)));
      await until(() => server.manager.openStreams === 0 || server.manager.heldBytes === 200 * KIB);
      expect(server.budget.used).toBeLessThanOrEqual(MIB);
    }
    expect(server.managers.filter((manager) => manager.openStreams === 1)).toHaveLength(5);
  });

  it('a message over the limit fails its stream, wherever it is cut', async () => {
    await start({ maxReceiveSize: 10 * KIB });
    const attacker = await attack();
    await attacker.send(
      invoke(1, '/idle'),
      part(Kind.Message, 1, 2, Buffer.alloc(10 * KIB)),
      frame(Kind.Message, 1, 2, Buffer.alloc(1)),
      invoke(2, '/idle'),
      message(2, 2, Buffer.alloc(10 * KIB)),
      message(2, 3, Buffer.alloc(10 * KIB + 1)),
      invoke(3, '/echo'),
      closeSend(3, 2),
    );
    await attacker.receives((bytes) => bytes.includes(closeSend(3, 1)));
    expect(parseFrames(attacker.received).map(({ streamId, kind }) => [streamId, kind])).toEqual([
      [1, Kind.Error],
      [2, Kind.Error],
      [3, Kind.CloseSend],
    ]);
  });
});

describe('floods', () => {
  /** As many copies of `bytes` as make `size` bytes. */
  const flood = (bytes: Buffer, size: number): Buffer =>
    Buffer.alloc(Math.floor(size / bytes.length) * bytes.length, bytes);

  /** Sends 4 MiB of `bytes` behind a stream that lives, and waits until they have been handled. */
  async function survive(begin: Buffer[], bytes: Buffer, end: Buffer[]): Promise<RawSocket> {
    const attacker = await attack();
    await attacker.send(...begin);
    await attacker.send(flood(bytes, 4 * MIB));
    await attacker.send(...end);
    await attacker.receives((received) => parseFramesSafely(received).length > 0);
    return attacker;
  }

  it('tiny-frame flood: gives others their turn at a fixed amount of work', async () => {
    await start();
    const tiny = frame(Kind.Message, 99, 1);
    const attacker = await survive([invoke(1, '/echo')], tiny, [closeSend(1, 2)]);
    expect(describeFrames(attacker.received)).toEqual(['CloseSend s1 m1']);
    const frames = (4 * MIB) / tiny.length;
    expect(server.clock.yields).toBeGreaterThanOrEqual(Math.floor(frames / 4096) - 1);
  });

  it('tiny-frame flood: empty messages to a handler that does not read stop the socket, not the server', async () => {
    await start({ recvQueueMessages: 256, stallTimeout: 30_000 });
    const attacker = await attack();
    await attacker.send(invoke(1, '/idle'));
    let sent = 1;
    const messages = Array.from({ length: 2000 }, () => message(1, ++sent));
    await attacker.send(...messages);
    await until(() => server.manager.isPaused);
    expect(server.manager.heldBytes).toBeLessThanOrEqual(256 * 192);
    server.clock.advance(30_000);
    await attacker.receives((received) => received.length > 0);
    expect(errorIn(parseFrames(attacker.received)[0]!.data)).toBe(
      '8 the receive queue of stream 1 was full for 30000 ms: its receiver does not read',
    );
  });

  it('cancel flood: for streams that never were', async () => {
    await start();
    const attacker = await survive([invoke(1, '/echo')], cancel(77, 1), [closeSend(1, 2)]);
    expect(describeFrames(attacker.received)).toEqual(['CloseSend s1 m1']);
  });

  it('window flood: credit that nobody asked for', async () => {
    await start({ plainClients: 'cockroach-fc' });
    const attacker = await survive([invoke(1, '/echo')], windowUpdate(1, 2n ** 64n - 1n), [
      message(1, 2, 'hi'),
      closeSend(1, 3),
    ]);
    await attacker.receives((received) => received.includes(closeSend(1, 2)));
    expect(describeFrames(attacker.received)).toEqual(['Message s1 m1 hi', 'CloseSend s1 m2']);
  });

  it('window flood: updates to a server without windows are ignored', async () => {
    await start();
    const attacker = await survive([invoke(1, '/echo')], windowUpdate(1, 1), [closeSend(1, 2)]);
    expect(describeFrames(attacker.received)).toEqual(['CloseSend s1 m1']);
  });

  it('error flood: for streams that never were', async () => {
    await start();
    const attacker = await survive([invoke(1, '/echo')], storjError(77, 1, 3, 'no'), [closeSend(1, 2)]);
    expect(describeFrames(attacker.received)).toEqual(['CloseSend s1 m1']);
  });

  const settings = marshalControl({ type: 'settings', streamWindow: 64 * KIB, maxMessageSize: MIB });

  it('ping flood: keeps one answer while its peer does not read', async () => {
    await start({ pingInterval: 0 });
    const attacker = await attack({ reads: false });
    await attacker.send(invoke(1, CONTROL_RPC), message(1, 2, settings));
    let sent = 2;
    const { manager } = server;
    const most = { pending: 0, queued: 0 };
    for (let i = 0; i < 100; i++) {
      const pings = Array.from({ length: 1000 }, () =>
        message(1, ++sent, marshalControl({ type: 'ping', id: sent })),
      );
      await attacker.send(...pings);
      most.pending = Math.max(most.pending, manager.writer.pending);
      most.queued = Math.max(most.queued, manager.queuedBytes);
    }
    expect(most.pending).toBeLessThanOrEqual(MIB + 64 * KIB);
    expect(most.queued).toBeLessThanOrEqual(100);
    expect(manager.isTerminated).toBe(false);
  });

  it('ping flood: a ping before settings, and second settings, end the connection', async () => {
    await start();
    for (const second of [settings, '{"type":"goaway"}', '{}', '[]', 'x', '{"type":"ping","id":-1}']) {
      const attacker = await attack();
      await attacker.send(invoke(1, CONTROL_RPC), message(1, 2, settings), message(1, 3, second));
      expect(await fault()).toBeInstanceOf(ProtocolError);
    }
    const attacker = await attack();
    await attacker.send(invoke(1, CONTROL_RPC), message(1, 2, '{"type":"ping","id":1}'));
    expect((await fault()).message).toBe('ping before settings on the control stream: settings come first');
  });

  it('control streams flood: only the first is one, and none frees a slot that it did not take', async () => {
    await start({ maxStreams: 5, pingInterval: 0 });
    const attacker = await attack();
    await attacker.send(invoke(1, CONTROL_RPC), message(1, 2, settings));
    const ids = Array.from({ length: 500 }, (_, i) => i + 2);
    await attacker.send(...ids.map((id) => invoke(id, CONTROL_RPC)));
    await attacker.receives((bytes) => parseFramesSafely(bytes).length === 501);
    expect(server.manager.slots).toBe(0);
    await attacker.send(...ids.map((id) => invoke(id + 1000, '/idle')));
    await attacker.receives((bytes) => parseFramesSafely(bytes).length === 501 + 495);
    expect(server.accepted).toBe(5);
  });

  it('open-and-cancel flood: handlers that still run take their slots', async () => {
    let running = 0;
    let most = 0;
    const lingering: (() => void)[] = [];
    await start(
      { maxStreams: 50 },
      {
        '/linger': (stream) => {
          most = Math.max(most, ++running);
          lingering.push(() => {
            running--;
            stream.discard();
            stream.handlerEnded();
          });
        },
      },
    );
    const attacker = await attack();
    const count = 20_000;
    const storm: Buffer[] = [];
    for (let id = 1; id <= count; id++) storm.push(invoke(id, '/linger'), cancel(id, 2));
    await attacker.send(...storm);
    await attacker.receives((bytes) => parseFramesSafely(bytes).length >= count - 50);
    expect(most).toBe(50);
    expect(server.accepted).toBe(50);
    for (const end of lingering) end();
    expect(server.manager.slots).toBe(0);
  });

  it('open-and-cancel flood: handlers that end at once are run, a bounded number in each turn', async () => {
    await start();
    const attacker = await attack();
    const count = 20_000;
    const storm: Buffer[] = [];
    for (let id = 1; id <= count; id++) storm.push(invoke(id, '/echo'), cancel(id, 2));
    await attacker.send(...storm, invoke(count + 1, '/echo'), closeSend(count + 1, 2));
    await attacker.receives((bytes) => bytes.length > 0);
    expect(describeFrames(attacker.received)).toEqual([`CloseSend s${count + 1} m1`]);
    expect(server.accepted).toBe(count + 1);
  });

  it('100,000 opens: are all answered', { timeout: 120_000 }, async () => {
    await start();
    const attacker = await attack();
    const count = 100_000;
    let answered = 0;
    attacker.socket.removeAllListeners('data');
    attacker.socket.on('data', (chunk: Buffer) => {
      answered += chunk.length;
    });
    let size = 0;
    for (let id = 1; id <= count;) {
      const frames: Buffer[] = [];
      for (const end = Math.min(id + 500, count + 1); id < end; id++) {
        frames.push(invoke(id, '/echo'), message(id, 2, 'x'), closeSend(id, 3));
        size += message(id, 1, 'x').length + closeSend(id, 2).length;
      }
      await attacker.send(...frames);
    }
    await until(() => answered === size);
    expect(server.accepted).toBe(count);
  });

  it('100,000 opens: those that never end are refused above the limit', { timeout: 120_000 }, async () => {
    await start({ maxStreams: 1000 });
    const attacker = await attack();
    const count = 100_000;
    let refused = 0;
    let rest: Buffer = Buffer.alloc(0);
    attacker.socket.removeAllListeners('data');
    attacker.socket.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      const size = errorSize;
      refused += Math.floor(rest.length / size);
      rest = rest.subarray(rest.length - (rest.length % size));
    });
    // All ids have three bytes, so that all refusals are of one size.
    const first = 20_000;
    const text = 'too many concurrent streams: refused: at most 1000 concurrent streams';
    const errorSize = storjError(first, 1, 8, text).length;
    for (let id = first; id < first + count;) {
      const frames: Buffer[] = [];
      for (const end = Math.min(id + 1000, first + count); id < end; id++) frames.push(invoke(id, '/idle'));
      await attacker.send(...frames);
    }
    await until(() => refused === count - 1000);
    expect(server.accepted).toBe(1000);
    expect(server.manager.slots).toBe(1000);
  });

  it('opens and drops by reconnecting: handlers are told, and nothing adds up', async () => {
    await start({ budget: 10 * MIB });
    for (let i = 0; i < 300; i++) {
      const attacker = await RawSocket.connect(server.port);
      const frames = [1, 2, 3].flatMap((id) => [
        invoke(id, '/idle'),
        message(id, 2, Buffer.alloc(KIB)),
        part(Kind.Message, id, 3, Buffer.alloc(KIB)),
      ]);
      await attacker.send(...frames);
      if (i % 2 === 0) attacker.reset();
      else attacker.socket.destroy();
    }
    await server.accepts(300);
    await server.quiet();
    expect(server.remains()).toEqual(NOTHING);
  });
});

describe('slow and silent peers', () => {
  it('slow-loris: a small frame must be whole in time, however often a byte of it comes', async () => {
    await start({ frameTimeout: 30_000 });
    const attacker = await attack();
    const bytes = invoke(1, '/echo');
    for (const byte of bytes.subarray(0, -1)) {
      const { chunks } = server.manager;
      await attacker.send(Buffer.of(byte));
      await until(() => server.manager.chunks > chunks);
      server.clock.advance(3500);
    }
    expect(server.manager.isTerminated).toBe(false);
    server.clock.advance(3500);
    expect((await fault()).message).toBe(
      'half a frame and no end for 30000 ms: a frame must arrive within that time',
    );
  });

  it('slow-loris: so must a large one, whose pieces are handed on', async () => {
    await start({ frameTimeout: 30_000 });
    const attacker = await attack();
    await attacker.send(invoke(1, '/idle'), message(1, 2, Buffer.alloc(100 * KIB)).subarray(0, 5000));
    for (let i = 0; i < 9; i++) {
      const { chunks } = server.manager;
      await attacker.send(Buffer.alloc(1000));
      await until(() => server.manager.chunks > chunks);
      server.clock.advance(3000);
    }
    expect(server.manager.isTerminated).toBe(false);
    server.clock.advance(3000);
    expect(await fault()).toMatchObject({
      code: 14,
      message: expect.stringMatching(/^half a frame/) as string,
    });
  });

  it('slow-loris: whole frames may come as slowly as they like', async () => {
    await start({ frameTimeout: 30_000 });
    const attacker = await attack();
    for (const bytes of [invoke(1, '/echo'), message(1, 2, 'a'), message(1, 3, 'b'), closeSend(1, 4)]) {
      const { chunks } = server.manager;
      await attacker.send(bytes);
      await until(() => server.manager.chunks > chunks);
      server.clock.advance(29_000);
    }
    await attacker.receives((received) => received.includes(closeSend(1, 3)));
    expect(server.manager.isTerminated).toBe(false);
  });

  it('half frames: their connection ends, or their time is over', async () => {
    await start({ frameTimeout: 30_000 });
    const bytes = invoke(1, '/echo');
    for (const leave of [
      (attacker: RawSocket) => attacker.end(),
      (attacker: RawSocket) => attacker.reset(),
    ]) {
      const attacker = await attack();
      await attacker.send(bytes.subarray(0, 4));
      leave(attacker);
      await fault();
      expect(server.accepted).toBe(0);
    }
    const attacker = await attack();
    await attacker.send(bytes.subarray(0, 4));
    await until(() => server.manager.chunks > 0);
    server.clock.advance(30_000);
    expect(await fault()).toMatchObject({
      code: 14,
      message: expect.stringMatching(/^half a frame/) as string,
    });
    await attacker.closed();
  });

  it('peers that never read: what waits for them is bounded, and others do not notice', async () => {
    const source: Handler = (stream) => {
      const bytes = Buffer.alloc(32 * KIB);
      const go = (): void => {
        while (stream.canSend) {
          if (!stream.trySend(bytes)) {
            void stream.drained().then(go, () => undefined);
            return;
          }
        }
      };
      stream.sink = {
        message: () => undefined,
        end: () => undefined,
        terminated: () => {
          stream.discard();
          stream.handlerEnded();
        },
      };
      go();
    };
    await start({ writerBufferSize: 256 * KIB, bulkSize: 64 * KIB }, { '/source': source });
    const attacker = await attack({ reads: false });
    const ids = Array.from({ length: 50 }, (_, i) => i + 1);
    await attacker.send(...ids.map((id) => invoke(id, '/source')));
    const { manager } = server;
    await until(() => manager.writer.waiting === 50);
    expect(await server.call('beside')).toBe('beside');
    expect(manager.writer.pending).toBeLessThanOrEqual(256 * KIB + 128 * KIB);
    expect(manager.writer.inFlight).toBeLessThanOrEqual(256 * KIB);
    expect(manager.queuedBytes).toBeLessThanOrEqual(50 * 33 * KIB);
    // A cancel is heard although nothing can be written.
    await attacker.send(...ids.map((id) => cancel(id, 2)));
    await until(() => manager.openStreams === 0);
    expect(manager.queuedBytes).toBe(0);
    expect(manager.writer.waiting).toBe(0);
  });

  it('peers that never read: a flood of refusals waits for its reader', async () => {
    await start({ maxStreams: 1, writerBufferSize: 16 * KIB });
    const attacker = await attack({ reads: false });
    const storm: Buffer[] = [];
    for (let id = 1; id <= 100_000; id++) storm.push(invoke(id, '/idle'));
    attacker.socket.write(Buffer.concat(storm));
    await until(
      () => server.manager.isPaused && server.manager.writer.inFlight > 0 && server.manager.writer.isFull,
    );
    expect(server.manager.writer.pending).toBeLessThanOrEqual(16 * KIB + 200);
    expect(server.manager.isTerminated).toBe(false);
  });

  it('peers that never read: a server that was finished goes away although pings still come', async () => {
    await start({ pingInterval: 0 });
    const attacker = await attack();
    const settings = marshalControl({ type: 'settings', streamWindow: 64 * KIB, maxMessageSize: MIB });
    await attacker.send(invoke(1, CONTROL_RPC), message(1, 2, settings));
    await until(() => server.manager.openStreams === 1);
    server.manager.finish(new ProtocolError('finished'), 2000);
    // FIN is written; what is sent from now on must not be answered.
    await attacker.receives((bytes) => bytes.length > 0);
    await attacker.send(...[3, 4, 5].map((id) => message(1, id, marshalControl({ type: 'ping', id }))));
    await until(() => server.manager.isTerminated || server.manager.chunks > 1);
    attacker.end();
    await fault();
    await attacker.closed();
    expect(attacker.wasReset).toBe(false);
    expect(parseFrames(attacker.received)).toHaveLength(1);
  });
});

describe('early close', () => {
  const transcript = Buffer.concat([
    frame(Kind.InvokeMetadata, 1, 1, encodeMetadata({ key: 'value' })),
    invoke(1, '/echo', 2),
    part(Kind.Message, 1, 3, 'hel'),
    frame(Kind.Message, 1, 3, 'lo'),
    invoke(2, '/idle'),
    closeSend(1, 4),
    cancel(2, 2),
  ]);

  it.each(['FIN', 'reset'])('early close at every byte: %s', async (how) => {
    await start();
    for (let size = 0; size <= transcript.length; size++) {
      const attacker = await RawSocket.connect(server.port);
      await attacker.send(transcript.subarray(0, size));
      if (how === 'FIN') attacker.end();
      else attacker.reset();
      await attacker.closed();
    }
    await server.accepts(transcript.length + 1);
    await server.quiet();
    expect(server.remains()).toEqual(NOTHING);
    expect(server.failures).toEqual([]);
  });
});

describe('other protocols on the port', () => {
  it('HTTP: is refused by name, and never becomes a call', async () => {
    await start();
    for (const method of ['GET', 'POST']) {
      const client = request({ port: server.port, host: '127.0.0.1', method, path: '/echo' });
      client.end('{"a":1}');
      const [error] = (await once(client, 'error')) as [NodeJS.ErrnoException];
      expect(error.code).toBe('ECONNRESET');
      expect((await fault()).message).toMatch(`HTTP on a DRPC port: "${method} /echo HTTP/1.1`);
    }
    expect(server.accepted).toBe(0);
  });

  it('HTTP/2: is refused by name', async () => {
    await start();
    const session = connectHttp2(`http://127.0.0.1:${server.port}`);
    session.on('error', () => undefined);
    await once(session, 'close');
    expect((await fault()).message).toMatch(/^HTTP\/2 on a DRPC port: "PRI \* HTTP\/2/);
  });

  it('TLS: is refused by name', async () => {
    await start();
    const socket = connectTls({ port: server.port, host: '127.0.0.1', rejectUnauthorized: false });
    await once(socket, 'error');
    expect((await fault()).message).toMatch(/^TLS on a DRPC port: "\\x16\\x03/);
  });

  it.each([
    ['SSH', Buffer.from('SSH-2.0-OpenSSH_9.6\r\n')],
    ['a DRPC preamble cut short', Buffer.from('DRPC!!!2')],
    ['a frame that is no Invoke', message(1, 1, 'hi')],
    ['nothing but zeros', Buffer.alloc(100)],
  ])('%s: is refused', async (_what, bytes) => {
    await start();
    const attacker = await attack();
    await attacker.send(bytes);
    expect(await fault()).toBeInstanceOf(ProtocolError);
    await attacker.closed();
    expect(server.accepted).toBe(0);
  });
});

/** Resolves when `claim` holds, looked at after every turn of the event loop. */
async function until(claim: () => boolean): Promise<void> {
  while (!claim()) await new Promise((resolve) => setImmediate(resolve));
}

/** The frames in `bytes`, as far as they are whole. */
function parseFramesSafely(bytes: Buffer): unknown[] {
  try {
    return parseFrames(bytes);
  } catch {
    return [];
  }
}

/** The error in an Error frame's data as a line. */
function errorIn(data: Uint8Array): string {
  const bytes = Buffer.from(data);
  const { code, message: text } = unmarshalError(bytes, 0, bytes.length);
  return `${code} ${text}`;
}
