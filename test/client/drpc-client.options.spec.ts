import { DrpcClient, jsonEncoding, type DrpcClientOptions } from 'nestjs-drpc';
import { describe, expect, it } from 'vitest';
import { CONNECTION_LIMITS } from '../../lib/bridge/connection-limits.js';
import { CLIENT_LIMITS, CLIENT_OPTIONS, resolveClientOptions } from '../../lib/client/drpc-client.options.js';

const addresses = (options: DrpcClientOptions) => resolveClientOptions(options).pool.addresses;

describe('The options of a DrpcClient', () => {
  it('may be left out', () => {
    const { pool, timeout, metadata, encoding, interceptors } = resolveClientOptions({});
    expect(pool).toMatchObject({
      addresses: [{ kind: 'tcp', host: '127.0.0.1', port: 4000, path: '' }],
      peer: 'auto',
      preamble: false,
      failFast: true,
      balance: 'roundRobin',
      connections: 1,
      maxQueuedCalls: 1000,
      connectTimeout: 10_000,
      handshakeTimeout: 2000,
      lookupInterval: 0,
      reconnectDelay: 100,
      maxReconnectDelay: 10_000,
      maxStreamsPerConnection: Infinity,
      maxConnections: 100,
      idleTimeout: 60_000,
      streamWindow: 2 * 1024 * 1024,
    });
    expect(timeout).toBeUndefined();
    expect(metadata).toBeUndefined();
    expect(encoding).toBe(jsonEncoding);
    expect(interceptors).toEqual([]);
    expect(() => new DrpcClient()).not.toThrow();
  });

  it('are the same when they are explicitly undefined', () => {
    const nothing = Object.fromEntries(CLIENT_OPTIONS.map((name) => [name, undefined]));
    expect(resolveClientOptions(nothing)).toEqual(resolveClientOptions({}));
  });

  it.each<[DrpcClientOptions, object]>([
    [{ url: 'drpc://10.0.0.1:5000' }, { kind: 'tcp', host: '10.0.0.1', port: 5000, path: '' }],
    [{ url: 'drpc://service.test' }, { kind: 'tcp', host: 'service.test', port: 4000, path: '' }],
    [{ url: 'drpc://[::1]:5000' }, { kind: 'tcp', host: '::1', port: 5000, path: '' }],
    [{ url: 'drpcs://service.test:5000' }, { kind: 'tls', host: 'service.test', port: 5000, path: '' }],
    [
      { url: 'drpcs://a:1', tls: { rejectUnauthorized: false } },
      { kind: 'tls', host: 'a', port: 1, path: '' },
    ],
    [{ url: 'drpc+unix:/run/a.sock' }, { kind: 'unix', host: '', port: 0, path: '/run/a.sock' }],
    [{ host: 'service.test' }, { kind: 'tcp', host: 'service.test', port: 4000, path: '' }],
    [{ port: 5000 }, { kind: 'tcp', host: '127.0.0.1', port: 5000, path: '' }],
    [
      { host: 'a', port: 1, tls: {} },
      { kind: 'tls', host: 'a', port: 1, path: '' },
    ],
    [{ path: '/run/a.sock' }, { kind: 'unix', host: '', port: 0, path: '/run/a.sock' }],
    [{ dial: () => Promise.reject(new Error('no')) }, { kind: 'custom', host: '', port: 0, path: '' }],
  ])('say where the server is: %j', (options, address) => {
    expect(addresses(options)).toEqual([address]);
  });

  it('may name several servers', () => {
    expect(addresses({ urls: ['drpc://a:1', 'drpcs://b:2', 'drpc+unix:/c'] })).toEqual([
      { kind: 'tcp', host: 'a', port: 1, path: '' },
      { kind: 'tls', host: 'b', port: 2, path: '' },
      { kind: 'unix', host: '', port: 0, path: '/c' },
    ]);
  });

  it.each<[unknown, RegExp]>([
    [{ url: 'http://a:1' }, /^option url is "http:\/\/a:1": must be drpc:\/\/host:port/],
    [{ urls: ['drpc://a', 'b:4000'] }, /^option urls\[1\] is "b:4000": must be drpc:\/\/host:port/],
    [{ urls: ['drpc+unix:/%zz'] }, /^option urls\[0\] is .+: what stands behind each %/],
    [{ urls: ['drpc+unix:/' + 'x'.repeat(200)] }, /^option urls\[0\] is .+, of 201 bytes: the path of/],
    [{ url: 'drpc://a:0' }, /^option url is "drpc:\/\/a:0": port 0 can only be listened on$/],
    [{ url: '' }, /^option url is "": must be text/],
    [{ url: 5 }, /^option url is 5: must be text/],
    [{ url: 'drpc://a:1', port: 1 }, /^options url and host both say where the server is/],
    [{ url: 'drpc://a:1', urls: [] }, /^options url and urls both say/],
    [{ path: '/a', dial: () => undefined }, /^options path and dial both say/],
    [{ urls: [] }, /^option urls is empty: must be an array of at least one URL$/],
    [{ urls: 'drpc://a:1' }, /^option urls is a string: must be an array/],
    [{ urls: ['drpc://a:1', 7] }, /^option urls\[1\] is 7: must be text/],
    [{ url: 'drpc://a:1', tls: {} }, /^option url is "drpc:\/\/a:1" with option tls: must be drpcs:/],
    [{ host: 7 }, /^option host is 7: must be text/],
    [{ port: 0 }, /^option port is 0: must be a whole number from 1 to 65535$/],
    [{ port: '4000' }, /^option port is "4000": must be a number/],
    [{ path: '' }, /^option path is ""/],
    [{ tls: true }, /^option tls is true: must be an object$/],
    [{ tls: { key: 'x' } }, /^option tls.key has no "-----BEGIN …" in its 1 bytes: must be the content/],
    [{ path: '/a', tls: {} }, /^options path and tls exclude each other: TLS is for drpcs:/],
    [{ dial: () => undefined, tls: {} }, /^options dial and tls exclude each other/],
    [{ url: 'drpc+unix:/a', tls: {} }, /^option url is "drpc\+unix:\/a" with option tls: must be drpcs:/],
    [
      { urls: ['drpcs://a', 'drpc+unix:/a'], tls: {} },
      /^option urls\[1\] is .* with option tls: must be drpcs:/,
    ],
    [null, /^the options are null: must be an object$/],
    ['drpc://a', /^the options are "drpc:\/\/a": must be an object$/],
    [[], /^the options are an Array: must be an object$/],
    [{ encoding: null }, /^option encoding is null: must be 'json', 'bytes' or an Encoding/],
    [{ dial: 'x' }, /^option dial is a string: must be a function$/],
    [{ lookup: {} }, /^option lookup is an Object: must be a function$/],
    [{ peer: 'go' }, /^option peer is "go": must be 'auto' or 'storj' or 'cockroach' or 'cockroach-fc'$/],
    [{ preamble: 'accept' }, /^option preamble is "accept": must be true or false or 'beforeTls'$/],
    [{ preamble: 'beforeTls' }, /^option preamble is 'beforeTls': must be with drpcs:\/\/ or tls only$/],
    [
      { urls: ['drpcs://a', 'drpc://b'], preamble: 'beforeTls' },
      /^option preamble is 'beforeTls': must be with drpcs/,
    ],
    [{ failFast: 0 }, /^option failFast is 0: must be true or false$/],
    [{ balance: 'random' }, /^option balance is "random": must be 'roundRobin' or 'leastLoaded'$/],
    [{ metadata: { 'drpc-x': '1' } }, /reserved/],
    [{ metadata: new Map() }, /metadata is a Map: must be an object of strings/],
    [{ encoding: 'xml' }, /^option encoding is "xml": must be 'json', 'bytes' or an Encoding/],
    [{ encodings: { a: 'xml' } }, /^option encodings of "a" is "xml"/],
    [{ encodings: 'json' }, /^option encodings is "json": must be an object$/],
    [{ encodings: [] }, /^option encodings is an Array: must be an object$/],
    [{ encodings: new Map([['a', 'json']]) }, /^option encodings is a Map: must be an object$/],
    [{ interceptors: {} }, /^option interceptors is an Object: must be an array of functions$/],
    [{ interceptors: [() => undefined, 1] }, /^option interceptors\[1\] is a number: must be a function$/],
    [{ interceptors: [undefined] }, /^option interceptors\[0\] is undefined: must be a function$/],
    [{ clock: 1 }, /^option clock is 1: must be an object$/],
    [{ clock: {} }, /^option clock has no method now: must be a Clock$/],
    [
      { clock: { now: () => 0, after: () => 0, soon: () => 0 } },
      /^option clock has no method yield: must be a Clock$/,
    ],
    [{ tls: [] }, /^option tls is an Array: must be an object$/],
    [{ serializer: 1 }, /^option serializer is a number: must have a method serialize$/],
    [{ deserializer: {} }, /^option deserializer is an Object: must have a method deserialize$/],
    [{ failfast: true }, /^option failfast is not known, did you mean failFast\? There are balance, /],
  ])('are refused where they are wrong: %j', (options, message) => {
    expect(() => new DrpcClient(options as DrpcClientOptions)).toThrow(message);
  });

  const limits = Object.entries({ ...CLIENT_LIMITS, ...CONNECTION_LIMITS });

  it.each(limits)('hold %s to its bounds', (name, { min, max }) => {
    const accept = (value: unknown) => () => resolveClientOptions({ [name]: value });
    expect(accept(min)).not.toThrow();
    expect(accept(max)).not.toThrow();
    expect(accept(min - 1)).toThrow(new RegExp(`^option ${name} is ${min - 1}: must be `));
    expect(accept(min + 0.5)).toThrow(RangeError);
    expect(accept(NaN)).toThrow(RangeError);
    expect(accept(String(min))).toThrow(new RegExp(`^option ${name} is "${min}": must be a number`));
    expect(accept(null)).toThrow(TypeError);
  });

  it('take their metadata as it is at construction', () => {
    const metadata = { A: '1' };
    const resolved = resolveClientOptions({ metadata });
    metadata.A = '2';
    expect(resolved.metadata).toEqual({ a: '1' });
    expect(resolveClientOptions({ metadata: {} }).metadata).toBeUndefined();
  });
});
