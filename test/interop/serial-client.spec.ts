import { describe, expect, it } from 'vitest';
import { DrpcError } from '../../lib/errors/drpc-error.js';
import { cancel, close, closeSend, invoke, message, parseFrames, storjError } from '../helpers/frames.js';
import { RawPeer } from '../helpers/raw-peer.js';
import { trySend } from '../helpers/recorder.js';
import { patternBytes } from './helpers/peers.js';

const KIB = 1024;

/** What ends a call of such a client, and what it then sends at once. */
const ENDINGS = [
  ['Close', close(1, 4)],
  ['Cancel', cancel(1, 4)],
  ['Error', storjError(1, 4, 2, 'gone')],
] as const;

/** What waits on the first stream when it ends. */
const WAITING = [
  ['nothing', []],
  ['messages', Array.from({ length: 50 }, () => 10 * KIB)],
  ['the rest of a message of many frames', [2048 * KIB]],
] as const;

// A storj client that reads a frame of an older stream after one of a newer ends its connection.
describe('A server and a client with one stream a connection', () => {
  describe.each(WAITING)('while %s can not be sent', (_waiting, sizes) => {
    it.each(ENDINGS)('sends nothing more of a stream whose %s was read', (_ending, ending) => {
      const peer = RawPeer.ofServer({ writerBufferSize: 64 * KIB });
      const { stream } = peer.invoke(invoke(1), message(1, 2, 'x'), closeSend(1, 3));
      for (const size of sizes) stream.trySend(patternBytes(0, size));

      peer.send(ending, invoke(2), message(2, 2, 'y'), closeSend(2, 3));
      // Its handler does not know yet.
      const late = [trySend(stream, 'late'), stream.sendError(new DrpcError(2, 'late')), stream.closeSend()];
      stream.handlerEnded();
      const second = peer.last.stream;
      second.trySend('answer');
      second.closeSend();

      const ids = parseFrames(peer.sentBytes()).map(({ streamId }) => Number(streamId));
      expect(late[0]).not.toBe('ok');
      expect(ids).toEqual([...ids].sort((a, b) => a - b));
      expect(ids.filter((id) => id === 2)).toHaveLength(2);
      expect(peer.cause).toBeUndefined();
    });
  });
});
