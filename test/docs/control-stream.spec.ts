import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { PeerServer } from '../../lib/control/peer-server.js';
import { FakeSocket } from '../helpers/fake-socket.js';
import { describeFrames } from '../helpers/frames.js';
import { track } from '../helpers/leaks.js';
import { VirtualClock } from '../helpers/virtual-clock.js';

const doc = readFileSync(new URL('../../docs/control-stream.md', import.meta.url), 'utf8');

describe('docs/control-stream.md', () => {
  it('shows bytes by which a server of this library knows its client', () => {
    const [, hex] = /```hex probe\n([^]*?)```/.exec(doc)!;
    const clock = new VirtualClock();
    const socket = new FakeSocket();
    const peer = new PeerServer(socket, { clock, isFedByHand: true }, {});
    track(peer.manager, clock);
    peer.manager.receive(Buffer.from(hex!.replace(/\s/g, ''), 'hex'));
    clock.turn();
    expect(peer.isOwnPeer).toBe(true);
    expect(peer.manager.sendWindow).toBe(65_536);
    expect(describeFrames(socket.takeWritten())).toEqual([
      expect.stringMatching(/^Message s1 m1 <\d+ bytes>$/),
    ]);
  });
});
