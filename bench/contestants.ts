import { createRequire } from 'node:module';
import type { Contestant } from './contestant.js';

/** A kind of call a workload is made of. */
export type Shape = 'unary' | 'download' | 'pingPong' | 'hold';

export interface Entry {
  name: string;
  title: string;
  shapes: readonly Shape[];
  /** Only these, where the shape alone does not say what it can be asked for. */
  workloads?: readonly string[];
  /** Which column of targets it is held to. */
  goal?: 'core' | 'nest';
  /** Takes part in `--quick`. */
  quick?: boolean;
  load(): Promise<Contestant>;
  /** Why it can not take part just now. */
  missing?(): Promise<string | undefined>;
}

/** Workloads of so many calls or messages, which end by themselves. */
const COUNTED = [
  'unary-32-1',
  'unary-32-64',
  'unary-32-512',
  'unary-1k-64',
  'unary-64k-64',
  'stream-32',
  'streams-64',
];

const ALL: readonly Shape[] = ['unary', 'download', 'pingPong', 'hold'];

/** The first is what all others are compared with. */
export const CONTESTANTS: readonly Entry[] = [
  {
    name: 'raw-batched',
    title: 'raw sockets, one write per turn',
    shapes: ALL,
    quick: true,
    load: async () => (await import('./contestants/raw.js')).rawBatched,
  },
  {
    name: 'raw-1write',
    title: 'raw sockets, one write per message',
    shapes: ALL,
    load: async () => (await import('./contestants/raw.js')).rawOneWrite,
  },
  {
    name: 'raw-again',
    title: 'raw-batched once more: the noise',
    shapes: ALL,
    quick: true,
    load: async () => (await import('./contestants/raw.js')).rawBatched,
  },
  {
    name: 'raw-lent',
    title: 'raw-batched, payloads only lent to their receiver',
    shapes: ALL,
    load: async () => (await import('./contestants/raw.js')).rawLent,
  },
  {
    name: 'raw-json',
    title: 'raw-batched, messages in JSON: the limit for whatever speaks JSON',
    shapes: ['unary', 'download'],
    // These three know no cancel, so that no stream without end may be asked of them.
    workloads: [...COUNTED, 'stream-64k'],
    load: async () => (await import('./contestants/raw-json.js')).rawJson,
  },
  {
    name: 'raw-nest',
    title: 'raw-json between Nest applications: the limit for a transport of Nest that speaks JSON',
    shapes: ['unary', 'download'],
    workloads: [...COUNTED, 'stream-64k'],
    load: async () => (await import('./contestants/raw-nest.js')).rawNest,
  },
  {
    name: 'raw-nest-bytes',
    title: 'raw-batched between Nest applications: the limit for a transport of Nest',
    shapes: ['unary', 'download'],
    workloads: [...COUNTED, 'stream-64k'],
    load: async () => (await import('./contestants/raw-nest.js')).rawNestBytes,
  },
  {
    name: 'core',
    title: 'our core without Nest',
    shapes: ALL,
    goal: 'core',
    quick: true,
    load: async () => (await import('./contestants/core.js')).core,
  },
  {
    name: 'nest-drpc',
    title: 'our transport in Nest applications, JSON',
    shapes: ALL,
    goal: 'nest',
    quick: true,
    load: async () => (await import('./contestants/nest-drpc.js')).nestDrpc,
  },
  {
    name: 'nest-drpc-bytes',
    title: 'the same with bytes',
    shapes: ALL,
    goal: 'nest',
    load: async () => (await import('./contestants/nest-drpc.js')).nestDrpcBytes,
  },
  {
    name: 'nest-tcp',
    title: 'Nest TCP',
    shapes: ['unary', 'download', 'hold'],
    quick: true,
    load: async () => (await import('./contestants/nest-tcp.js')).nestTcp,
  },
  {
    name: 'nest-grpc',
    title: 'Nest gRPC',
    shapes: ALL,
    load: async () => (await import('./contestants/nest-grpc.js')).nestGrpc,
  },
  {
    name: 'grpc-js',
    title: '@grpc/grpc-js',
    shapes: ALL,
    load: async () => (await import('./contestants/grpc-js.js')).grpcJs,
  },
  {
    name: 'nats',
    title: 'NATS',
    shapes: ['unary'],
    load: async () => (await import('./contestants/nats.js')).nats,
    missing: noNatsServer,
  },
  {
    name: 'nest-nats',
    title: 'Nest NATS',
    shapes: ['unary', 'download', 'hold'],
    load: async () => (await import('./contestants/nest-nats.js')).nestNats,
    missing: async () => noPackage('@nats-io/transport-node') ?? (await noNatsServer()),
  },
  {
    name: 'core-go',
    title: 'our client, storj/drpc in Go as server, a connection for each call at once',
    shapes: ['unary'],
    load: async () => (await import('./contestants/core-go.js')).coreGo,
    missing: async () => (await import('./contestants/go-program.js')).noGoPrograms(),
  },
  {
    name: 'go-drpc',
    title: 'storj/drpc, Go at both ends, a connection for each call at once',
    // Its server makes each message of a stream anew, byte by byte, so large ones would measure that.
    workloads: COUNTED,
    shapes: ['unary', 'download'],
    load: async () => (await import('./contestants/go-program.js')).goDrpc,
    missing: async () => (await import('./contestants/go-program.js')).noGoPrograms(),
  },
];

export const REFERENCE = CONTESTANTS[0]!;

/** The reference once more: how much it differs from itself. */
export const NOISE = CONTESTANTS.find(({ name }) => name === 'raw-again')!;

export async function loadContestant(name: string): Promise<Contestant> {
  const entry = CONTESTANTS.find((candidate) => candidate.name === name);
  if (!entry) throw new Error(`no contestant is called ${name}`);
  return entry.load();
}

async function noNatsServer(): Promise<string | undefined> {
  const { NATS_PORT, natsAnswers } = await import('./contestants/nats-server.js');
  return (await natsAnswers()) ? undefined : `no NATS server answers on 127.0.0.1:${NATS_PORT}`;
}

/** Nest loads the drivers of its transports only when they are used. */
function noPackage(name: string): string | undefined {
  try {
    createRequire(createRequire(import.meta.url).resolve('@nestjs/microservices')).resolve(name);
    return undefined;
  } catch {
    return `the package ${name} is not installed`;
  }
}
