import { describe, expect, it } from 'vitest';

import type { Stream } from '../../lib/stream/stream.js';
import { cancel, invoke } from '../helpers/frames.js';
import { RawPeer } from '../helpers/raw-peer.js';

const KIB = 1024;

/** Sends without an end, as fast as `stream` takes it. */
function pour(stream: Stream): void {
  while (stream.canSend) {
    if (!stream.trySend(Buffer.alloc(8 * KIB))) {
      void stream.drained().then(
        () => pour(stream),
        () => undefined,
      );
      return;
    }
  }
}

describe('a peer that reads less than comes', () => {
  it('is heard when it cancels, although refusals fill the writer and streams never stop sending', async () => {
    const sources = 4;
    const peer = RawPeer.ofServer({ maxStreams: sources, writerBufferSize: 64 * KIB, bulkSize: 16 * KIB });
    peer.onAccept = ({ stream, sink }) => {
      sink.during.terminated = () => stream.handlerEnded();
      pour(stream);
    };
    const storm: Buffer[] = [];
    for (let id = 1; id <= 3000; id++) storm.push(invoke(id));
    peer.send(...storm, cancel(1, 2));
    const first = peer.accepted[0]!.stream;
    expect(first.isTerminated).toBe(false);
    expect(peer.manager.isPaused).toBe(true);
    for (let writes = 0; writes < 100 && !first.isTerminated; writes++) {
      // One write, and all that its callback sets going.
      peer.clock.turn();
      peer.socket.release();
      await Promise.resolve();
      await Promise.resolve();
      peer.clock.yielded();
    }
    expect(first.isTerminated).toBe(true);
    expect(peer.accepted).toHaveLength(sources);
  });
});
