import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { idKey } from '../../lib/manager/id-key.js';
import { encodeMetadata } from '../../lib/metadata/metadata.js';
import { Kind } from '../../lib/wire/kind.js';
import { cancel, frame, invoke, message, part } from '../helpers/frames.js';
import { RawPeer } from '../helpers/raw-peer.js';

const BIG = 2n ** 60n;

describe('idKey', () => {
  it('is the id itself while it is a number, and its text beyond', () => {
    expect([idKey(0), idKey(7), idKey(2 ** 53 - 1), idKey(2n ** 53n)]).toEqual([
      0,
      7,
      2 ** 53 - 1,
      '9007199254740992',
    ]);
  });

  it('keeps bigints out of the tables of a connection: a peer can choose them so that they collide', () => {
    const keys: unknown[] = [];
    for (const name of ['get', 'has', 'set', 'delete'] as const) {
      const method = Map.prototype[name] as (...args: unknown[]) => unknown;
      const spy = vi.spyOn(Map.prototype, name).mockImplementation(function (
        this: unknown,
        ...args: unknown[]
      ) {
        keys.push(args[0]);
        return method.apply(this, args) as never;
      });
      onTestFinished(() => spy.mockRestore());
    }
    const peer = RawPeer.ofServer({ maxStreams: 3 });
    peer.send(
      invoke(BIG),
      frame(Kind.InvokeMetadata, BIG + 1n, 1, encodeMetadata({ k: 'v' })),
      part(Kind.Invoke, BIG + 2n, 1, '/half'),
      invoke(BIG + 3n),
      message(BIG, 2, 'a'),
      invoke(BIG + 1n, '/rpc', 2),
      cancel(BIG + 2n, 2),
      cancel(BIG + 1n, 3),
      cancel(BIG, 3),
    );
    expect(peer.accepted.map(({ stream }) => stream.id)).toEqual([BIG, BIG + 1n]);
    expect([peer.manager.openStreams, peer.cause]).toEqual([0, undefined]);
    expect(keys).toContain(BIG.toString());
    expect(keys.filter((key) => typeof key === 'bigint')).toEqual([]);
  });
});
