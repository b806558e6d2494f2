import { X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { isUint8Array } from 'node:util/types';
import { objectOption } from './options.js';

/** What the content of every PEM file has in it. */
const PEM_MARK = '-----BEGIN ';

/** The settings that are contents of PEM files, or arrays of them. */
const PEM_SETTINGS = ['cert', 'key', 'ca'] as const;

/**
 * The settings of TLS, tried: certificates and keys that can not be read are found here, not by the first connection.
 * @throws TypeError naming the setting that is wrong, with what OpenSSL says of it.
 */
export function tlsOption<T extends SecureContextOptions>(name: string, value: T | undefined): T | undefined {
  const tls = objectOption(name, value);
  if (tls === undefined || 'secureContext' in tls) return tls;
  for (const setting of PEM_SETTINGS) {
    for (const each of [tls[setting]].flat()) assertPem(`${name}.${setting}`, each);
  }
  assertPair(name, tls);
  for (const each of [tls.ca].flat()) assertAuthority(`${name}.ca`, each);
  const cause = faultOf(tls);
  if (cause) throw unusable(`${name}${settingOf(tls)}`, cause);
  return tls;
}

/** Node takes a path for a file without certificates: as `ca` it would trust nobody, and say nothing. */
function assertPem(name: string, value: unknown): void {
  const content: unknown = hasPem(value) ? value.pem : value;
  // What is neither is refused by Node.
  if (typeof content !== 'string' && !isUint8Array(content)) return;
  const bytes = Buffer.from(content);
  if (bytes.includes(PEM_MARK)) return;
  // Without the value, which may be a key.
  throw new TypeError(
    `option ${name} has no "${PEM_MARK}…" in its ${bytes.length} bytes: must be the content of a PEM file, not its path`,
  );
}

/** A key with a passphrase of its own. */
function hasPem(value: unknown): value is { pem: unknown } {
  return typeof value === 'object' && value !== null && 'pem' in value;
}

/** Node leaves out half a pair: a server would have no certificate, and a client would show none. */
function assertPair(name: string, { cert, key, pfx, privateKeyIdentifier }: SecureContextOptions): void {
  if (pfx !== undefined || privateKeyIdentifier !== undefined || (cert == null) === (key == null)) return;
  const [given, missing] = cert == null ? ['key', 'cert'] : ['cert', 'key'];
  throw new TypeError(`option ${name} has ${given} without ${missing}: must have both`);
}

/** Node takes no notice of an authority that it can not read. */
function assertAuthority(name: string, ca: string | Buffer | undefined): void {
  if (ca == null) return;
  try {
    new X509Certificate(ca);
  } catch (cause) {
    throw unusable(name, cause);
  }
}

function faultOf(tls: SecureContextOptions): unknown {
  try {
    createSecureContext(tls);
    return undefined;
  } catch (error) {
    return error;
  }
}

/** Which of the settings is wrong by itself. */
function settingOf({ cert, key, passphrase }: SecureContextOptions): '.cert' | '.key' | '' {
  if (faultOf({ cert })) return '.cert';
  return faultOf({ key, passphrase }) ? '.key' : '';
}

function unusable(name: string, cause: unknown): TypeError {
  const { reason, message, code } = cause as NodeJS.ErrnoException & { reason?: string };
  return new TypeError(
    `option ${name} can not be used, ${reason ?? message} (${code}): must be what tls.createSecureContext takes`,
    { cause },
  );
}
