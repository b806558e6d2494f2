import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { Conn } from '../../lib/conn/conn.js';
import { marshalControl } from '../../lib/control/control-message.js';
import { PeerConn, SilentPeerError, type PeerConnOptions } from '../../lib/control/peer-conn.js';
import { bytesEncoding, jsonEncoding } from '../../lib/encoding/encoding.js';
import { DrpcCode } from '../../lib/errors/codes.js';
import {
  CanceledError,
  ClosedError,
  DeadlineError,
  DrpcError,
  MessageSizeError,
  ProtocolError,
} from '../../lib/errors/drpc-error.js';
import type { Manager } from '../../lib/manager/manager.js';
import { Kind } from '../../lib/wire/kind.js';
import {
  cancel,
  close,
  closeSend,
  frame,
  invoke,
  message,
  parseFrames,
  part,
  storjError,
  varint,
  windowUpdate,
} from '../helpers/frames.js';
import { Random } from '../simulation/random.js';
import { heldBuffers } from './garbage.js';
import { ManualClock } from './manual-clock.js';
import { RawSocket } from './raw-socket.js';

const KIB = 1024;
const MIB = 1024 * KIB;

const SETTINGS = marshalControl({
  type: 'settings',
  streamWindow: 64 * KIB,
  maxMessageSize: MIB,
  maxStreams: 100,
});

let clock: ManualClock;
let listener: Server;
let served: RawSocket[];
let managers: Manager[];
let warnings: string[];
const onWarning = (warning: Error): void => void warnings.push(warning.message);

beforeEach(() => {
  clock = new ManualClock();
  served = [];
  managers = [];
  warnings = [];
  process.on('warning', onWarning);
});

/** What the calls left behind: nothing, and nothing that was thrown out of an event handler. */
afterEach(async () => {
  for (const manager of managers) await manager.close();
  await Promise.all(served.map((raw) => raw.leave()));
  listener.close();
  await once(listener, 'close');
  for (const manager of managers) {
    const { openStreams, heldBytes, queuedBytes, pool, writer } = manager;
    const found = { openStreams, heldBytes, queuedBytes, lent: pool.usage.lent, pending: writer.pending };
    assert.deepEqual(found, { openStreams: 0, heldBytes: 0, queuedBytes: 0, lent: 0, pending: 0 });
  }
  assert.equal(clock.pending, 0, 'a timer is left');
  process.off('warning', onWarning);
  assert.deepEqual(warnings, []);
});

/** Serves every connection with `play`. */
async function serve(play: (raw: RawSocket) => void | Promise<void>): Promise<void> {
  listener = createServer((socket) => {
    const raw = new RawSocket(socket);
    served.push(raw);
    void play(raw);
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
}

/** A connection without the control stream, whose server takes many streams. */
function dial(options: ConstructorParameters<typeof Conn>[1] = {}): Conn {
  const socket = connect((listener.address() as AddressInfo).port, '127.0.0.1');
  const conn = new Conn(socket, { clock, ...options });
  managers.push(conn.manager);
  return conn;
}

/** A connection that asks who its server is. */
async function dialAuto(options: PeerConnOptions = {}): Promise<PeerConn> {
  const socket = connect((listener.address() as AddressInfo).port, '127.0.0.1');
  const conn = await PeerConn.connect(socket, { clock, pingInterval: 0, ...options });
  managers.push(conn.manager);
  return conn;
}

/** What becomes of a unary call: its answer, or its error. */
function call(conn: Conn, timeout?: number): Promise<unknown> {
  return conn.invoke('/echo', jsonEncoding, 'hi', { timeout }).catch((error: unknown) => error);
}

/** Resolves once `raw` has received `count` frames. */
async function frames(raw: RawSocket, count: number): Promise<void> {
  await raw.receives((received) => framesIn(received) >= count);
}

function framesIn(bytes: Buffer): number {
  try {
    return parseFrames(bytes).length;
  } catch {
    return 0;
  }
}

/** Resolves when `claim` holds, looked at after every turn of the event loop. */
async function until(claim: () => boolean): Promise<void> {
  while (!claim()) await new Promise((resolve) => setImmediate(resolve));
}

describe('servers that answer garbage', () => {
  it('random bytes: every call ends with an error', async () => {
    const random = new Random(11);
    await serve(async (raw) => {
      await frames(raw, 3);
      await raw.send(random.bytes(random.size(300)));
      raw.end();
    });
    for (let i = 0; i < 200; i++) {
      const error = await call(dial());
      expect(error).toBeInstanceOf(DrpcError);
    }
  });

  it.each([
    ['a varint without an end', [Buffer.alloc(12, 0xff)], /varint too long/],
    ['2^64-1 bytes announced', [Buffer.of(5, 1, 1), varint(2n ** 64n - 1n)], /exceeds maximumBufferSize/],
    ['an unknown kind', [frame(34, 1, 1, 'x')], /unknown frame kind 34 on stream 1/],
    [
      'an unknown kind for a stream that never was',
      [frame(34, 9, 1, 'x')],
      /unknown frame kind 34 on stream 9/,
    ],
    ['an invoke', [invoke(2, '/x')], /invoke of stream 2 by a server: only clients invoke/],
    ['an invoke of the caller’s stream', [invoke(1, '/x')], /invoke on existing stream 1/],
    ['metadata', [frame(Kind.InvokeMetadata, 2, 1)], /only clients invoke/],
    ['a message id that does not grow', [part(Kind.Message, 1, 2, 'x'), message(1, 1, 'x')], /ids must grow/],
    ['message id 0', [message(1, 0, '"x"')], /ids must grow/],
    [
      'a kind that changes',
      [part(Kind.Message, 1, 1, 'x'), frame(Kind.Error, 1, 1)],
      /a packet keeps its kind/,
    ],
    [
      'HTTP',
      [
        Buffer.from(
          `HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n`,
        ),
      ],
      /^the server speaks HTTP: "HTTP\/1.1 400 Bad Reque/,
    ],
    ['an alert of TLS', [Buffer.from('15030300020246', 'hex')], /^the server speaks TLS: "\\x15\\x03/],
  ])('%s: ends the connection, and the calls with its error', async (_what, bytes, text) => {
    await serve(async (raw) => {
      await frames(raw, 3);
      await raw.send(...bytes);
    });
    const conn = dial();
    const error = await call(conn);
    expect(error).toBeInstanceOf(ProtocolError);
    expect((error as Error).message).toMatch(text);
    expect(await conn.closed).toBe(error);
  });

  it('an undecodable answer: fails that call only', async () => {
    await serve(async (raw) => {
      await frames(raw, 3);
      await raw.send(message(1, 1, '{no json'), closeSend(1, 2));
      await frames(raw, 6);
      await raw.send(message(2, 1, '"fine"'), closeSend(2, 2));
    });
    const conn = dial();
    expect(await call(conn)).toBeInstanceOf(DrpcError);
    expect(await call(conn)).toBe('fine');
  });

  it('garbled errors: are errors all the same', async () => {
    const payloads = [
      Buffer.alloc(0),
      Buffer.of(0),
      Buffer.of(1, 0xff),
      Buffer.of(2, 3),
      Buffer.alloc(8),
      Buffer.alloc(64 * KIB, 0x41),
    ];
    await serve(async (raw) => {
      for (const [i, payload] of payloads.entries()) {
        await frames(raw, 3 * (i + 1));
        await raw.send(frame(Kind.Error, i + 1, 1, payload));
      }
    });
    const conn = dial();
    for (const _ of payloads) {
      const error = await call(conn);
      expect(error).toBeInstanceOf(DrpcError);
      expect((error as DrpcError).code).toBeGreaterThan(0);
    }
    expect(conn.manager.isTerminated).toBe(false);
  });

  it('deep JSON: answers or errors', async () => {
    await serve(async (raw) => {
      await frames(raw, 3);
      await raw.send(message(1, 1, '['.repeat(1_000_000)), closeSend(1, 2));
    });
    expect(await call(dial())).toBeInstanceOf(DrpcError);
  });
});

describe('servers that never answer', () => {
  it('to the probe: is told as a silent peer, and the connection is gone', async () => {
    await serve(() => undefined);
    const connecting = dialAuto().catch((error: unknown) => error);
    await until(() => clock.pending > 0 && served.length === 1);
    await frames(served[0]!, 2);
    clock.advance(2000);
    expect(await connecting).toBeInstanceOf(SilentPeerError);
    await served[0]!.closed();
  });

  it('to a call: its deadline ends it, with a Cancel for the server', async () => {
    await serve(() => undefined);
    const conn = dial();
    const calling = call(conn, 500);
    await until(() => served.length === 1);
    await frames(served[0]!, 4);
    clock.advance(500);
    expect(await calling).toBeInstanceOf(DeadlineError);
    await frames(served[0]!, 5);
    expect(parseFrames(served[0]!.received).at(-1)).toMatchObject({ kind: Kind.Cancel, control: true });
    expect(conn.manager.isTerminated).toBe(false);
  });

  it('to a ping: the connection ends, and its calls', async () => {
    await serve(async (raw) => {
      await frames(raw, 2);
      await raw.send(message(1, 1, SETTINGS));
    });
    const conn = await dialAuto({ pingInterval: 30_000, pingTimeout: 10_000 });
    const calling = call(conn);
    await frames(served[0]!, 5);
    clock.advance(30_000);
    await frames(served[0]!, 6);
    clock.advance(10_000);
    const error = await calling;
    expect(error).toBeInstanceOf(ClosedError);
    expect((error as Error).message).toMatch(/^no sign of life/);
  });

  it('and never read: what waits for them is bounded', async () => {
    await serve((raw) => void raw.socket.pause());
    const conn = dial({ sendQueueSize: MIB, maxQueuedBytes: 3 * MIB, writerBufferSize: 256 * KIB });
    const bytes = Buffer.alloc(64 * KIB);
    const ends: (Error | undefined)[] = [];
    const sink = {
      message: () => undefined,
      end: (cause?: Error) => void ends.push(cause),
      terminated: () => undefined,
    };
    const streams = Array.from({ length: 10 }, () => conn.open('/upload', sink));
    // The socket is full once a stream that waits for room finds none.
    const patient = conn.open('/patient', sink);
    while (patient.trySend(bytes) || (await roomWithin(patient))) continue;
    const { manager } = conn;
    for (let i = 0; i < 1000; i++) {
      for (const stream of streams) {
        if (stream.canSend) stream.trySend(bytes);
        expect(manager.queuedBytes).toBeLessThanOrEqual(3 * MIB);
        expect(stream.queuedBytes).toBeLessThanOrEqual(Math.max(MIB, 4 * MIB));
      }
    }
    expect(manager.writer.pending).toBeLessThanOrEqual(512 * KIB);
    expect(ends.length).toBeGreaterThan(0);
    expect(
      ends.every((cause) => cause instanceof DrpcError && cause.code === DrpcCode.ResourceExhausted),
    ).toBe(true);
    expect(manager.isTerminated).toBe(false);
    const cause = new CanceledError();
    expect(patient.sendCancel(cause)).toBe(true);
    expect(ends).toContain(cause);
  });

  /** Whether `stream` gets room before the event loop has gone round a hundred times. */
  async function roomWithin(stream: { drained(): Promise<void> }): Promise<boolean> {
    let hasRoom = false;
    stream.drained().then(
      () => {
        hasRoom = true;
      },
      () => undefined,
    );
    for (let i = 0; i < 100 && !hasRoom; i++) await new Promise((resolve) => setImmediate(resolve));
    return hasRoom;
  }
});

describe('servers that answer other streams', () => {
  it('that never were, or have ended: is ignored, and the right answer counts', async () => {
    await serve(async (raw) => {
      await frames(raw, 3);
      await raw.send(
        message(2, 1, '"wrong"'),
        closeSend(7, 1),
        cancel(2n ** 63n, 1),
        storjError(9, 1, 5, 'wrong'),
        windowUpdate(3, 1000),
        message(0, 1, '"wrong"'),
        message(1, 1, '"right"'),
        closeSend(1, 2),
        message(1, 3, '"late"'),
        closeSend(1, 1),
        storjError(1, 9, 5, 'late'),
      );
      await frames(raw, 6);
      await raw.send(message(1, 1, '"old"'), message(2, 1, '"second"'), closeSend(2, 2));
    });
    const conn = dial();
    expect(await call(conn)).toBe('right');
    expect(await call(conn)).toBe('second');
    expect(conn.manager.isTerminated).toBe(false);
  });

  it('twice: the call fails, the connection lives', async () => {
    await serve(async (raw) => {
      await frames(raw, 3);
      await raw.send(message(1, 1, '1'), message(1, 2, '2'), closeSend(1, 3));
      await frames(raw, 6);
      await raw.send(message(2, 1, '3'), closeSend(2, 2));
    });
    const conn = dial();
    const error = (await call(conn)) as DrpcError;
    expect(error.code).toBe(DrpcCode.Internal);
    await until(() => served.length === 1);
    expect(await call(conn)).toBe(3);
  });

  it.each([
    ['Close', [close(1, 1)], undefined],
    ['CloseSend', [closeSend(1, 1)], undefined],
    ['Cancel', [cancel(1, 1)], CanceledError],
    ['an answer and Cancel', [message(1, 1, '1'), cancel(1, 2)], CanceledError],
    [
      'an answer too large',
      [part(Kind.Message, 1, 1, Buffer.alloc(2 * KIB)), part(Kind.Message, 1, 1, Buffer.alloc(3 * KIB))],
      MessageSizeError,
    ],
  ])('with %s: ends the call, not the connection', async (_what, bytes, expected) => {
    await serve(async (raw) => {
      await frames(raw, 3);
      await raw.send(...bytes);
    });
    const conn = dial({ maxReceiveSize: 4 * KIB });
    const outcome = await call(conn);
    expect(outcome?.constructor).toBe(expected);
    expect(conn.manager.isTerminated).toBe(false);
  });

  it('without credit: the stream fails, the connection lives', async () => {
    await serve(async (raw) => {
      await frames(raw, 2);
      await raw.send(message(1, 1, SETTINGS));
      await frames(raw, 4);
      const bytes = Buffer.alloc(64 * KIB);
      for (let id = 1; id < 60; id++) await raw.send(message(2, id, bytes));
    });
    const conn = await dialAuto({ streamWindow: 64 * KIB, maxReceiveSize: MIB });
    let cause: Error | undefined;
    const stream = conn.open('/download', {
      message: () => undefined,
      end: (error) => {
        cause = error;
      },
      terminated: () => undefined,
    });
    stream.closeSend();
    await until(() => stream.isTerminated);
    expect(conn.manager.heldBytes).toBeLessThanOrEqual(MIB + 128 * KIB);
    stream.discard();
    expect(stream.cause).toMatchObject({ code: DrpcCode.ResourceExhausted });
    expect(cause).toBeUndefined();
    expect(conn.manager.isTerminated).toBe(false);
  });

  it('in pieces that never end, on all streams: memory stays under its bound', async () => {
    await serve(async (raw) => {
      await frames(raw, 200);
      for (let id = 1; id <= 100; id++) await raw.send(part(Kind.Message, id, 1, Buffer.alloc(100 * KIB)));
    });
    const conn = dial({ maxReceivedBytes: 2 * MIB });
    const before = await heldBuffers();
    const calls = Array.from({ length: 100 }, () => conn.newStream('/download', bytesEncoding));
    const outcomes = calls.map((stream) => {
      stream.closeSend();
      return stream.msgRecv().catch((error: unknown) => error);
    });
    await until(() => conn.manager.openStreams <= 20);
    expect(conn.manager.heldBytes).toBeLessThanOrEqual(2 * MIB);
    expect((await heldBuffers()) - before).toBeLessThan(8 * MIB);
    await conn.close();
    const errors = await Promise.all(outcomes);
    expect(errors.every((error) => error instanceof DrpcError)).toBe(true);
  });
});

describe('servers that close', () => {
  const answer = Buffer.concat([
    part(Kind.Message, 1, 1, '"hel'),
    frame(Kind.Message, 1, 1, 'lo"'),
    closeSend(1, 2),
  ]);

  it.each(['FIN', 'reset'])('mid-message, at every byte: %s', async (how) => {
    let size = 0;
    await serve(async (raw) => {
      await frames(raw, 3);
      await raw.send(answer.subarray(0, size));
      if (how === 'FIN') raw.end();
      else raw.reset();
    });
    for (size = 0; size <= answer.length; size++) {
      const outcome = await call(dial());
      const isClosed = outcome instanceof ClosedError && outcome.code === DrpcCode.Unavailable;
      // A reset may overtake what was sent before it.
      expect(outcome === 'hello' ? size === answer.length : isClosed).toBe(true);
    }
  });

  it('before the first byte, and while the probe waits', async () => {
    await serve((raw) => raw.reset());
    expect(await call(dial())).toBeInstanceOf(ClosedError);
    await expect(dialAuto()).rejects.toBeInstanceOf(ClosedError);
  });
});

describe('servers that lie on the control stream', () => {
  it.each([
    ['no JSON', 'x'],
    ['no object', '[]'],
    ['no settings', '{"type":"ping","id":1}'],
    ['a window that is too small', '{"type":"settings","streamWindow":65535,"maxMessageSize":1}'],
    ['a window that is no number', '{"type":"settings","streamWindow":"many","maxMessageSize":1}'],
    ['no message size', '{"type":"settings","streamWindow":65536}'],
    ['no streams', '{"type":"settings","streamWindow":65536,"maxMessageSize":1,"maxStreams":0}'],
    ['5,000 bytes', JSON.stringify({ type: 'x', filler: 'x'.repeat(5000) })],
    ['deep JSON', '['.repeat(4000)],
  ])('with %s: the connection can not be made', async (_what, text) => {
    await serve(async (raw) => {
      await frames(raw, 2);
      await raw.send(message(1, 1, text));
    });
    await expect(dialAuto()).rejects.toBeInstanceOf(ProtocolError);
    await until(() => served[0]!.isClosed);
  });

  it.each([
    ['second settings', SETTINGS],
    ['goaway without an id', '{"type":"goaway"}'],
    ['a pong that is none', '{"type":"pong"}'],
  ])('with %s: the connection ends', async (_what, text) => {
    await serve(async (raw) => {
      await frames(raw, 2);
      await raw.send(message(1, 1, SETTINGS), message(1, 2, text));
    });
    const conn = await dialAuto();
    expect(await conn.closed).toBeInstanceOf(ProtocolError);
  });

  it.each([
    ['Close', close(1, 2)],
    ['CloseSend', closeSend(1, 2)],
    ['Cancel', cancel(1, 2)],
    ['Error', storjError(1, 2, 5, 'no')],
  ])('by ending it with %s: the connection ends', async (_what, end) => {
    await serve(async (raw) => {
      await frames(raw, 2);
      await raw.send(message(1, 1, SETTINGS), end);
    });
    const conn = await dialAuto();
    expect(await conn.closed).toBeInstanceOf(ProtocolError);
  });

  it('with messages of a later version: nothing changes', async () => {
    await serve(async (raw) => {
      await frames(raw, 2);
      await raw.send(message(1, 1, SETTINGS), message(1, 2, '{"type":"tomorrow","__proto__":{"a":1}}'));
      await frames(raw, 5);
      await raw.send(message(2, 1, '"fine"'), closeSend(2, 2));
    });
    const conn = await dialAuto();
    expect(await call(conn)).toBe('fine');
    expect(({} as Record<string, unknown>).a).toBeUndefined();
  });

  it('with a flood of pings that it does not let be answered: one answer is kept', async () => {
    await serve(async (raw) => {
      await frames(raw, 2);
      raw.socket.pause();
      await raw.send(message(1, 1, SETTINGS));
      let id = 1;
      for (let i = 0; i < 100; i++) {
        const pings = Array.from({ length: 1000 }, () =>
          message(1, ++id, marshalControl({ type: 'ping', id })),
        );
        await raw.send(...pings);
      }
      raw.end();
    });
    const conn = await dialAuto();
    const { manager } = conn;
    let most = 0;
    while (!manager.isTerminated) {
      most = Math.max(most, manager.writer.pending + manager.queuedBytes);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(most).toBeLessThanOrEqual(MIB + 64 * KIB);
  });

  it('with goaway for everything: the calls above are known to have never started', async () => {
    await serve(async (raw) => {
      await frames(raw, 2);
      await raw.send(message(1, 1, SETTINGS));
      await frames(raw, 5);
      await raw.send(message(1, 2, marshalControl({ type: 'goaway', lastStreamId: 1, reason: '\u0000\n' })));
    });
    const conn = await dialAuto();
    const calling = call(conn, 1000);
    await until(() => conn.isDraining);
    expect(conn.goawayLastId).toBe(1);
    await until(() => clock.pending > 0);
    clock.advance(1000);
    expect(await calling).toBeInstanceOf(DeadlineError);
  });
});
