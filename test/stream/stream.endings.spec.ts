import { expect, it } from 'vitest';
import { ClosedError, DrpcError } from '../../lib/errors/drpc-error.js';
import { cancel, close, closeSend, storjError } from '../helpers/frames.js';
import { RawPeer, type Call } from '../helpers/raw-peer.js';

type Scene = Call & { peer: RawPeer };

const BY_THE_PEER = { isEndedByPeer: true, isEndedWell: false };
const WELL = { isEndedByPeer: false, isEndedWell: true };
const BY_US = { isEndedByPeer: false, isEndedWell: false };

it.each([
  ['nothing', () => undefined, BY_US],
  ['a CloseSend of the peer alone', ({ peer }: Scene) => peer.send(closeSend(1, 1)), BY_US],
  ['an Error of the peer', ({ peer }: Scene) => peer.send(storjError(1, 1, 5, 'no')), BY_THE_PEER],
  ['a Cancel of the peer', ({ peer }: Scene) => peer.send(cancel(1, 1)), BY_THE_PEER],
  ['a Close of the peer', ({ peer }: Scene) => peer.send(close(1, 1)), BY_THE_PEER],
  [
    'a CloseSend of each side',
    ({ peer, stream }: Scene) => {
      stream.closeSend();
      peer.send(closeSend(1, 1));
    },
    WELL,
  ],
  [
    'our Close after a CloseSend of the peer',
    ({ peer, stream }: Scene) => {
      peer.send(closeSend(1, 1));
      stream.close();
    },
    WELL,
  ],
  ['our Cancel', ({ stream }: Scene) => stream.sendCancel(), BY_US],
  ['our Error', ({ stream }: Scene) => stream.sendError(new DrpcError(2, 'failed')), BY_US],
  ['a fault found here', ({ stream }: Scene) => stream.fail(new DrpcError(8, 'too large')), BY_US],
  [
    'our deadline',
    ({ peer, stream }: Scene) => {
      stream.setDeadline(10);
      peer.clock.advance(10);
    },
    BY_US,
  ],
  ['the end of the connection', ({ peer }: Scene) => peer.manager.terminate(new ClosedError('lost')), BY_US],
])('Stream: who ended it, after %s', (_, run, ending) => {
  const peer = RawPeer.ofClient();
  const call = peer.open();
  peer.sent();

  run({ peer, ...call });

  const { isEndedByPeer, isEndedWell } = call.stream;
  expect({ isEndedByPeer, isEndedWell }).toEqual(ending);
});
