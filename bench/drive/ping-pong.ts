import type { ClientEnd, PingPongCall } from '../contestant.js';

export interface PingPongParams {
  streams: number;
  size: number;
  ms: number;
}

export interface PingPongResult {
  perSecond: number;
}

/** On each stream one message is under way, in one direction or the other, for `ms`; then all streams end. */
export function drivePingPong(
  end: ClientEnd,
  { streams, size, ms }: PingPongParams,
): Promise<PingPongResult> {
  return new Promise((resolve, reject) => {
    const payload = end.payload(size);
    const calls: PingPongCall<unknown>[] = [];
    let returned = 0;
    let elapsedMs = 0;
    let counted = 0;
    let open = streams;
    let looked = 0;

    const begin = performance.now();
    for (let i = 0; i < streams; i++) {
      const call: PingPongCall<unknown> = end.pingPong({
        message: (got) => {
          if (got !== size) return reject(new Error(`${got} came back for ${size}`));
          returned++;
          if (elapsedMs === 0 && returned - looked >= streams) look();
          if (elapsedMs === 0) call.send(payload);
          else call.closeSend();
        },
        end: () => {
          if (elapsedMs === 0) reject(new Error('a stream ended by itself'));
          if (--open === 0) resolve({ perSecond: (counted * 1000) / elapsedMs });
        },
        error: reject,
      });
      calls.push(call);
    }
    for (const call of calls) call.send(payload);

    function look(): void {
      looked = returned;
      const now = performance.now() - begin;
      if (now < ms) return;
      elapsedMs = now;
      counted = returned;
    }
  });
}
