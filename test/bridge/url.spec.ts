import { DrpcClient, DrpcServer } from 'nestjs-drpc';
import { describe, expect, it } from 'vitest';
import { checkedSocketPath, parseDrpcUrl } from '../../lib/bridge/url.js';

describe('parseDrpcUrl', () => {
  it.each([
    ['drpc://127.0.0.1:5000', { host: '127.0.0.1', port: 5000, isTls: false }],
    ['drpc://example.com', { host: 'example.com', port: 4000, isTls: false }],
    ['drpc://localhost:0', { host: 'localhost', port: 0, isTls: false }],
    ['drpc://localhost:65535/', { host: 'localhost', port: 65_535, isTls: false }],
    ['drpc://[::1]:5000', { host: '::1', port: 5000, isTls: false }],
    ['drpcs://example.com:443', { host: 'example.com', port: 443, isTls: true }],
    ['drpc+unix:/run/a.sock', { path: '/run/a.sock', isTls: false }],
    ['drpc+unix:///run/a.sock', { path: '/run/a.sock', isTls: false }],
    ['drpc+unix:/run/a%20b.sock', { path: '/run/a b.sock', isTls: false }],
  ])('reads %s', (url, address) => {
    expect(parseDrpcUrl('url', url)).toEqual(address);
  });

  it.each([
    '',
    '127.0.0.1:5000',
    'http://localhost:5000',
    'drpc:localhost:5000',
    'drpc://',
    'drpc://:5000',
    'drpc://localhost:65536',
    'drpc://localhost:port',
    'drpc://user@localhost:5000',
    'drpc://localhost:5000/path',
    'drpc://localhost:5000?x=1',
    'drpc://::1:5000',
    'drpc+unix:relative.sock',
    'drpcs+unix:/run/a.sock',
  ])('refuses %j and says what there is', (url) => {
    expect(() => parseDrpcUrl('urls[1]', url)).toThrow(
      new TypeError(
        `option urls[1] is "${url}": must be drpc://host:port, drpcs://host:port or drpc+unix:/path`,
      ),
    );
  });

  it('refuses what cannot be decoded', () => {
    expect(() => parseDrpcUrl('url', 'drpc+unix:/run/a%zz')).toThrow(
      new TypeError(
        'option url is "drpc+unix:/run/a%zz": what stands behind each % must be two hexadecimal digits of UTF-8',
      ),
    );
  });
});

describe('checkedSocketPath', () => {
  const most = process.platform === 'linux' ? 107 : 103;

  it('takes as many bytes as a socket has', () => {
    const path = `/${'x'.repeat(most - 1)}`;
    expect(checkedSocketPath('path', path)).toBe(path);
  });

  it.each([
    ['letters', `/${'x'.repeat(most)}`, most + 1],
    ['bytes, not letters', `/${'é'.repeat(60)}`, 121],
  ])('refuses a longer one, which the system would cut: %s', (_, path, size) => {
    const rule = `of ${size} bytes: the path of a unix socket has at most ${most}`;
    expect(() => checkedSocketPath('path', path)).toThrow(rule);
    expect(() => parseDrpcUrl('url', `drpc+unix:${path}`)).toThrow(rule);
    expect(() => new DrpcServer({ path })).toThrow(rule);
    expect(() => new DrpcClient({ path })).toThrow(rule);
  });
});
