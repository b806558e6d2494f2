import type { ClientEnd, PingPongCall } from '../contestant.js';
import { MeasuredTime, type Duration } from './measured-time.js';

export interface PingPongParams extends Duration {
  streams: number;
  size: number;
}

export interface PingPongResult {
  perSecond: number;
}

/** On each stream one message is under way, in one direction or the other, until the time is over; then all end. */
export function drivePingPong(
  end: ClientEnd,
  { streams, size, ...duration }: PingPongParams,
): Promise<PingPongResult> {
  return new Promise((resolve, reject) => {
    const payload = end.payload(size);
    const calls: PingPongCall<unknown>[] = [];
    let returned = 0;
    let open = streams;

    const time = new MeasuredTime(duration);
    for (let i = 0; i < streams; i++) {
      const call: PingPongCall<unknown> = end.pingPong({
        message: (got) => {
          if (got !== size) return reject(new Error(`${got} came back for ${size}`));
          returned++;
          if (returned % streams === 0) time.look(returned);
          if (time.isOver) call.closeSend();
          else call.send(payload);
        },
        end: () => {
          if (!time.isOver) reject(new Error('a stream ended by itself'));
          if (--open === 0) resolve({ perSecond: time.perSecond });
        },
        error: reject,
      });
      calls.push(call);
    }
    for (const call of calls) call.send(payload);
  });
}
