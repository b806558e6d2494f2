import { readFileSync } from 'node:fs';
import { CONNECTION_LIMITS } from '../../lib/bridge/connection-limits.js';
import { CLIENT_LIMITS, CLIENT_OPTIONS } from '../../lib/client/drpc-client.options.js';
import { SERVER_LIMITS, SERVER_OPTIONS } from '../../lib/transport/drpc-server.options.js';

const SOURCES = {
  connection: 'bridge/connection-limits.ts',
  server: 'transport/drpc-server.options.ts',
  client: 'client/drpc-client.options.ts',
  proto: 'service/proto-options.ts',
  services: 'service/service-options.ts',
};
const TIMES = new Set(
  'frameTimeout stallTimeout pingInterval pingTimeout gracePeriod tlsHandshakeTimeout handshakeTimeout connectTimeout lookupInterval reconnectDelay maxReconnectDelay idleTimeout maxConnectionAge timeout'.split(
    ' ',
  ),
);
const COUNTS = new Set(
  'recvQueueMessages maxUnfinishedMessages maxConnections maxStreams maxHandlers connections maxStreamsPerConnection maxQueuedCalls maxPatternLength'.split(
    ' ',
  ),
);

interface Option {
  type: string;
  doc: string;
}

/** The documented properties of the interfaces of a source file. */
function optionsOf(file: string): Map<string, Option> {
  const text = readFileSync(new URL(`../../lib/${file}`, import.meta.url), 'utf8');
  const found = new Map<string, Option>();
  const property = /\/\*\* ((?:(?!\*\/)[^])*?)\s*\*\/\n {2}(?:readonly )?(\w+)\?: ([^;]+);/g;
  for (const [, doc, name, type] of text.matchAll(property)) {
    // That each may be `undefined` is not worth a word in every row.
    const [, shown] = /^\(?(.+?)\)? \| undefined$/.exec(type!)!;
    found.set(name!, { doc: doc!.replace(/\s*\n\s*\* ?/g, ' ').trim(), type: shown! });
  }
  return found;
}

function show(value: number, name: string): string {
  if (!Number.isFinite(value)) return 'unlimited';
  if (TIMES.has(name)) return value >= 1000 ? `${value / 1000} s` : `${value} ms`;
  if (COUNTS.has(name)) return value.toLocaleString('en');
  if (value >= 1024 * 1024) return `${value / 1024 / 1024} MiB`;
  return value >= 1024 ? `${value / 1024} KiB` : String(value);
}

function unitOf(name: string): string {
  if (TIMES.has(name)) return 'ms';
  return COUNTS.has(name) ? 'number' : 'bytes';
}

/** One row of the table. */
function row(name: string, end: string, option: Option, limit: { default: number } | undefined): string {
  const [, inWords = '-'] = /Default: ([^;]+?)\.?$/.exec(option.doc) ?? [];
  const isNumber = option.type === 'number' && limit !== undefined;
  const type = isNumber ? unitOf(name) : `\`${option.type}\``;
  const fallback = isNumber ? show(limit.default, name) : inWords;
  const sentence = option.doc.replace(/;? ?Default: [^;]+?\.?$/, '').trim();
  const cells = [`\`${name}\``, end, type, fallback, sentence];
  return `| ${cells.map((cell) => cell.replace(/\|/g, '\\|')).join(' | ')} |`;
}

/** The table of all options, as the README shows it, made of the code: those of the server, the client, of both. */
export function optionsTable(): string {
  const [connection, server, client, proto, services] = Object.values(SOURCES).map(optionsOf);
  const limits: Readonly<Record<string, { default: number }>> = CONNECTION_LIMITS;
  const rows: string[] = [];
  const add = (end: string, names: readonly string[], own: typeof server, of: typeof limits): void => {
    for (const name of names) {
      const option = own!.get(name);
      if (option) rows.push(row(name, end, option, of[name]));
    }
  };
  add('server', SERVER_OPTIONS, server, SERVER_LIMITS);
  add('server', SERVER_OPTIONS, services, {});
  add('client', CLIENT_OPTIONS, client, CLIENT_LIMITS);
  add('both', SERVER_OPTIONS, proto, {});
  add('both', SERVER_OPTIONS, connection, limits);
  const named = new Set(rows.map((text) => /`(\w+)`/.exec(text)![1]));
  const missing = [...SERVER_OPTIONS, ...CLIENT_OPTIONS].filter((name) => !named.has(name));
  if (missing.length > 0) throw new Error(`options without a doc comment: ${missing.join(', ')}`);
  return `| Option | End | Type or unit | Default | |\n|---|---|---|---|---|\n${rows.join('\n')}\n`;
}
