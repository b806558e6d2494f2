import type { Duplex } from 'node:stream';
import type { ConnectionOptions } from 'node:tls';
import type { Deserializer, Serializer } from '@nestjs/microservices';
import {
  CONNECTION_LIMITS,
  MAX_SIZE,
  MAX_TIME,
  resolveConnectionLimits,
  type ConnectionLimits,
} from '../bridge/connection-limits.js';
import { resolveEncoding, type EncodingName } from '../bridge/encodings.js';
import {
  assertKnownOptions,
  booleanOption,
  choiceOption,
  methodsOption,
  numberOption,
  objectOption,
  textOption,
  type NumberRule,
} from '../bridge/options.js';
import { tlsOption } from '../bridge/tls-option.js';
import { checkedSocketPath, DEFAULT_HOST, DEFAULT_PORT, parseDrpcUrl } from '../bridge/url.js';
import type { Clock } from '../clock/clock.js';
import type { PeerProfile } from '../control/peer-conn.js';
import type { Encoding } from '../encoding/encoding.js';
import { typeName } from '../errors/type-name.js';
import { assertUserMetadata, mergeMetadata, type Metadata } from '../metadata/metadata.js';
import type { Address, LookupAddress } from '../pool/address.js';
import type { BalancePolicy } from '../pool/balancer.js';
import type { PoolOptions } from '../pool/pool.options.js';
import { loadProtoServices } from '../service/proto-loader.js';
import { hasProto, PROTO_OPTIONS, resolveProtoOptions, type ProtoOptions } from '../service/proto-options.js';
import type { ServiceDefinition } from '../service/service-definition.js';
import type { DrpcClientInterceptor } from './drpc-client.interceptor.js';
import { packetInterceptors } from './packet-interceptor.js';

/** Settings of a {@link DrpcClient}. Sizes in bytes, times in milliseconds. */
export interface DrpcClientOptions extends ConnectionLimits, ProtoOptions {
  /** `drpc://host:port`, `drpcs://host:port` (TLS) or `drpc+unix:/path`. */
  url?: string | undefined;
  /** Several servers that do the same work, instead of `url`. */
  urls?: readonly string[] | undefined;
  /** Where the server is, instead of `url`. Default: 127.0.0.1. */
  host?: string | undefined;
  /** Default: 4000. */
  port?: number | undefined;
  /** Path of a unix socket, instead of `url`. */
  path?: string | undefined;
  /** What `tls.connect` takes: certificates and the like; makes TLS of `host` and `port`. */
  tls?: ConnectionOptions | undefined;
  /** Makes each connection, instead of a socket: `nestjs-drpc/testing`, tunnels. */
  dial?: (() => Promise<Duplex>) | undefined;
  /** Resolves names. Default: `dns.lookup`. */
  lookup?: ((host: string) => Promise<readonly LookupAddress[]>) | undefined;
  /** How often a name is looked up again while its servers are well; 0: never. Default: 0. */
  lookupInterval?: number | undefined;
  /** Who the server is. Default: `'auto'`. */
  peer?: PeerProfile | undefined;
  /** Begins each connection with `DRPC!!!1`, in TLS or before it, for servers behind drpcmigrate. Default: false. */
  preamble?: boolean | 'beforeTls' | undefined;
  /** How long the server may take to say who it is. Default: 2 s. */
  handshakeTimeout?: number | undefined;
  /** How long connecting may take, TLS handshake included. Default: 10 s. */
  connectTimeout?: number | undefined;
  /** The pause after a failed attempt to connect; it doubles with each further one. Default: 100 ms. */
  reconnectDelay?: number | undefined;
  /** The longest such pause. Default: 10 s. */
  maxReconnectDelay?: number | undefined;
  /** Whether calls fail when no server can be reached; otherwise they wait. Default: true. */
  failFast?: boolean | undefined;
  /** Calls that may wait while no server can be reached. Default: 1,000. */
  maxQueuedCalls?: number | undefined;
  /** Connections to each server. Default: 1. */
  connections?: number | undefined;
  /** How calls are spread over connections. Default: `'roundRobin'`. */
  balance?: BalancePolicy | undefined;
  /** Calls that a connection carries at once. Default: as many as the server takes. */
  maxStreamsPerConnection?: number | undefined;
  /** Connections to each server that carries one call at a time. Default: 100. */
  maxConnections?: number | undefined;
  /** How long such a connection, beyond `connections`, is kept for the next call; 0: for ever. Default: 60 s. */
  idleTimeout?: number | undefined;
  /** Time for each call, unless it brings its own. Default: Infinity. */
  timeout?: number | undefined;
  /** Sent with each call. */
  metadata?: Readonly<Metadata> | undefined;
  /** For patterns that `encodings` does not name. Default: `'json'`. */
  encoding?: EncodingName | Encoding | undefined;
  /** By pattern. */
  encodings?: Readonly<Record<string, EncodingName | Encoding>> | undefined;
  /** Functions around each call; the first is the outermost. */
  interceptors?: readonly DrpcClientInterceptor[] | undefined;
  /** Changes each outgoing packet before it is encoded, as in Nest's own clients. */
  serializer?: Serializer | undefined;
  /** Changes each decoded answer, as in Nest's own clients. */
  deserializer?: Deserializer | undefined;
  /** The source of time, for tests. */
  clock?: Clock | undefined;
}

/** The numeric options that only a client has. */
export const CLIENT_LIMITS = {
  handshakeTimeout: { default: 2000, min: 1, max: MAX_TIME },
  connectTimeout: { default: 10_000, min: 1, max: MAX_TIME },
  lookupInterval: { default: 0, min: 0, max: MAX_TIME },
  reconnectDelay: { default: 100, min: 1, max: MAX_TIME },
  maxReconnectDelay: { default: 10_000, min: 1, max: MAX_TIME },
  maxQueuedCalls: { default: 1000, min: 0, max: Infinity },
  connections: { default: 1, min: 1, max: 1000 },
  maxStreamsPerConnection: { default: Infinity, min: 1, max: Infinity },
  maxConnections: { default: 100, min: 1, max: MAX_SIZE },
  idleTimeout: { default: 60_000, min: 0, max: MAX_TIME },
  timeout: { default: Infinity, min: 1, max: Infinity },
} satisfies Record<string, NumberRule>;

const PORT: NumberRule = { default: DEFAULT_PORT, min: 1, max: 65_535 };

const PROFILES = ['auto', 'storj', 'cockroach', 'cockroach-fc'] as const;

const OTHERS = [
  ...[
    'url',
    'urls',
    'host',
    'port',
    'path',
    'tls',
    'dial',
    'lookup',
    'peer',
    'preamble',
    'failFast',
    'balance',
  ],
  ...['metadata', 'encoding', 'encodings', 'interceptors', 'serializer', 'deserializer', 'clock'],
  ...PROTO_OPTIONS,
];

/** Every option there is. */
export const CLIENT_OPTIONS: readonly string[] = [
  ...OTHERS,
  ...Object.keys(CLIENT_LIMITS),
  ...Object.keys(CONNECTION_LIMITS),
];

export interface ResolvedClientOptions {
  pool: PoolOptions;
  /** In ms; `undefined`: none. */
  timeout: number | undefined;
  /** `undefined`: none. */
  metadata: Readonly<Metadata> | undefined;
  encoding: Encoding;
  encodings: ReadonlyMap<string, Encoding>;
  interceptors: readonly DrpcClientInterceptor[];
  /** Those of the .proto files. */
  services: readonly ServiceDefinition[];
}

/** Checks options and fills the defaults in. @throws TypeError or RangeError naming option, value and rule. */
export function resolveClientOptions(options: DrpcClientOptions): ResolvedClientOptions {
  assertKnownOptions(options, CLIENT_OPTIONS);
  const names = Object.keys(CLIENT_LIMITS) as (keyof typeof CLIENT_LIMITS)[];
  const { timeout, ...limits } = Object.fromEntries(
    names.map((name) => [name, numberOption(name, options[name], CLIENT_LIMITS[name])]),
  ) as Record<keyof typeof CLIENT_LIMITS, number>;
  const { encoding = 'json' } = options;
  const proto = resolveProtoOptions(options);
  const services = hasProto(proto) ? loadProtoServices(proto) : [];
  const addresses = resolveAddresses(options);
  return {
    pool: {
      ...resolveConnectionLimits(options),
      ...limits,
      addresses,
      tls: tlsOption('tls', options.tls),
      dial: functionOption('dial', options.dial),
      lookup: functionOption('lookup', options.lookup),
      peer: choiceOption('peer', options.peer, PROFILES, 'auto'),
      preamble: resolvePreamble(options.preamble, addresses),
      failFast: booleanOption('failFast', options.failFast, true),
      balance: choiceOption('balance', options.balance, ['roundRobin', 'leastLoaded'], 'roundRobin'),
      clock: methodsOption('clock', options.clock, 'a Clock', ['now', 'after', 'soon', 'yield']),
    },
    timeout: timeout === Infinity ? undefined : timeout,
    metadata: resolveMetadata(options.metadata),
    encoding: resolveEncoding(encoding, 'option encoding'),
    encodings: new Map([...serviceEncodings(services), ...resolveEncodings(options.encodings)]),
    interceptors: [
      ...resolveInterceptors(options.interceptors),
      ...packetInterceptors(
        methodOption('serializer', options.serializer, 'serialize'),
        methodOption('deserializer', options.deserializer, 'deserialize'),
      ),
    ],
    services,
  };
}

function resolveAddresses(options: DrpcClientOptions): Address[] {
  const host = textOption('host', options.host);
  const path = textOption('path', options.path);
  const port = options.port === undefined ? undefined : numberOption('port', options.port, PORT);
  const { url, urls, dial, tls } = options;
  const given = { url, urls, host: host ?? port, path, dial };
  const names = Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [name]));
  if (names.length > 1) {
    throw new TypeError(`options ${names.join(' and ')} both say where the server is: give one of them`);
  }
  // What was meant to be encrypted does not go out in the clear.
  const [unencrypted] = ['dial', 'path'].filter((name) => names.includes(name));
  if (tls && unencrypted) {
    throw new TypeError(
      `options ${unencrypted} and tls exclude each other: TLS is for drpcs://, host and port`,
    );
  }
  if (dial !== undefined) return [{ kind: 'custom', host: '', port: 0, path: '' }];
  if (path !== undefined) return [{ kind: 'unix', host: '', port: 0, path: checkedSocketPath('path', path) }];
  if (url !== undefined) return [toAddress('url', url, tls)];
  if (urls !== undefined) {
    if (!Array.isArray(urls) || urls.length === 0) {
      const shown = Array.isArray(urls) ? 'empty' : typeName(urls);
      throw new TypeError(`option urls is ${shown}: must be an array of at least one URL`);
    }
    return urls.map((each: unknown, at) => toAddress(`urls[${at}]`, each, tls));
  }
  const kind = tls ? 'tls' : 'tcp';
  return [{ kind, host: host ?? DEFAULT_HOST, port: port ?? DEFAULT_PORT, path: '' }];
}

function toAddress(name: string, value: unknown, tls: ConnectionOptions | undefined): Address {
  const url = textOption(name, value) ?? '';
  const { host = '', port = 0, path = '', isTls } = parseDrpcUrl(name, url);
  if (tls && !isTls) {
    throw new TypeError(`option ${name} is "${url}" with option tls: must be drpcs://host:port then`);
  }
  if (path !== '') return { kind: 'unix', host: '', port: 0, path };
  if (port === 0) throw new RangeError(`option ${name} is "${url}": port 0 can only be listened on`);
  return { kind: isTls ? 'tls' : 'tcp', host, port, path: '' };
}

/** @throws TypeError also where there is no TLS for it to go before: it would not be sent at all. */
function resolvePreamble(preamble: unknown, addresses: readonly Address[]): boolean | 'beforeTls' {
  if (preamble !== 'beforeTls') return booleanOption('preamble', preamble, false, 'beforeTls');
  if (addresses.every(({ kind }) => kind === 'tls')) return preamble;
  throw new TypeError(`option preamble is 'beforeTls': must be with drpcs:// or tls only`);
}

function resolveMetadata(metadata: DrpcClientOptions['metadata']): Readonly<Metadata> | undefined {
  if (metadata === undefined) return undefined;
  assertUserMetadata(metadata);
  return Object.keys(metadata).length > 0 ? mergeMetadata(metadata) : undefined;
}

function resolveEncodings(encodings: DrpcClientOptions['encodings']): ReadonlyMap<string, Encoding> {
  return new Map(
    Object.entries(objectOption('encodings', encodings) ?? {}).map(([pattern, value]) => [
      pattern,
      resolveEncoding(value, `option encodings of "${pattern}"`),
    ]),
  );
}

/** So that `send()` and `call()` reach the methods of .proto files by their rpc. */
function serviceEncodings(services: readonly ServiceDefinition[]): [string, Encoding][] {
  const methods = services.flatMap((service) => service.methods);
  return methods.map(({ rpc, clientEncoding }) => [rpc, clientEncoding]);
}

function resolveInterceptors(interceptors: unknown): readonly DrpcClientInterceptor[] {
  if (interceptors === undefined) return [];
  if (!Array.isArray(interceptors)) {
    throw new TypeError(`option interceptors is ${typeName(interceptors)}: must be an array of functions`);
  }
  return (interceptors as (DrpcClientInterceptor | undefined)[]).map((each, at) => {
    const interceptor = functionOption(`interceptors[${at}]`, each);
    if (interceptor) return interceptor;
    throw new TypeError(`option interceptors[${at}] is undefined: must be a function`);
  });
}

/** An object of which one method is needed. */
function methodOption<T extends object>(
  name: string,
  value: T | undefined,
  method: keyof T & string,
): T | undefined {
  if (value === undefined || typeof (value as T | null)?.[method] === 'function') return value;
  throw new TypeError(`option ${name} is ${typeName(value)}: must have a method ${method}`);
}

function functionOption<T>(name: string, value: T): T {
  if (value === undefined || typeof value === 'function') return value;
  throw new TypeError(`option ${name} is ${typeName(value)}: must be a function`);
}
