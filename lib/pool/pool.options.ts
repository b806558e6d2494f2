import type { Duplex } from 'node:stream';
import type { ConnectionOptions } from 'node:tls';
import { systemClock, type Clock } from '../clock/clock.js';
import type { PeerConnOptions, PeerProfile } from '../control/peer-conn.js';
import type { Address, LookupAddress } from './address.js';
import type { BackoffOptions } from './backoff.js';
import type { BalancePolicy } from './balancer.js';

/** Settings of a pool. Times in milliseconds, sizes in bytes. */
export interface PoolOptions extends Omit<PeerConnOptions, 'preamble'> {
  /** Servers that do the same work. */
  addresses: readonly Address[];
  /** Whether each connection begins with the preamble of drpcmigrate, in TLS or before it. Default: false. */
  preamble?: PeerConnOptions['preamble'] | 'beforeTls';
  /** Default: `'roundRobin'`. */
  balance?: BalancePolicy;
  /** Connections to each server. Default: 1. */
  connections?: number;
  /** Calls that a connection carries at once. Default: as many as the server takes. */
  maxStreamsPerConnection?: number;
  /** Connections to each server that carries one call at a time. Default: 100. */
  maxConnections?: number;
  /** How long such a connection, beyond `connections`, is kept for the next call; 0: for ever. Default: 60 s. */
  idleTimeout?: number;
  /** Whether calls fail when no server can be reached; otherwise they wait. Default: `true`. */
  failFast?: boolean;
  /** Calls that may wait while no server can be reached. Default: 1,000. */
  maxQueuedCalls?: number;
  /** How long connecting may take, TLS handshake included. Default: 10 s. */
  connectTimeout?: number;
  /** The pause after the first failed attempt; it doubles with each further one. Default: 100 ms. */
  reconnectDelay?: number;
  /** The longest pause. Default: 10 s. */
  maxReconnectDelay?: number;
  /** Certificates and whatever else `tls.connect` takes. */
  tls?: ConnectionOptions;
  /** Makes each connection in place of the network. */
  dial?: () => Promise<Duplex>;
  /** Resolves names. Default: `dns.lookup`. */
  lookup?: (host: string) => Promise<readonly LookupAddress[]>;
  /** How often a name is looked up again while its servers are well; 0: never. Default: 0. */
  lookupInterval?: number;
  /** Answers at least 0 and less than 1. Default: `Math.random`. */
  random?: () => number;
}

export interface ResolvedPoolOptions {
  addresses: readonly Address[];
  clock: Clock;
  peer: PeerProfile;
  balance: BalancePolicy;
  connections: number;
  maxStreamsPerConnection: number;
  maxConnections: number;
  idleTimeout: number;
  failFast: boolean;
  maxQueuedCalls: number;
  connectTimeout: number;
  backoff: BackoffOptions;
  sendQueueSize: number;
  tls: ConnectionOptions | undefined;
  isPreambleBeforeTls: boolean;
  dial: (() => Promise<Duplex>) | undefined;
  lookup: ((host: string) => Promise<readonly LookupAddress[]>) | undefined;
  lookupInterval: number;
  /** For the connections themselves. */
  conn: PeerConnOptions;
}

/** Fills the defaults in; an explicit `undefined` means the default as well. */
export function resolvePoolOptions({
  addresses,
  balance = 'roundRobin',
  connections = 1,
  maxStreamsPerConnection = Infinity,
  maxConnections = 100,
  idleTimeout = 60_000,
  failFast = true,
  maxQueuedCalls = 1000,
  connectTimeout = 10_000,
  reconnectDelay = 100,
  maxReconnectDelay = 10_000,
  tls,
  preamble,
  dial,
  lookup,
  lookupInterval = 0,
  random,
  ...conn
}: PoolOptions): ResolvedPoolOptions {
  const { clock = systemClock, peer = 'auto', sendQueueSize = 16 * 1024 * 1024 } = conn;
  return {
    addresses,
    clock,
    peer,
    balance,
    connections,
    maxStreamsPerConnection,
    maxConnections: Math.max(maxConnections, connections),
    idleTimeout,
    failFast,
    maxQueuedCalls,
    connectTimeout,
    backoff: { initial: reconnectDelay, max: Math.max(maxReconnectDelay, reconnectDelay), random },
    sendQueueSize,
    tls,
    isPreambleBeforeTls: preamble === 'beforeTls',
    dial,
    lookup,
    lookupInterval,
    conn: { ...conn, clock, preamble: preamble === 'beforeTls' ? false : preamble },
  };
}
