import { Kind } from '../../../lib/wire/kind.js';
import { hasCockroach } from './go-programs.js';
import type { GoModule } from './go-process.js';
import type { Recording } from './recording-proxy.js';

/** A kind of Go peer and what we have to be told about it. */
export interface GoPeer {
  /** For names of tests. */
  readonly name: string;
  readonly module: GoModule;
  /** Our client's option `peer` and our server's `plainClients`. */
  readonly profile: 'storj' | 'cockroach' | 'cockroach-fc';
  /** Flags of the Go programs. */
  readonly flags: readonly string[];
  /** Whether a connection carries many streams at once. */
  readonly isMultiplexing: boolean;
  /** Flags of a client that asks for compression. */
  readonly compression: readonly string[];
}

/** A client that knows nothing of compression can still send its metadata key. */
const COMPRESSION_KEY = ['--metadata', 'drpc-compression=snappy'];

export const STORJ: GoPeer = {
  name: 'storj',
  module: 'storj',
  profile: 'storj',
  flags: ['--soft-cancel'],
  isMultiplexing: false,
  compression: COMPRESSION_KEY,
};

/** `muxstandin` is a stand-in for cockroachdb/drpc, which is only there at times: test/interop/go/README.md. */
const GO_PEERS: readonly GoPeer[] = [
  STORJ,
  ...multiplexing('muxstandin', COMPRESSION_KEY),
  ...(hasCockroach ? multiplexing('cockroach', ['--compression', 'snappy']) : []),
];

/** The same library without and with windows. */
function multiplexing(module: GoModule, compression: readonly string[]): GoPeer[] {
  const peer = { name: module, module, isMultiplexing: true, compression };
  return [
    { ...peer, profile: 'cockroach', flags: [] },
    { ...peer, name: `${module} with flow control`, profile: 'cockroach-fc', flags: ['--flow-control'] },
  ];
}

/** The same for tables of tests, by name. */
export const PEERS = GO_PEERS.map((peer) => [peer.name, peer] as const);
export const MULTIPLEXING_PEERS = PEERS.filter(([, { isMultiplexing }]) => isMultiplexing);

/**
 * What on a connection a Go peer of this kind would not understand: a line for each fault, so that none is
 * the empty list.
 */
export function faultsOf({ profile, isMultiplexing }: GoPeer, recording: Recording): string[] {
  const last = profile === 'cockroach-fc' ? Kind.WindowUpdate : Kind.InvokeMetadata;
  const faults: string[] = [];
  for (const [from, frames] of [
    ['client', recording.clientFrames],
    ['server', recording.serverFrames],
  ] as const) {
    let stream = 0;
    for (const { kind, streamId } of frames) {
      const shown = `${from}: ${Kind[kind] ?? `kind ${kind}`} on stream ${streamId}`;
      if (kind < Kind.Invoke || kind > last) faults.push(`${shown} is of a kind that is unknown there`);
      if (!isMultiplexing && streamId < stream) faults.push(`${shown} after a frame of stream ${stream}`);
      stream = Math.max(stream, Number(streamId));
    }
  }
  const invoked = new Set(recording.clientFrames.filter(isInvoke).map(({ streamId }) => streamId));
  for (const { streamId } of recording.serverFrames) {
    if (!invoked.has(streamId)) faults.push(`server: a frame on stream ${streamId}, which was not invoked`);
  }
  return faults;
}

function isInvoke({ kind }: { kind: number }): boolean {
  return kind === Kind.Invoke;
}

/** The bytes that the Go peers call pattern bytes: byte j is (seed + j) mod 251. */
export function patternBytes(seed: number, size: number): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  for (let j = 0; j < size; j++) bytes[j] = (seed + j) % 251;
  return bytes;
}
