import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import { parseArgs } from 'node:util';
import type { DrpcClientOptions } from '../client/index.js';
import type { Metadata } from '../metadata/metadata.js';
import type { ProtoOptions } from '../service/proto-options.js';
import { UsageError } from './usage.js';

export interface CallCommand {
  readonly name: 'call';
  readonly client: DrpcClientOptions;
  readonly rpc: string;
  /** Of the request, as it was given; `undefined`: an empty message. */
  readonly message: string | undefined;
  /** Whether the input holds the messages of the request. */
  readonly isStreamed: boolean;
  readonly encoding: 'json' | 'bytes' | 'protobuf';
  /** Where the service of a call in protobuf is described. */
  readonly proto: ProtoOptions | undefined;
  readonly timeout: number | undefined;
  readonly metadata: Readonly<Metadata>;
}

export interface PingCommand {
  readonly name: 'ping';
  readonly client: DrpcClientOptions;
  readonly timeout: number | undefined;
}

export type Command = { readonly name: 'help' | 'version' } | CallCommand | PingCommand;

const OPTIONS = {
  stdin: { type: 'boolean', short: 'i' },
  metadata: { type: 'string', short: 'm', multiple: true },
  timeout: { type: 'string', short: 't' },
  encoding: { type: 'string', short: 'e' },
  proto: { type: 'string', multiple: true },
  'import-path': { type: 'string', multiple: true },
  peer: { type: 'string' },
  preamble: { type: 'boolean' },
  'preamble-before-tls': { type: 'boolean' },
  ca: { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  servername: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
} as const;

/** What makes no sense for a ping. */
const CALL_ONLY = ['stdin', 'metadata', 'encoding', 'proto', 'import-path'] as const;

const NEGATIVE = /^-\d/;

type Values = ReturnType<typeof parse>['values'];

/**
 * How messages of .proto files look in JSON: 64-bit integers, bytes (base64), NaN and the infinities are texts, enums
 * names, no field is left out.
 */
const LOADER: ProtoOptions['loader'] = {
  longs: String,
  enums: String,
  bytes: String,
  json: true,
  defaults: true,
};

/** @throws UsageError for what is wrong, naming it. */
export function parseCommandLine(args: readonly string[]): Command {
  const { values, positionals } = parse(args);
  if (values.help) return { name: 'help' };
  if (values.version) return { name: 'version' };
  const [name, ...operands] = positionals;
  switch (name) {
    case 'call':
      return callCommand(values, operands);
    case 'ping':
      return pingCommand(values, operands);
    case undefined:
      throw new UsageError('a command is missing: call or ping');
    default:
      throw new UsageError(`unknown command "${name}": must be call or ping`);
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: numbersLast(args), options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

/** A negative number is a message and never an option: it goes behind `--`, where it would have to be written. */
function numbersLast(args: readonly string[]): string[] {
  const end = args.includes('--') ? args.indexOf('--') : args.length;
  const numbers = args.slice(0, end).filter((arg) => NEGATIVE.test(arg));
  if (numbers.length === 0) return [...args];
  const others = args.slice(0, end).filter((arg) => !NEGATIVE.test(arg));
  return [...others, '--', ...numbers, ...args.slice(end + 1)];
}

function callCommand(values: Values, [url, rpc, message, surplus]: string[]): CallCommand {
  if (url === undefined || rpc === undefined) throw new UsageError('call needs a URL and the name of an rpc');
  if (surplus !== undefined) {
    throw new UsageError(`"${surplus}" is one too many: call takes a URL, an rpc and one message, quoted`);
  }
  const { stdin: isStreamed = false, encoding = 'json', proto } = values;
  if (isStreamed && message !== undefined) {
    throw new UsageError('a message and --stdin exclude each other: the input holds the messages');
  }
  if (encoding !== 'json' && encoding !== 'bytes') {
    throw new UsageError(`--encoding is "${encoding}": must be json or bytes`);
  }
  if (proto && values.encoding !== undefined) {
    throw new UsageError('--proto and --encoding exclude each other: the messages are protobuf then');
  }
  return {
    name: 'call',
    client: clientOptions(url, values),
    rpc,
    message,
    isStreamed,
    encoding: proto ? 'protobuf' : encoding,
    proto: protoOptions(values),
    timeout: timeoutOf(values),
    metadata: Object.fromEntries((values.metadata ?? []).map(metadataEntry)),
  };
}

function pingCommand(values: Values, [url, surplus]: string[]): PingCommand {
  if (url === undefined) throw new UsageError('ping needs a URL');
  if (surplus !== undefined) throw new UsageError(`"${surplus}" is one too many: ping takes a URL`);
  const meaningless = CALL_ONLY.find((option) => values[option] !== undefined);
  if (meaningless) throw new UsageError(`--${meaningless} is for call only`);
  return { name: 'ping', client: clientOptions(url, values), timeout: timeoutOf(values) };
}

function clientOptions(url: string, values: Values): DrpcClientOptions {
  const { peer, preamble, 'preamble-before-tls': isBeforeTls } = values;
  return {
    url,
    // The client refuses what is no profile.
    peer: peer as DrpcClientOptions['peer'],
    preamble: isBeforeTls ? 'beforeTls' : preamble,
    tls: tlsOptions(values),
  };
}

function protoOptions({ proto, 'import-path': importPaths }: Values): ProtoOptions | undefined {
  // With folders to look in, the loader looks for the files there, too, and warns where it does not find them.
  const includeDirs = importPaths && [...importPaths, '.'];
  if (proto) return { protoPath: proto, loader: { ...LOADER, includeDirs } };
  if (importPaths) throw new UsageError('--import-path is given without --proto: must be beside it');
  return undefined;
}

function tlsOptions({ ca, cert, key, servername }: Values): ConnectionOptions | undefined {
  const files = { ca: contentOf('ca', ca), cert: contentOf('cert', cert), key: contentOf('key', key) };
  const given = Object.entries({ ...files, servername }).filter(([, value]) => value !== undefined);
  return given.length > 0 ? Object.fromEntries(given) : undefined;
}

function contentOf(option: string, path: string | undefined): Buffer | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UsageError(`--${option} can not be read: ${(error as Error).message}`, { cause: error });
  }
}

function timeoutOf({ timeout }: Values): number | undefined {
  if (timeout === undefined) return undefined;
  // No timer goes further than 31 bits.
  if (/^\d{1,9}$/.test(timeout)) return Number(timeout);
  throw new UsageError(`--timeout is "${timeout}": must be a number of milliseconds, of 9 digits at most`);
}

function metadataEntry(entry: string): [string, string] {
  const at = entry.indexOf('=');
  if (at > 0) return [entry.slice(0, at), entry.slice(at + 1)];
  throw new UsageError(`--metadata is "${entry}": must be key=value`);
}
