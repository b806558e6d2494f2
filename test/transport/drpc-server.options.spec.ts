import { describe, expect, it } from 'vitest';
import { DrpcServer, jsonEncoding, type DrpcServerOptions } from 'nestjs-drpc';
import {
  resolveServerOptions,
  SERVER_LIMITS,
  SERVER_OPTIONS,
} from '../../lib/transport/drpc-server.options.js';
import { CONNECTION_LIMITS } from '../../lib/bridge/connection-limits.js';
import { pem } from './helpers/test-service.js';

const TLS = { cert: pem('server.crt'), key: pem('server.key') };

const LISTENER = {
  listen: async () => undefined,
  address: () => null,
  stop: () => undefined,
  close: async () => undefined,
};

describe('resolveServerOptions', () => {
  it('has the defaults of the product', () => {
    expect(resolveServerOptions({})).toMatchObject({
      address: { host: '127.0.0.1', port: 4000 },
      gracePeriod: 10_000,
      plainClients: 'storj',
      preamble: 'accept',
      strictTransport: false,
      forwardErrors: false,
      encodings: {},
      maxConnections: Infinity,
      maxStreams: 1000,
      maxHandlers: 10_000,
      maxServerReceivedBytes: 512 * 1024 * 1024,
      maxServerQueuedBytes: 1024 * 1024 * 1024,
      maxPatternLength: 4096,
      tlsHandshakeTimeout: 10_000,
    });
  });

  it('takes an explicit undefined for the default, whatever the option', () => {
    const explicit = Object.fromEntries(SERVER_OPTIONS.map((name) => [name, undefined]));
    expect(resolveServerOptions(explicit)).toEqual(resolveServerOptions({}));
  });

  it.each<[DrpcServerOptions, unknown]>([
    [{ port: 0 }, { host: '127.0.0.1', port: 0 }],
    [{ host: '0.0.0.0' }, { host: '0.0.0.0', port: 4000 }],
    [
      { host: '::1', port: 5 },
      { host: '::1', port: 5 },
    ],
    [{ url: 'drpc://example.com:5000' }, { host: 'example.com', port: 5000 }],
    [
      { url: 'drpcs://example.com:5000', tls: TLS },
      { host: 'example.com', port: 5000 },
    ],
    [{ url: 'drpc+unix:/run/a.sock' }, { path: '/run/a.sock' }],
    [{ path: '/run/a.sock' }, { path: '/run/a.sock' }],
  ])('listens for %j at %j', (options, address) => {
    expect(resolveServerOptions(options).address).toEqual(address);
  });

  it('finds encodings by name, and takes own ones', () => {
    const own = { name: 'own', marshal: String, unmarshal: String };
    expect(resolveServerOptions({ encodings: { a: 'json', b: own } }).encodings).toEqual({
      a: jsonEncoding,
      b: own,
    });
  });

  it.each<[what: unknown, message: string]>([
    [{ url: 5 }, 'option url is 5: must be text that is not empty'],
    [{ url: '' }, 'option url is "": must be text that is not empty'],
    [
      { url: 'http://x' },
      'option url is "http://x": must be drpc://host:port, drpcs://host:port or drpc+unix:/path',
    ],
    [
      { url: 'drpcs://localhost' },
      'option url is "drpcs://localhost" without option tls: a TLS server needs a certificate and its key',
    ],
    [
      { url: 'drpc://localhost', tls: {} },
      'option url is "drpc://localhost" with option tls: must be drpcs://host:port then',
    ],
    [{ url: 'drpc://localhost', port: 5 }, 'options url and port both say where to listen: give one of them'],
    [{ path: '/a', host: 'b' }, 'options host and path both say where to listen: give one of them'],
    [{ listener: LISTENER, port: 0 }, 'options port and listener both say where to listen: give one of them'],
    [{ port: -1 }, 'option port is -1: must be a whole number from 0 to 65535'],
    [{ port: 65_536 }, 'option port is 65536: must be a whole number from 0 to 65535'],
    [{ port: '5000' }, 'option port is "5000": must be a number, a whole number from 0 to 65535'],
    [{ maxPatternLength: 27 }, 'option maxPatternLength is 27: must be a whole number from 28 to 4096'],
    [{ tls: 'yes' }, 'option tls is "yes": must be an object'],
    [
      { tls: {} },
      'option tls says nothing of a certificate: must have cert and key, pfx, SNICallback or pskCallback',
    ],
    [
      { tls: { cert: 'none', key: 'none' } },
      'option tls.cert has no "-----BEGIN …" in its 4 bytes: must be the content of a PEM file, not its path',
    ],
    [{ tls: { cert: TLS.cert } }, 'option tls has cert without key: must have both'],
    [
      { url: 'drpc+unix:/a', tls: TLS },
      'option url is "drpc+unix:/a" with option tls: must be drpcs://host:port then',
    ],
    [{ path: '/a', tls: TLS }, 'options path and tls exclude each other: TLS is for drpcs://, host and port'],
    [
      { listener: LISTENER, tls: TLS },
      'options listener and tls exclude each other: TLS is for drpcs://, host and port',
    ],
    [null, 'the options are null: must be an object'],
    ['drpc://a', 'the options are "drpc://a": must be an object'],
    [5, 'the options are 5: must be an object'],
    [[], 'the options are an Array: must be an object'],
    [{ listener: {} }, 'option listener has no method listen: must be a DrpcListener'],
    [
      { listener: { listen: () => undefined } },
      'option listener has no method address: must be a DrpcListener',
    ],
    [
      { plainClients: 'grpc' },
      `option plainClients is "grpc": must be 'storj' or 'cockroach' or 'cockroach-fc'`,
    ],
    [{ preamble: true }, `option preamble is true: must be 'accept' or 'require' or 'off' or 'beforeTls'`],
    [{ preamble: 'beforeTls' }, `option preamble is 'beforeTls': must be with tls only`],
    [{ strictTransport: 1 }, 'option strictTransport is 1: must be true or false'],
    [{ forwardErrors: 'no' }, 'option forwardErrors is "no": must be true or false'],
    [{ encodings: 'json' }, 'option encodings is "json": must be an object'],
    [{ encodings: [] }, 'option encodings is an Array: must be an object'],
    [{ tls: [] }, 'option tls is an Array: must be an object'],
    [
      { encodings: { a: 'xml' } },
      `option encodings of "a" is "xml": must be 'json', 'bytes' or an Encoding (name, marshal, unmarshal)`,
    ],
  ])('refuses %j', (options, message) => {
    const make = () => new DrpcServer(options as DrpcServerOptions);
    expect(make).toThrow(expect.objectContaining({ message }));
  });

  it('refuses an option that it does not know, and names those there are', () => {
    expect(() => new DrpcServer({ maxStream: 5 } as DrpcServerOptions)).toThrow(
      `option maxStream is not known, did you mean maxStreams? There are ${SERVER_OPTIONS.toSorted().join(', ')}`,
    );
  });

  it.each(Object.entries({ ...SERVER_LIMITS, ...CONNECTION_LIMITS }))(
    'takes the least %s and the greatest, and refuses what is beyond',
    (name, { min, max }) => {
      expect(resolveServerOptions({ [name]: min })).toHaveProperty(name, min);
      expect(resolveServerOptions({ [name]: max })).toHaveProperty(name, max);
      expect(() => resolveServerOptions({ [name]: min - 1 })).toThrow(RangeError);
      expect(() => resolveServerOptions({ [name]: 'x' as never })).toThrow(TypeError);
    },
  );
});
