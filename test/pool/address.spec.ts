import { describe, expect, it } from 'vitest';
import { checkedLookup, formatAddress, isNamed, spread, type Address } from '../../lib/pool/address.js';

const tcp = (host: string): Address => ({ kind: 'tcp', host, port: 4000, path: '' });
const v4 = (address: string) => ({ address, family: 4 });
const v6 = (address: string) => ({ address, family: 6 });

describe('formatAddress', () => {
  it.each<[Address, string]>([
    [tcp('127.0.0.1'), 'drpc://127.0.0.1:4000'],
    [tcp('::1'), 'drpc://[::1]:4000'],
    [{ kind: 'tls', host: 'example.test', port: 1, path: '' }, 'drpcs://example.test:1'],
    [{ kind: 'unix', host: '', port: 0, path: '/run/x.sock' }, 'drpc+unix:/run/x.sock'],
    [{ kind: 'custom', host: '', port: 0, path: '' }, 'dial()'],
  ])('shows %j as %s', (address, text) => {
    expect(formatAddress(address)).toBe(text);
  });
});

describe('isNamed', () => {
  it.each<[Address, boolean]>([
    [tcp('localhost'), true],
    [{ kind: 'tls', host: 'example.test', port: 1, path: '' }, true],
    [tcp('127.0.0.1'), false],
    [tcp('::1'), false],
    [{ kind: 'unix', host: '', port: 0, path: '/run/x.sock' }, false],
    [{ kind: 'custom', host: '', port: 0, path: '' }, false],
  ])('of %j is %s', (address, named) => {
    expect(isNamed(address)).toBe(named);
  });
});

describe('checkedLookup', () => {
  it('gives the addresses, each once, in their order', () => {
    const found = [v4('10.0.0.2'), v6('::1'), v4('10.0.0.1'), v4('10.0.0.2')];
    expect(checkedLookup(found)).toEqual([v4('10.0.0.2'), v6('::1'), v4('10.0.0.1')]);
  });

  it('lets an empty answer be one', () => {
    expect(checkedLookup([])).toEqual([]);
  });

  const rule = 'it must be an array of objects with address and family';
  it.each<[unknown, string]>([
    [undefined, 'undefined'],
    [null, 'null'],
    ['10.0.0.1', 'a string'],
    [v4('10.0.0.1'), 'an Object'],
  ])('refuses %j', (found, shown) => {
    expect(() => checkedLookup(found)).toThrow(
      new TypeError(`option lookup resolved with ${shown}: ${rule}`),
    );
  });

  it.each<[unknown]>([
    [null],
    ['10.0.0.1'],
    [{}],
    [v4('service.test')],
    [v4('')],
    [v6('::1%\n')],
    [v6('10.0.0.1')],
    [{ address: '10.0.0.1', family: 'IPv4' }],
    [{ address: 'x', family: 0 }],
    [{ address: ['10.0.0.1'], family: 4 }],
  ])('leaves %j out, and refuses an answer of nothing else', (wrong) => {
    expect(checkedLookup([wrong, v4('10.0.0.1')])).toEqual([v4('10.0.0.1')]);
    expect(() => checkedLookup([wrong])).toThrow(
      new TypeError(`option lookup resolved with an array without an IP address: ${rule}`),
    );
  });
});

describe('spread', () => {
  const service = tcp('service.test');

  it('leaves a name with one address as it is', () => {
    const found = [v4('10.0.0.1')];
    expect(spread(service, found)).toEqual([{ ...service, found }]);
  });

  it('leaves one host with an address of each family to Node', () => {
    const found = [v6('::1'), v4('127.0.0.1')];
    expect(spread(service, found)).toEqual([{ ...service, found }]);
  });

  it('makes a server of each address, which keeps the name for its certificate', () => {
    expect(spread(service, [v4('10.0.0.1'), v4('10.0.0.2')])).toEqual([
      { ...service, host: '10.0.0.1', name: 'service.test', found: [v4('10.0.0.1')] },
      { ...service, host: '10.0.0.2', name: 'service.test', found: [v4('10.0.0.2')] },
    ]);
  });

  it('gives each server one of the other family to fall back on, in turn', () => {
    const fallbacks = (found: Parameters<typeof spread>[1]) =>
      spread(service, found).map((server) => server.found!.map(({ address }) => address));
    expect(fallbacks([v6('fd00::1'), v6('fd00::2'), v6('fd00::3'), v4('10.0.0.1'), v4('10.0.0.2')])).toEqual([
      ['fd00::1', '10.0.0.1'],
      ['fd00::2', '10.0.0.2'],
      ['fd00::3', '10.0.0.1'],
    ]);
  });

  it('takes the family with more addresses, the first of equals', () => {
    const hosts = (found: Parameters<typeof spread>[1]) => spread(service, found).map(({ host }) => host);
    expect(hosts([v6('fd00::1'), v4('10.0.0.1'), v4('10.0.0.2')])).toEqual(['10.0.0.1', '10.0.0.2']);
    expect(hosts([v6('fd00::1'), v6('fd00::2'), v4('10.0.0.1'), v4('10.0.0.2')])).toEqual([
      'fd00::1',
      'fd00::2',
    ]);
  });
});
