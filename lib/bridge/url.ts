import { escapeName } from '../errors/escape.js';

export const DEFAULT_HOST = '127.0.0.1';
export const DEFAULT_PORT = 4000;

/** What sockaddr_un holds, without the byte that ends it; macOS has four less. */
const MAX_SOCKET_PATH = process.platform === 'linux' ? 107 : 103;

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
 * @throws TypeError naming the option, the URL and the forms there are.
 */
export function parseDrpcUrl(option: string, text: string): DrpcAddress {
  const unix = /^drpc\+unix:(?:\/\/)?(\/.*)$/.exec(text);
  if (unix) return { path: checkedSocketPath(option, decoded(option, unix[1]!, text)), isTls: false };
  const match = /^(drpcs?):\/\/(?:\[([0-9a-fA-F:.%]+)\]|([^/:@?#[\]\s]+))(?::(\d{1,5}))?\/?$/.exec(text);
  const port = match?.[4] === undefined ? DEFAULT_PORT : Number(match[4]);
  if (!match || port > 65_535) {
    throw new TypeError(
      `option ${option} is "${escapeName(text)}": must be drpc://host:port, drpcs://host:port or drpc+unix:/path`,
    );
  }
  return { host: match[2] ?? match[3], port, isTls: match[1] === 'drpcs' };
}

/**
 * The path of a unix socket, which the system cuts without a word where it is too long: whoever is at the shorter path
 * would be served in its place.
 * @throws RangeError naming the option, the path and how long it may be.
 */
export function checkedSocketPath(option: string, path: string): string {
  const size = Buffer.byteLength(path);
  if (process.platform === 'win32' || size <= MAX_SOCKET_PATH) return path;
  throw new RangeError(
    `option ${option} is "${escapeName(path)}", of ${size} bytes: the path of a unix socket has at most ${MAX_SOCKET_PATH}`,
  );
}

function decoded(option: string, path: string, url: string): string {
  try {
    return decodeURIComponent(path);
  } catch (cause) {
    throw new TypeError(
      `option ${option} is "${escapeName(url)}": what stands behind each % must be two hexadecimal digits of UTF-8`,
      { cause },
    );
  }
}
