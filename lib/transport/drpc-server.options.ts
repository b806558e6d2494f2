import type { TlsOptions } from 'node:tls';
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
import { MAX_PATTERN_LENGTH } from '../bridge/pattern.js';
import { tlsOption } from '../bridge/tls-option.js';
import { checkedSocketPath, DEFAULT_HOST, DEFAULT_PORT, parseDrpcUrl } from '../bridge/url.js';
import { CONTROL_RPC } from '../control/control-message.js';
import type { PlainClients } from '../control/peer-server.js';
import type { Encoding } from '../encoding/encoding.js';
import { resolveServiceOptions, SERVICE_OPTIONS, type ServiceOptions } from '../service/service-options.js';
import type { DrpcListener } from './listener.js';

/** Settings of a {@link DrpcServer}. Sizes in bytes, times in milliseconds. */
export interface DrpcServerOptions extends ConnectionLimits, ServiceOptions {
  /** `drpc://host:port`, `drpcs://host:port` (with `tls`) or `drpc+unix:/path`. */
  url?: string | undefined;
  /** Address to bind, instead of `url`. Default: 127.0.0.1. */
  host?: string | undefined;
  /** Port to bind, instead of `url`; 0: any free one. Default: 4000. */
  port?: number | undefined;
  /** Path of a unix socket, instead of `url`. */
  path?: string | undefined;
  /** Certificate, key and what else `tls.createServer` takes; makes TLS of `host` and `port`. */
  tls?: TlsOptions | undefined;
  /** Where connections come from, instead of a socket: `createInMemoryNetwork()` of `nestjs-drpc/testing`. */
  listener?: DrpcListener | undefined;
  /** How long `close()` lets calls and events in flight finish. Default: 10 s. */
  gracePeriod?: number | undefined;
  /** How clients are treated that are not of this library: form of errors, windows. Default: `'storj'`. */
  plainClients?: PlainClients | undefined;
  /** What to do with the text `DRPC!!!1` at the beginning of a connection, in TLS or before it. Default: `'accept'`. */
  preamble?: 'accept' | 'require' | 'off' | 'beforeTls' | undefined;
  /** Leaves out handlers that are not pinned to `DRPC_TRANSPORT`. Default: false. */
  strictTransport?: boolean | undefined;
  /** Passes errors of a handler's own DRPC calls on to its caller. Default: false. */
  forwardErrors?: boolean | undefined;
  /** Encodings by pattern, where a handler does not name its own. Default: `'json'` for all. */
  encodings?: Readonly<Record<string, EncodingName | Encoding>> | undefined;
  /** Connections at once; further ones are closed. Default: Infinity. */
  maxConnections?: number | undefined;
  /** How old a connection may become before its client makes another; 0: as old as it wants. Default: 0. */
  maxConnectionAge?: number | undefined;
  /** Streams of a connection that may be open or running at once. Default: 1,000. */
  maxStreams?: number | undefined;
  /** Handlers of all connections that may run at once, events included. Default: 10,000. */
  maxHandlers?: number | undefined;
  /** Bytes of received messages that all connections may hold. Default: 512 MiB. */
  maxServerReceivedBytes?: number | undefined;
  /** Bytes that may wait to be sent on all connections. Default: 1 GiB. */
  maxServerQueuedBytes?: number | undefined;
  /** Longest name of an rpc. Default: 4 KiB. */
  maxPatternLength?: number | undefined;
  /** How long a TLS handshake may take. Default: 10 s. */
  tlsHandshakeTimeout?: number | undefined;
}

/** `'beforeTls'` is to accept it in front of a TLS handshake as well. */
export type ServerPreamble = NonNullable<DrpcServerOptions['preamble']>;

const MIB = 1024 * 1024;

/** The numeric options that only a server has. */
export const SERVER_LIMITS = {
  gracePeriod: { default: 10_000, min: 0, max: MAX_TIME },
  maxConnections: { default: Infinity, min: 1, max: Infinity },
  maxConnectionAge: { default: 0, min: 0, max: MAX_TIME },
  maxStreams: { default: 1000, min: 1, max: MAX_SIZE },
  maxHandlers: { default: 10_000, min: 1, max: MAX_SIZE },
  maxServerReceivedBytes: { default: 512 * MIB, min: 1, max: Number.MAX_SAFE_INTEGER },
  maxServerQueuedBytes: { default: 1024 * MIB, min: 1, max: Number.MAX_SAFE_INTEGER },
  // Without the control stream, clients of this library would take the server for a plain one.
  maxPatternLength: { default: MAX_PATTERN_LENGTH, min: CONTROL_RPC.length, max: MAX_PATTERN_LENGTH },
  tlsHandshakeTimeout: { default: 10_000, min: 1, max: MAX_TIME },
} satisfies Record<string, NumberRule>;

const OTHERS = [
  ...['url', 'host', 'port', 'path', 'tls', 'listener'],
  ...['plainClients', 'preamble', 'strictTransport', 'forwardErrors', 'encodings'],
  ...SERVICE_OPTIONS,
];

/** Every option there is. */
export const SERVER_OPTIONS: readonly string[] = [
  ...OTHERS,
  ...Object.keys(SERVER_LIMITS),
  ...Object.keys(CONNECTION_LIMITS),
];

type Limits = Required<ConnectionLimits> & Record<keyof typeof SERVER_LIMITS, number>;

export interface ResolvedServerOptions extends Limits {
  /** Where to listen, unless there is a `listener`. */
  address: { host: string; port: number } | { path: string };
  tls: TlsOptions | undefined;
  listener: DrpcListener | undefined;
  plainClients: PlainClients;
  preamble: ServerPreamble;
  strictTransport: boolean;
  forwardErrors: boolean;
  encodings: Readonly<Record<string, Encoding>>;
  protobuf: ServiceOptions;
}

/** Checks options and fills the defaults in. @throws TypeError or RangeError naming option, value and rule. */
export function resolveServerOptions(options: DrpcServerOptions): ResolvedServerOptions {
  assertKnownOptions(options, SERVER_OPTIONS);
  const names = Object.keys(SERVER_LIMITS) as (keyof typeof SERVER_LIMITS)[];
  const limits = Object.fromEntries(
    names.map((name) => [name, numberOption(name, options[name], SERVER_LIMITS[name])]),
  ) as Record<keyof typeof SERVER_LIMITS, number>;
  return {
    ...resolveConnectionLimits(options),
    ...limits,
    address: resolveAddress(options),
    tls: resolveTls(options.tls),
    listener: methodsOption('listener', options.listener, 'a DrpcListener', LISTENER_METHODS),
    plainClients: choiceOption(
      'plainClients',
      options.plainClients,
      ['storj', 'cockroach', 'cockroach-fc'],
      'storj',
    ),
    preamble: resolvePreamble(options),
    strictTransport: booleanOption('strictTransport', options.strictTransport, false),
    forwardErrors: booleanOption('forwardErrors', options.forwardErrors, false),
    encodings: resolveEncodings(options.encodings),
    protobuf: resolveServiceOptions(options),
  };
}

function resolveAddress(options: DrpcServerOptions): ResolvedServerOptions['address'] {
  const url = textOption('url', options.url);
  const host = textOption('host', options.host);
  const path = textOption('path', options.path);
  const port = options.port === undefined ? undefined : numberOption('port', options.port, PORT);
  const bind = host === undefined ? { port } : { host };
  const given = { url, ...bind, path, listener: options.listener };
  const names = Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [name]));
  if (names.length > 1) {
    throw new TypeError(`options ${names.join(' and ')} both say where to listen: give one of them`);
  }
  const [unencrypted] = ['path', 'listener'].filter((name) => names.includes(name));
  if (options.tls && unencrypted) {
    throw new TypeError(
      `options ${unencrypted} and tls exclude each other: TLS is for drpcs://, host and port`,
    );
  }
  if (path !== undefined) return { path: checkedSocketPath('path', path) };
  if (url === undefined) return { host: host ?? DEFAULT_HOST, port: port ?? DEFAULT_PORT };
  const address = parseDrpcUrl('url', url);
  if (address.isTls && !options.tls) {
    throw new TypeError(
      `option url is "${url}" without option tls: a TLS server needs a certificate and its key`,
    );
  }
  if (!address.isTls && options.tls) {
    throw new TypeError(`option url is "${url}" with option tls: must be drpcs://host:port then`);
  }
  if (address.path !== undefined) return { path: address.path };
  return { host: address.host ?? DEFAULT_HOST, port: address.port ?? DEFAULT_PORT };
}

/** @throws TypeError also where there is no TLS before which it could come. */
function resolvePreamble({ preamble, tls }: DrpcServerOptions): ServerPreamble {
  const choice = choiceOption('preamble', preamble, ['accept', 'require', 'off', 'beforeTls'], 'accept');
  if (choice !== 'beforeTls' || tls) return choice;
  throw new TypeError(`option preamble is 'beforeTls': must be with tls only`);
}

const PORT: NumberRule = { default: DEFAULT_PORT, min: 0, max: 65_535 };

/** A server without a certificate would listen, and no client could ever reach it. */
function resolveTls(tls: TlsOptions | undefined): TlsOptions | undefined {
  const given = tlsOption('tls', tls);
  if (!given || SERVER_IDENTITIES.some((name) => given[name] !== undefined)) return given;
  throw new TypeError(
    'option tls says nothing of a certificate: must have cert and key, pfx, SNICallback or pskCallback',
  );
}

const SERVER_IDENTITIES = ['cert', 'pfx', 'SNICallback', 'pskCallback'] as const;

const LISTENER_METHODS = ['listen', 'address', 'stop', 'close'] as const;

function resolveEncodings(encodings: DrpcServerOptions['encodings']): Readonly<Record<string, Encoding>> {
  const resolved = Object.create(null) as Record<string, Encoding>;
  for (const [pattern, value] of Object.entries(objectOption('encodings', encodings) ?? {})) {
    resolved[pattern] = resolveEncoding(value, `option encodings of "${pattern}"`);
  }
  return resolved;
}
