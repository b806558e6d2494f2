import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { tlsOption } from '../../lib/bridge/tls-option.js';

const pem = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}`, import.meta.url), 'utf8');
const ca = pem('ca.crt');
const cert = pem('server.crt');
const key = pem('server.key');
const lockedKey = createPrivateKey(key).export({
  type: 'pkcs8',
  format: 'pem',
  cipher: 'aes-256-cbc',
  passphrase: 'secret',
});
const otherKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
  type: 'pkcs8',
  format: 'pem',
});
const GARBLED = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n';

describe('tlsOption', () => {
  it.each<[string, SecureContextOptions]>([
    ['nothing', {}],
    ['a pair', { cert, key }],
    ['bytes', { cert: Buffer.from(cert), key: Buffer.from(key), ca: Buffer.from(ca) }],
    ['arrays', { cert: [cert], key: [key], ca: [ca, Buffer.from(cert)] }],
    ['a key with a passphrase', { cert, key: lockedKey, passphrase: 'secret' }],
    ['keys with passphrases of their own', { cert, key: [{ pem: lockedKey, passphrase: 'secret' }] }],
    ['several authorities with comments in one text', { ca: `Authority A\n${ca}\nAuthority B\n${cert}` }],
    ['undefined', { cert: undefined, key: undefined, ca: undefined }],
    ['null, as Node does', { cert: null, key: null, ca: null } as unknown as SecureContextOptions],
    ['a context that is made already', { secureContext: createSecureContext({}) } as SecureContextOptions],
  ])('takes %s', (_what, tls) => {
    expect(tlsOption('tls', tls)).toBe(tls);
  });

  it.each<[string, string, SecureContextOptions]>([
    ['cert', 'a path', { cert: '/etc/tls.crt', key }],
    ['key', 'a path', { cert, key: '/etc/tls.key' }],
    ['ca', 'a path', { ca: './ca.crt' }],
    ['ca', 'one of several paths', { ca: [ca, './ca.crt'] }],
    ['ca', 'DER', { ca: Buffer.from([0x30, 0x82]) }],
    ['cert', 'an empty text', { cert: '', key }],
    ['key', 'with a passphrase of its own', { cert, key: [{ pem: './tls.key', passphrase: 'secret' }] }],
  ])('refuses a %s that is no PEM: %s', (setting, _what, tls) => {
    expect(() => tlsOption('tls', tls)).toThrow(
      new RegExp(
        `^option tls\\.${setting} has no "-----BEGIN …" in its \\d+ bytes: must be the content of a PEM file, not its path$`,
      ),
    );
  });

  it('does not show what may be a key', () => {
    expect(() => tlsOption('tls', { cert, key: 'MIIEvQIBADANBg' })).not.toThrow(/MIIEvQ/);
  });

  it.each<[string, SecureContextOptions]>([
    ['cert without key', { cert }],
    ['cert without key', { cert, key: undefined }],
    ['key without cert', { key }],
  ])('refuses half a pair, which Node would leave out: %s', (half, tls) => {
    expect(() => tlsOption('tls', tls)).toThrow(`option tls has ${half}: must have both`);
  });

  it.each<[string, string, SecureContextOptions]>([
    ['.ca', 'a garbled one', { ca: GARBLED }],
    ['.ca', 'a key', { ca: key }],
    ['.cert', 'a garbled one', { cert: GARBLED, key }],
    ['.cert', 'a key', { cert: key, key }],
    ['.key', 'a certificate', { cert, key: cert }],
    ['.key', 'a wrong passphrase', { cert, key: lockedKey, passphrase: 'wrong' }],
    ['', 'the key of another certificate', { cert, key: otherKey }],
  ])('names what can not be used, with what OpenSSL says: tls%s, %s', (setting, _what, tls) => {
    const make = () => tlsOption('tls', tls);
    expect(make).toThrow(TypeError);
    expect(make).toThrow(
      new RegExp(
        `^option tls${setting} can not be used, [^,]+ \\(ERR_\\w+\\): must be what tls.createSecureContext takes$`,
      ),
    );
  });
});
