import type { PeerProfile } from '../../lib/control/peer-conn.js';
import type { ManagerOptions } from '../../lib/manager/manager.options.js';
import { planCall, type CallPlan, type CallRange } from './call-plan.js';
import type { Weather } from './link.js';
import { Random } from './random.js';

export type Fault = 'reset' | 'black' | 'half black' | 'client closes' | 'server ends' | 'drain';

/** Everything that a seed decides beforehand. */
export interface Scenario {
  seed: number;
  peer: PeerProfile;
  weather: Weather;
  client: Partial<ManagerOptions>;
  server: Partial<ManagerOptions>;
  streamWindow: number;
  /** Bytes that the server's connections may hold together. */
  budget: number | undefined;
  preamble: boolean;
  calls: CallPlan[];
  /** Pauses of the network: when, how long. */
  stalls: { at: number; direction: 'up' | 'down'; ms: number }[];
  /** What ends the connection before all calls have ended, and when. */
  fault: { what: Fault; at: number } | undefined;
  /** How it ends otherwise. */
  ending: Fault;
  /** Limits are so small that calls may end with code 8. */
  mayExhaust: boolean;
}

const KIB = 1024;

/** Draws a scenario. */
export function drawScenario(seed: number): Scenario {
  const random = new Random(seed);
  const peer = random.pick([
    'auto',
    'auto',
    'auto',
    'auto',
    'cockroach',
    'cockroach',
    'cockroach-fc',
    'storj',
  ] as const);
  const isTight = random.chance(0.4);
  const isCalm = random.chance(0.4);
  const weather: Weather = {
    latency: random.pick([0, 1, 20, 150]),
    jitter: random.pick([0, 3, 40]),
    segment: random.pick([7, 300, 1460, 64 * KIB, 64 * KIB]),
    bandwidth: random.pick([Infinity, Infinity, 1000, 50]),
    buffer: random.pick([1, 4 * KIB, 64 * KIB, 1024 * KIB]),
  };
  const largestMessage = weather.segment === 7 ? 3000 : random.pick([100, 3000, 20_000, 100_000, 300_000]);
  const isBulk = weather.segment !== 7 && random.chance(0.08);
  const range: CallRange = {
    largestMessage: isBulk ? 150_000 : largestMessage,
    mostMessages: isBulk ? 3 : weather.segment === 7 ? 10 : random.pick([5, 30, 300]),
    longestPause: random.pick([3, 50, 400]),
    isBulk,
    trouble: isCalm ? 0 : random.pick([0.1, 0.3, 0.6]),
    span: isBulk ? 0 : random.pick([0, 50, 1000]),
  };
  const count = peer === 'storj' ? random.size(6) : isBulk ? random.int(8, 20) : random.size(30);
  const calls = Array.from({ length: count + 1 }, (_, i) => planCall(random, i + 1, range)).sort(
    (a, b) => a.startsAt - b.startsAt,
  );
  const limits = (): Partial<ManagerOptions> => ({
    splitSize: random.pick([undefined, undefined, 1000, 4096, weather.segment === 7 ? 17 : 200]),
    writerBufferSize: random.pick([undefined, 64 * KIB, 4 * KIB]),
    bulkSize: random.pick([undefined, 8 * KIB, 1]),
    ...(isTight
      ? {
          maxStreams: random.pick([undefined, 2, 5]),
          recvQueueMessages: random.pick([undefined, 1, 2, 5]),
          recvQueueSize: random.pick([undefined, undefined, 1, 5000]),
          maxReceivedBytes: random.pick([undefined, 200_000, 20_000]),
          sendQueueSize: random.pick([undefined, 20_000, 5000]),
          maxQueuedBytes: random.pick([undefined, 100_000, 10_000]),
          maxReceiveSize: random.pick([undefined, undefined, 10_000]),
          maxSendSize: undefined,
          stallTimeout: random.pick([undefined, 1000]),
        }
      : {}),
  });
  const end = range.span + range.longestPause * 10 + weather.latency * 6;
  const faults: readonly Fault[] = ['reset', 'black', 'half black', 'client closes', 'server ends', 'drain'];
  return {
    seed,
    peer,
    weather,
    client: limits(),
    server: limits(),
    streamWindow: random.pick([64 * KIB, 64 * KIB, 200_000, 2048 * KIB]),
    budget: isTight ? random.pick([undefined, 50_000, 10_000]) : undefined,
    preamble: random.chance(0.1),
    calls,
    stalls: Array.from({ length: random.chance(0.3) ? random.int(1, 3) : 0 }, () => ({
      at: random.int(0, end),
      direction: random.pick(['up', 'down'] as const),
      ms: random.pick([10, 500, 4000]),
    })),
    fault:
      isCalm || random.chance(0.5)
        ? undefined
        : {
            what: random.pick(faults),
            at: random.chance(0.2) ? random.size(end) : random.int(weather.latency, end),
          },
    ending: random.pick(faults),
    mayExhaust:
      isTight ||
      calls.some(
        ({ clientReads, serverReads }) => clientReads.mode === 'none' || serverReads.mode === 'none',
      ),
  };
}
