import { isIP, isIPv6 } from 'node:net';
import { typeName } from '../errors/type-name.js';

/** Where a service is. */
export interface Address {
  readonly kind: 'tcp' | 'tls' | 'unix' | 'custom';
  /** Name or IP address, without brackets; empty where there is none. */
  readonly host: string;
  /** 0 where there is none. */
  readonly port: number;
  /** Of a unix socket, otherwise empty. */
  readonly path: string;
  /** The name that stood in place of `host` before it was resolved: the one in the server's certificate. */
  readonly name?: string;
  /** What the name was found to mean for this server: Node reaches it by the family that answers. */
  readonly found?: readonly LookupAddress[];
}

/** The URL of an address, for messages and logs. */
export function formatAddress({ kind, host, port, path }: Address): string {
  if (kind === 'unix') return `drpc+unix:${path}`;
  if (kind === 'custom') return 'dial()';
  return `${kind === 'tls' ? 'drpcs' : 'drpc'}://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** Whether a name has to be looked up before the address can be dialled. */
export function isNamed({ kind, host }: Address): boolean {
  return (kind === 'tcp' || kind === 'tls') && isIP(host) === 0;
}

/** What a look-up answers, as `dns.lookup` does. */
export interface LookupAddress {
  address: string;
  family: number;
}

/**
 * What a look-up answered, each address once. Whatever is none is left out: a function of the application may ask a
 * registry, and pass on what that has.
 * @throws TypeError where it is no array, or nothing in it is an address.
 */
export function checkedLookup(found: unknown): readonly LookupAddress[] {
  const rule = 'it must be an array of objects with address and family';
  if (!Array.isArray(found)) throw new TypeError(`option lookup resolved with ${typeName(found)}: ${rule}`);
  const byAddress = new Map(found.filter(isLookupAddress).map((each) => [each.address, each]));
  if (byAddress.size === 0 && found.length > 0) {
    throw new TypeError(`option lookup resolved with an array without an IP address: ${rule}`);
  }
  return [...byAddress.values()];
}

function isLookupAddress(value: unknown): value is LookupAddress {
  const { address, family } = (value ?? {}) as Partial<LookupAddress>;
  return typeof address === 'string' && family !== 0 && isIP(address) === family;
}

/**
 * The addresses behind a name that are servers of their own. A host with one address of each family is one
 * server, which Node reaches by the family that answers; more of a family are several, and each has one of the other
 * family to fall back on where its own can not be reached.
 */
export function spread(address: Address, found: readonly LookupAddress[]): Address[] {
  const first = found[0]?.family;
  const own = found.filter(({ family }) => family === first);
  const others = found.filter(({ family }) => family !== first);
  const [servers, fallbacks] = others.length > own.length ? [others, own] : [own, others];
  if (servers.length < 2) return [{ ...address, found }];
  return servers.map((server, i) => {
    const fallback = fallbacks[i % fallbacks.length];
    return {
      ...address,
      host: server.address,
      name: address.host,
      found: fallback ? [server, fallback] : [server],
    };
  });
}

/** Whether the server at `one` is that at `other`, as far as is known: one name, or one IP address. */
export function isSameServer(one: Address, other: Address): boolean {
  return one.host === other.host || ipOf(one) === ipOf(other);
}

function ipOf({ host, found }: Address): string {
  return found?.length === 1 ? found[0]!.address : host;
}
