import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClosedError, DrpcError } from '../../lib/errors/drpc-error.js';
import { encodeMetadata } from '../../lib/metadata/metadata.js';
import { Kind } from '../../lib/wire/kind.js';
import type { Stream, StreamSink } from '../../lib/stream/stream.js';
import { parseFrames } from '../helpers/frames.js';
import { NOTHING, remains } from '../helpers/leaks.js';
import { check } from '../helpers/properties.js';
import { RawPeer, type RawPeerOptions } from '../helpers/raw-peer.js';

type Role = 'client' | 'server';

/** What may happen to a stream at one of its ends. */
type Deed =
  | { does: 'send'; size: number; asText: boolean }
  | { does: 'request'; count: number }
  | { does: 'closeSend' | 'close' | 'sendError' | 'sendCancel' | 'fail' | 'discard' | 'handlerEnded' }
  | { does: 'setDeadline'; ms: number };

/** What may happen at all, in any order. */
type Step =
  | { on: 'open'; withMetadata: boolean }
  | { on: 'deliver'; to: Role; bytes: number }
  | { on: 'turn' }
  | { on: 'time'; ms: number }
  | { on: 'stream'; at: Role; index: number; deed: Deed };

const role = fc.constantFrom<Role>('client', 'server');

const deed: fc.Arbitrary<Deed> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      does: fc.constant('send' as const),
      size: fc.constantFrom(0, 1, 100, 900, 3000, 9000),
      asText: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      does: fc.constant('request' as const),
      count: fc.constantFrom(1, 1, 3, Infinity),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      does: fc.constantFrom(
        ...(['closeSend', 'closeSend', 'close', 'sendError', 'sendCancel'] as const),
        ...(['fail', 'discard', 'handlerEnded'] as const),
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ does: fc.constant('setDeadline' as const), ms: fc.integer({ min: 0, max: 300 }) }),
  },
);

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ on: fc.constant('open' as const), withMetadata: fc.boolean() }) },
  {
    weight: 5,
    arbitrary: fc.record({
      on: fc.constant('deliver' as const),
      to: role,
      bytes: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 20_000 })),
    }),
  },
  { weight: 1, arbitrary: fc.record({ on: fc.constant('turn' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({ on: fc.constant('time' as const), ms: fc.integer({ min: 1, max: 200 }) }),
  },
  {
    weight: 10,
    arbitrary: fc.record({ on: fc.constant('stream' as const), at: role, index: fc.nat(30), deed }),
  },
);

/** One end of a call: what it sent, and what it was told. */
class End implements StreamSink {
  stream: Stream | undefined;
  sent = 0;
  received = 0;
  ends: (Error | undefined)[] = [];
  terminations = 0;
  isDiscarded = false;
  readonly faults: string[] = [];

  message(bytes: Buffer, start: number, end: number): void {
    if (this.ends.length > 0) this.faults.push('a message after the end');
    // Each message begins with its number, if it is long enough, and goes on with bytes that follow from it.
    const number = this.received++;
    const size = end - start;
    const expected = content(number, size);
    if (!bytes.subarray(start, end).equals(expected))
      this.faults.push(`message ${number} is damaged or out of order`);
  }

  end(cause: Error | undefined): void {
    this.ends.push(cause);
  }

  terminated(): void {
    this.terminations++;
  }
}

/** What message `number` of an end consists of; ASCII, so that it may travel as text. */
function content(number: number, size: number): Buffer {
  return Buffer.from(`${number}:`.padEnd(size, String.fromCharCode(97 + (number % 26))).slice(0, size));
}

/** One side of the connection. */
class Side {
  readonly peer: RawPeer;
  readonly ends: End[] = [];
  /** Bytes on their way to the other side, and all that were ever sent. */
  onTheWay: Buffer = Buffer.alloc(0);
  readonly wire: Buffer[] = [];

  constructor(side: Role, options: RawPeerOptions) {
    this.peer = new RawPeer(side, { ...options, demand: 0 });
    this.peer.onAccept = ({ stream }) => {
      const end = new End();
      end.stream = stream;
      stream.sink = end;
      this.ends.push(end);
    };
  }

  open(withMetadata: boolean): void {
    const end = new End();
    this.ends.push(end);
    end.stream = this.peer.manager.open('/rpc', end, withMetadata ? encodeMetadata({ k: 'v' }) : undefined);
  }

  collect(): void {
    const written = this.peer.sentBytes();
    if (written.length === 0) return;
    this.wire.push(written);
    this.onTheWay = Buffer.concat([this.onTheWay, written]);
  }

  do(index: number, what: Deed): void {
    const end = this.ends[index % Math.max(this.ends.length, 1)];
    const stream = end?.stream;
    if (!end || !stream) return;
    switch (what.does) {
      case 'send':
        if (!stream.canSend) return;
        // Counted before: the stream may fail in here, and then it is not sent.
        stream.trySend(what.asText ? content(end.sent, what.size).toString() : content(end.sent, what.size));
        end.sent++;
        return;
      case 'request':
        return stream.request(what.count);
      case 'setDeadline':
        return stream.setDeadline(what.ms);
      case 'sendError':
      case 'fail':
        return stream[what.does](new DrpcError(9, 'marker'));
      case 'discard':
        end.isDiscarded = true;
        return stream.discard();
      default:
        stream[what.does]();
    }
  }
}

class World {
  readonly client: Side;
  readonly server: Side;

  constructor(options: RawPeerOptions) {
    this.client = new Side('client', options);
    this.server = new Side('server', options);
  }

  get sides(): Side[] {
    return [this.client, this.server];
  }

  run(one: Step): void {
    switch (one.on) {
      case 'open':
        return this.client.peer.cause === undefined ? this.client.open(one.withMetadata) : undefined;
      case 'deliver':
        return this.deliver(one.to, one.bytes);
      case 'turn':
        return this.sides.forEach(({ peer }) => peer.clock.yielded());
      case 'time':
        return this.sides.forEach(({ peer }) => peer.clock.advance(one.ms));
      case 'stream':
        return this[one.at].do(one.index, one.deed);
      default:
        one satisfies never;
    }
  }

  deliver(to: Role, count: number): void {
    const from = to === 'client' ? this.server : this.client;
    from.collect();
    const bytes = from.onTheWay.subarray(0, count);
    from.onTheWay = from.onTheWay.subarray(bytes.length);
    if (bytes.length > 0) this[to].peer.send(bytes);
  }

  /** Everybody finishes: nobody sends any more, and everybody takes all that comes. */
  settle(): void {
    for (let quiet = 0; quiet < 3; quiet++) {
      for (const { ends, peer } of this.sides) {
        for (const { stream } of ends) {
          stream!.request(Infinity);
          stream!.closeSend();
        }
        peer.clock.yielded();
      }
      for (const side of this.sides) {
        side.collect();
        if (side.onTheWay.length > 0) quiet = -1;
      }
      this.deliver('client', Infinity);
      this.deliver('server', Infinity);
    }
    for (const { stream } of this.server.ends) stream!.handlerEnded();
  }
}

/** The rules of the wire that one direction keeps by itself. */
function wireFaults(wire: Buffer[]): string[] {
  const faults: string[] = [];
  const streams = new Map<unknown, { id: number; unfinished: boolean; over: boolean; closed: boolean }>();
  for (const { kind, streamId, messageId, done } of parseFrames(Buffer.concat(wire))) {
    const id = Number(messageId);
    const seen = streams.get(streamId) ?? { id: 0, unfinished: false, over: false, closed: false };
    streams.set(streamId, seen);
    const what = `${Kind[kind]} s${streamId} m${id}`;
    if (seen.over) faults.push(`${what} after the end`);
    if (kind === Kind.WindowUpdate) continue;
    if (id !== seen.id + (seen.id === id ? 0 : 1)) faults.push(`${what} after m${seen.id}`);
    if (id === seen.id && !seen.unfinished) faults.push(`${what} goes on with a finished packet`);
    if (seen.closed && kind !== Kind.Close && kind !== Kind.Cancel && kind !== Kind.Error) {
      faults.push(`${what} after CloseSend`);
    }
    seen.id = id;
    seen.unfinished = !done;
    seen.closed ||= kind === Kind.CloseSend;
    seen.over = kind === Kind.Error || kind === Kind.Cancel || kind === Kind.Close;
  }
  return faults;
}

/** What every end of a call must have been told once all is over. */
function checkEnds(world: World): void {
  for (const { ends } of world.sides) {
    for (const end of ends) {
      expect(end.faults).toEqual([]);
      expect(end.stream!.isTerminated).toBe(true);
      const once = end.isDiscarded ? [0, 1] : [1];
      expect(once).toContain(end.terminations);
      expect(once).toContain(end.ends.length);
    }
  }
}

/** A call that ended in the ordinary way at both ends lost nothing. */
function checkMessages(world: World): void {
  const atServer = new Map(world.server.ends.map((end) => [end.stream!.id, end]));
  for (const here of world.client.ends) {
    const there = here.stream!.id === 0 ? undefined : atServer.get(here.stream!.id);
    if (!there) continue;
    for (const [from, to] of [
      [here, there],
      [there, here],
    ] as const) {
      const isWhole = !from.stream!.cause && !to.stream!.cause && !to.isDiscarded;
      expect(to.received).toBeLessThanOrEqual(from.sent);
      expect(isWhole ? to.received : from.sent).toBe(from.sent);
    }
  }
}

/** Small bounds, so that a few messages reach them. */
const TIGHT: RawPeerOptions = { splitSize: 1000, writerBufferSize: 4000, bulkSize: 2000 };

const WORLDS: [string, RawPeerOptions][] = [
  ['without windows', { ...TIGHT, recvQueueMessages: 3, recvQueueSize: 8000, stallTimeout: 1000 }],
  ['with windows', { ...TIGHT, sendWindow: 8000, recvWindow: 8000 }],
  ['with the default bounds', { sendWindow: 2 ** 21, recvWindow: 2 ** 21 }],
  [
    'with bounds that are always reached',
    {
      ...TIGHT,
      ...{ maxStreams: 3, maxReceiveSize: 4000, maxSendSize: 9000, sendQueueSize: 12_000 },
      ...{ maxQueuedBytes: 20_000, maxReceivedBytes: 9000, recvQueueMessages: 2 },
    },
  ],
];

describe.each(WORLDS)('Two joined managers %s', (_name, options) => {
  it('end every call once and leave nothing behind, whatever is done to it', () => {
    check(
      fc.property(fc.array(step, { maxLength: 80, size: 'max' }), (steps) => {
        const world = new World(options);
        for (const one of steps) world.run(one);
        world.settle();
        for (const { peer, wire } of world.sides) {
          expect([peer.cause, peer.events]).toEqual([undefined, []]);
          expect(remains(peer.manager)).toEqual(NOTHING);
          expect(wireFaults(wire)).toEqual([]);
        }
        checkEnds(world);
        checkMessages(world);
        for (const { peer } of world.sides) peer.manager.terminate(new ClosedError('over'));
      }),
      60,
    );
  });

  it('end every call once and leave nothing behind when the connection dies at any moment', () => {
    check(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), role, (steps, dies) => {
        const world = new World(options);
        for (const one of steps) world.run(one);
        world[dies].peer.manager.terminate(new ClosedError('killed'));
        const left = world[dies === 'client' ? 'server' : 'client'];
        left.peer.manager.receiveEnd();
        for (let i = 0; i < 20 && !left.peer.cause; i++) {
          // What arrived before the end is handled first, however long its receivers take.
          for (const { stream } of left.ends) stream!.request(Infinity);
          left.peer.clock.yielded();
          left.collect();
        }
        expect(left.peer.cause ?? 'alive').toContain('ClosedError');
        for (const { peer, ends } of world.sides) {
          for (const { stream } of ends) {
            stream!.request(Infinity);
            stream!.handlerEnded();
          }
          expect(remains(peer.manager)).toEqual(NOTHING);
        }
        checkEnds(world);
      }),
      60,
    );
  });
});
