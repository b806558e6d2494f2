import { expect } from 'vitest';
import { Kind } from '../../../lib/wire/kind.js';
import type { GoResult } from './go-client.js';
import type { RecordingProxy } from './recording-proxy.js';

/** A scenario that cancels, as it went. */
export interface PlayedCancel {
  readonly result: GoResult;
  /** What went over the wire. */
  readonly proxy: RecordingProxy;
}

const MAX_ATTEMPTS = 10;

/**
 * Plays a scenario that cancels, until the cancel was a frame. With `--soft-cancel` a storj client still hangs up when
 * it is canceled in the middle of a write or a read of its own (drpcstream, SendCancel: "busy"), and the write of a
 * unary call may not have returned yet when our handler runs already. Nothing can be demanded of a connection that the
 * client has closed by itself, so the scenario is played again; what is demanded of one that carried a Cancel is
 * demanded in full.
 */
export async function canceledByFrame(play: () => Promise<PlayedCancel>): Promise<GoResult> {
  for (let attempt = 1; ; attempt++) {
    const { result, proxy } = await play();
    if (hasCancel(proxy) || attempt === MAX_ATTEMPTS) return result;
    expect(result).toMatchObject({ class: 'canceled', connection: 'closed' });
  }
}

function hasCancel({ recordings }: RecordingProxy): boolean {
  return recordings.some(({ clientFrames }) => clientFrames.some(({ kind }) => kind === Kind.Cancel));
}
