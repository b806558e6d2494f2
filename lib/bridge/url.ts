import { escapeName } from '../errors/escape.js';

export const DEFAULT_HOST = '127.0.0.1';
export const DEFAULT_PORT = 4000;

/** Where a service listens: a host and port, or the path of a unix socket. */
export interface DrpcAddress {
  host?: string;
  port?: number;
  path?: string;
  /** Whether the URL asked for TLS. */
  isTls: boolean;
}

/**
 * Reads `drpc://host:port`, `drpcs://host:port` (TLS) or `drpc+unix:/path`.
 * @throws TypeError that shows the URL and the forms there are.
 */
export function parseDrpcUrl(text: string): DrpcAddress {
  const unix = /^drpc\+unix:(?:\/\/)?(\/.*)$/.exec(text);
  if (unix) return { path: decodeURIComponent(unix[1]!), isTls: false };
  const match = /^(drpcs?):\/\/(?:\[([0-9a-fA-F:.%]+)\]|([^/:@?#[\]\s]+))(?::(\d{1,5}))?\/?$/.exec(text);
  const port = match?.[4] === undefined ? DEFAULT_PORT : Number(match[4]);
  if (!match || port > 65_535) {
    throw new TypeError(
      `url is "${escapeName(text)}": must be drpc://host:port, drpcs://host:port or drpc+unix:/path`,
    );
  }
  return { host: match[2] ?? match[3], port, isTls: match[1] === 'drpcs' };
}
