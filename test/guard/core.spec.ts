import { describe, expect, it, vi } from 'vitest';
import { Kind } from '../../lib/wire/kind.js';
import { parseFrames } from '../helpers/frames.js';
import { countMade, countWrites, inNoTime, leastOf } from './counters.js';
import { JoinedPeers, TEXT } from './joined-peers.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const CALLS = 100;
/** What the writer hands over at once. */
const SLAB = 128 * KIB;

const MAKERS = ['alloc', 'allocUnsafe', 'allocUnsafeSlow', 'from', 'concat'] as const;

/** Counts the buffers that are made by name while `task` runs. */
async function countBuffers(task: () => Promise<unknown>): Promise<number> {
  const spies = MAKERS.map((name) => vi.spyOn(Buffer, name));
  await task();
  const made = spies.reduce((sum, spy) => sum + spy.mock.calls.length, 0);
  for (const spy of spies) spy.mockRestore();
  return made;
}

describe('100 calls at once, in the core', () => {
  it('take one write of each end', async () => {
    const peers = await JoinedPeers.start();
    await peers.called(CALLS);
    const writes = await inNoTime(() => countWrites(peers.address, () => peers.called(CALLS)));
    expect(writes).toEqual({ client: 1, server: 1 });
  });

  it('take one write of each end for a message a little larger than a frame', async () => {
    const peers = await JoinedPeers.start();
    const text = 'x'.repeat(64 * KIB + 2);
    await peers.called(1, text);
    const writes = await inNoTime(() => countWrites(peers.address, () => peers.called(1, text)));
    expect(writes).toEqual({ client: 1, server: 1 });
  });

  it('make no promise, at either end', async () => {
    const peers = await JoinedPeers.start();
    await peers.called(CALLS);
    const countPromises = () => countMade('PROMISE', (done) => peers.calls(CALLS, done));
    expect(await leastOf(() => inNoTime(countPromises))).toBe(0);
  });

  it('set no timer, and with a deadline one at each end', async () => {
    const peers = await JoinedPeers.start();
    await peers.called(CALLS);
    const countTimers = (timeout?: number) => () =>
      countMade('Timeout', (done) => peers.calls(CALLS, done, TEXT, timeout));
    expect(await leastOf(countTimers())).toBe(0);
    expect(await leastOf(countTimers(60_000))).toBe(2 * CALLS);
  });

  it('make no buffer once there are some', async () => {
    const peers = await JoinedPeers.start();
    await peers.called(CALLS);
    expect(await leastOf(() => inNoTime(() => countBuffers(() => peers.called(CALLS))))).toBe(0);
  });

  it.each([
    [CALLS, 'one frame', 1000],
    // As many as the pools keep buffers for.
    [4, 'several frames', 100_000],
  ])(
    'take no new buffer from the pools for %s messages of %s, once there are some',
    async (count, _what, size) => {
      const peers = await JoinedPeers.start();
      const text = 'x'.repeat(size);
      for (let i = 0; i < 3; i++) await peers.called(count, text);
      const made = (): number[] => [peers.client.pool.usage.made, peers.server.pool.usage.made];
      const before = made();
      for (let i = 0; i < 10; i++) await peers.called(count, text);
      expect(made()).toEqual(before);
      expect([peers.client.pool.usage.lent, peers.server.pool.usage.lent]).toEqual([0, 0]);
    },
  );
});

describe('a stream of the core', () => {
  it('of 64 KiB messages takes a write for each slab, and few new slabs', async () => {
    const peers = await JoinedPeers.start();
    const size = 16 * MIB;
    await peers.download(size / (64 * KIB), 64 * KIB);
    let slabs = 0;
    const { client, server } = await countWrites(peers.address, async () => {
      slabs = await countBuffers(() => peers.download(size / (64 * KIB), 64 * KIB));
    });
    expect(server).toBeLessThanOrEqual((size / SLAB) * 1.5);
    expect(client).toBeLessThanOrEqual((size / MIB) * 2 + 2);
    expect(slabs).toBeLessThanOrEqual(10);
  });

  it('of 32-byte messages takes a write for a thousand of them, and no promise for each', async () => {
    const peers = await JoinedPeers.start();
    const count = 100_000;
    await peers.download(count, 32);
    const { server } = await countWrites(peers.address, () => peers.download(count, 32));
    expect(server).toBeLessThanOrEqual(count / 250);
    const promises = await countMade('PROMISE', (done) => void peers.download(count, 32).then(done));
    // One for each turn of 256 messages, with those that wait for it.
    expect(promises).toBeLessThanOrEqual(count / 50);
  });

  it.each([
    [256, 64 * KIB],
    [100_000, 32],
    [8, 2 * MIB],
  ])('of %s messages of %s bytes sends a window update for each half MiB at most', async (count, size) => {
    const sent: Buffer[] = [];
    const peers = await JoinedPeers.start();
    const { socket } = peers;
    const write = socket.write.bind(socket) as (chunk: Uint8Array, ...rest: unknown[]) => boolean;
    socket.write = (chunk: Uint8Array, ...rest: unknown[]): boolean => {
      // The writer uses its memory again.
      sent.push(Buffer.from(chunk));
      return write(chunk, ...rest);
    };
    expect(await peers.download(count, size)).toBe(count * size);
    const updates = parseFrames(Buffer.concat(sent)).filter(
      ({ kind }) => kind === (Kind.WindowUpdate as number),
    );
    expect(updates.length).toBeGreaterThan(0);
    expect(updates.length).toBeLessThanOrEqual((count * size) / (512 * KIB));
  });
});
