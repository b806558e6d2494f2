import { describe, expect, it } from 'vitest';
import type { StreamSink } from '../../lib/stream/stream.js';
import { Kind } from '../../lib/wire/kind.js';
import { closeSend, invoke, message, part } from '../helpers/frames.js';
import { RawPeer } from '../helpers/raw-peer.js';

const KIB = 1024;

/** A sink that keeps all it is told, as an encoding of bytes does. */
class Keeper implements StreamSink {
  readonly kept: Buffer[] = [];
  /** For each message, whether it was kept where it had been put together. */
  readonly isHandedOver: boolean[] = [];
  /** Runs once a message has been kept. */
  afterwards: (() => void) | undefined;
  readonly #keep: (bytes: Buffer, start: number, end: number) => Buffer;

  constructor(keep: (bytes: Buffer, start: number, end: number) => Buffer) {
    this.#keep = keep;
  }

  message(bytes: Buffer, start: number, end: number): void {
    const kept = this.#keep(bytes, start, end);
    this.kept.push(kept);
    this.isHandedOver.push(kept.buffer === bytes.buffer);
    this.afterwards?.();
  }

  end(): void {}

  terminated(): void {}
}

/** A server with one call, whose messages are kept as far as they are asked for. */
function withKeeper(demand: number) {
  const peer = RawPeer.ofServer({ demand: 0 });
  const { stream } = peer.invoke(invoke(1));
  const keeper = new Keeper((bytes, start, end) => stream.keepMessage(bytes, start, end));
  stream.sink = keeper;
  stream.request(demand);
  return { peer, stream, keeper, pool: peer.manager.pool };
}

/** A message of `size` times `text` in two frames, which nobody can lend out of one chunk. */
function inTwo(messageId: number, text: string, size: number): Buffer[] {
  const data = Buffer.alloc(size, text);
  return [
    part(Kind.Message, 1, messageId, data.subarray(0, size / 2)),
    message(1, messageId, data.subarray(size / 2)),
  ];
}

function texts(kept: Buffer[]): string[] {
  return kept.map((bytes) => `${bytes.length} ${[...new Set(bytes.toString('latin1'))].join('')}`);
}

describe('Stream.keepMessage', () => {
  it('hands a message over that was put together, and it stays as it is', () => {
    const { peer, keeper, pool } = withKeeper(Infinity);
    peer.send(...inTwo(2, 'a', 64 * KIB), ...inTwo(3, 'b', 64 * KIB), ...inTwo(4, 'c', 64 * KIB));
    expect(texts(keeper.kept)).toEqual(['65536 a', '65536 b', '65536 c']);
    expect(keeper.isHandedOver).toEqual([true, true, true]);
    // What was outgrown while the messages came in is back.
    expect(pool.usage).toMatchObject({ lent: 0, given: 3 });
  });

  it('hands a message over that had waited', () => {
    const { peer, stream, keeper, pool } = withKeeper(0);
    peer.send(...inTwo(2, 'a', 64 * KIB), message(1, 3, Buffer.alloc(64 * KIB, 'b')), closeSend(1, 4));
    stream.request(2);
    expect(texts(keeper.kept)).toEqual(['65536 a', '65536 b']);
    expect(keeper.isHandedOver).toEqual([true, true]);
    expect(pool.usage).toMatchObject({ lent: 0, given: 2 });
    expect([stream.heldBytes, peer.manager.heldBytes]).toEqual([0, 0]);
  });

  it('copies what lies in a chunk of the socket, which is only lent', () => {
    const { peer, keeper, pool } = withKeeper(Infinity);
    const chunk = message(1, 2, Buffer.alloc(64 * KIB, 'a'));
    peer.send(chunk);
    chunk.fill(0);
    expect(texts(keeper.kept)).toEqual(['65536 a']);
    expect(pool.usage).toMatchObject({ lent: 0, given: 0 });
  });

  it.each([
    ['is small, and would keep the memory of others', 4 * KIB, false],
    ['fills half of its buffer', 33 * KIB - 2, false],
    ['fills three quarters of its buffer', 48 * KIB, true],
    ['fills a little less than three quarters', 48 * KIB - 2, false],
  ])('looks at what it would hold on to: of a message that %s', (_what, size, isHandedOver) => {
    const { peer, keeper, pool } = withKeeper(Infinity);
    peer.send(...inTwo(2, 'a', size), ...inTwo(3, 'b', size));
    expect(texts(keeper.kept)).toEqual([`${size} a`, `${size} b`]);
    expect(keeper.isHandedOver).toEqual([isHandedOver, isHandedOver]);
    expect(pool.usage).toMatchObject({ lent: 0, given: isHandedOver ? 2 : 0 });
  });

  it('gives back what nobody keeps', () => {
    const { peer, stream, pool } = withKeeper(Infinity);
    stream.sink = { message: () => undefined, end: () => undefined, terminated: () => undefined };
    peer.send(...inTwo(2, 'a', 64 * KIB), ...inTwo(3, 'b', 64 * KIB));
    expect(pool.usage).toMatchObject({ lent: 0, given: 0 });
  });

  it.each([
    ['when it came', Infinity],
    ['when it had waited', 0],
  ])('keeps its word to a sink that fails afterwards, %s', (_what, demand) => {
    const { peer, stream, keeper, pool } = withKeeper(demand);
    keeper.afterwards = () => {
      throw new Error('after it was kept');
    };
    peer.send(...inTwo(2, 'a', 64 * KIB));
    stream.request(1);
    const { stream: other } = peer.invoke(invoke(2));
    other.request(1);
    peer.send(
      part(Kind.Message, 2, 2, Buffer.alloc(32 * KIB, 'x')),
      message(2, 2, Buffer.alloc(32 * KIB, 'x')),
    );
    expect(texts(keeper.kept)).toEqual(['65536 a']);
    expect(pool.usage).toMatchObject({ lent: 0, given: 1 });
  });
});
