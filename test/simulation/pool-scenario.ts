import type { PeerProfile } from '../../lib/control/peer-conn.js';
import type { ManagerOptions } from '../../lib/manager/manager.options.js';
import type { BalancePolicy } from '../../lib/pool/balancer.js';
import { planCall, type CallPlan } from './call-plan.js';
import type { Weather } from './link.js';
import { Random } from './random.js';

/** What happens to the servers, to what lies between, or to the pool itself. */
export type PoolEvent =
  /** A process takes no more calls and ends when it has none; another one takes its place at once. */
  | 'roll'
  /** The same, and the name has other servers behind it. */
  | 'move'
  /** All processes: one after the other, as a deployment does. */
  | 'roll all'
  /** Some connections are old: their clients are asked to make others. */
  | 'age'
  | 'crash'
  | 'reset'
  /** Nothing goes through any more, in both directions or in one, and nobody is told. */
  | 'black'
  | 'half black'
  /** New connections are made, and no byte of a server comes through on them. */
  | 'no answer'
  /** Nothing goes through for a while. */
  | 'stall'
  /** The name server does not answer, or answers something else. */
  | 'rename'
  | 'connect'
  | 'close';

/** Everything that a seed decides beforehand for a pool. Times in ms. */
export interface PoolScenario {
  seed: number;
  peer: PeerProfile;
  weather: Weather;
  /** Processes that serve; each dial reaches one of them. */
  processes: number;
  /** How many addresses the pool is given; 0: one name, behind which there are some. */
  addresses: number;
  connections: number;
  maxConnections: number | undefined;
  maxStreamsPerConnection: number | undefined;
  balance: BalancePolicy;
  failFast: boolean;
  maxQueuedCalls: number | undefined;
  idleTimeout: number | undefined;
  /** Streams that a server takes on a connection. */
  maxStreams: number | undefined;
  client: Partial<ManagerOptions>;
  server: Partial<ManagerOptions>;
  /** Bytes that all connections of the servers may hold together. */
  budget: number | undefined;
  plans: CallPlan[];
  events: { at: number; what: PoolEvent; ms: number }[];
  /** Servers are only ever restarted in peace, or have old connections. */
  isRolling: boolean;
  /** Nothing ever happens but that connections are old. */
  isAging: boolean;
}

const AGING: readonly PoolEvent[] = ['age', 'age', 'connect'];
const QUIET: readonly PoolEvent[] = ['roll', 'roll', 'roll all', 'move', 'age', 'connect'];
const ALL: readonly PoolEvent[] = [
  ...QUIET,
  'crash',
  'reset',
  'reset',
  'black',
  'half black',
  'no answer',
  'stall',
  'rename',
];

/** Draws a scenario. */
export function drawPoolScenario(seed: number): PoolScenario {
  const random = new Random(seed, 99);
  const span = random.pick([50, 500, 3000]);
  const isAging = random.chance(0.1);
  const isRolling = isAging || random.chance(0.4);
  const isTight = random.chance(0.3);
  const trouble = isRolling ? random.pick([0, 0, 0.3]) : random.pick([0, 0.2, 0.5]);
  const range = {
    largestMessage: random.pick([100, 5000, 60_000]),
    mostMessages: 10,
    longestPause: 50,
    isBulk: false,
    trouble,
    span,
  };
  const plans = Array.from({ length: 1 + random.size(60) }, (_, i) => planCall(random, i + 1, range));
  for (const plan of plans) {
    // What the pool's callers can not do.
    plan.clientReads = { mode: 'push', pause: 0 };
    plan.clientEnd = 'closeSend';
    if (plan.serverReads.mode === 'none') plan.serverReads = { mode: 'push', pause: 0 };
  }
  const limits = (): Partial<ManagerOptions> => ({
    splitSize: random.pick([undefined, undefined, 1000]),
    ...(isTight
      ? {
          writerBufferSize: random.pick([undefined, 4096]),
          recvQueueMessages: random.pick([undefined, 1, 3]),
          maxReceivedBytes: random.pick([undefined, 100_000]),
          maxQueuedBytes: random.pick([undefined, 100_000]),
          stallTimeout: random.pick([undefined, 1000]),
        }
      : {}),
  });
  const events = Array.from({ length: random.int(0, 6) }, () => ({
    at: random.int(0, span * 2),
    what: random.pick(isAging ? AGING : isRolling ? QUIET : ALL),
    ms: random.pick([10, 300, 5000]),
  }));
  if (random.chance(0.15)) events.push({ at: random.int(0, span * 2), what: 'close', ms: 0 });
  return {
    seed,
    peer: random.pick(['auto', 'auto', 'auto', 'cockroach', 'cockroach-fc', 'storj'] as const),
    weather: {
      latency: random.pick([0, 1, 20]),
      jitter: random.pick([0, 5]),
      segment: random.pick([100, 65_536]),
      bandwidth: random.pick([Infinity, 1000]),
      buffer: random.pick([4096, 65_536]),
    },
    processes: random.int(1, 3),
    addresses: random.pick([0, 0, 1, 2, 3]),
    connections: random.int(1, 3),
    maxConnections: random.chance(0.2) ? random.int(1, 4) : undefined,
    maxStreamsPerConnection: random.chance(0.2) ? random.int(1, 4) : undefined,
    balance: random.pick(['roundRobin', 'leastLoaded'] as const),
    failFast: random.chance(0.5),
    maxQueuedCalls: random.chance(0.2) ? random.int(1, 10) : undefined,
    idleTimeout: random.pick([undefined, undefined, 100, 0]),
    maxStreams: random.chance(0.3) ? random.int(1, 5) : undefined,
    client: limits(),
    server: limits(),
    budget: isTight ? random.pick([undefined, 50_000]) : undefined,
    plans,
    events,
    isRolling,
    isAging,
  };
}
