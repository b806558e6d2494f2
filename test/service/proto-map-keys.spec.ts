import { loadSync } from '@grpc/proto-loader';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import type { MethodDefinition } from '../../lib/service/service-definition.js';
import { loadProtoServices } from '../../lib/service/proto-loader.js';
import { ProtoMapKeys, type ProtoType } from '../../lib/service/proto-map-keys.js';
import { hexOf } from './helpers/goldens.js';

const file = (name: string): string => fileURLToPath(new URL(`./protos/${name}`, import.meta.url));
const protoPath = [file('map-keys.proto'), file('same-names.proto')];

function methodOf(rpc: string, loader = {}): MethodDefinition {
  const methods = loadProtoServices({ protoPath, loader }).flatMap((service) => service.methods);
  return methods.find((method) => method.rpc === rpc)!;
}

function roundTrip(rpc: string, value: unknown, loader = {}): unknown {
  const { clientEncoding, serverEncoding } = methodOf(rpc, loader);
  return serverEncoding.unmarshal(Buffer.from(hexOf(clientEncoding.marshal(value)), 'hex'));
}

describe('maps of @grpc/proto-loader', () => {
  it.each([
    ['byInt64', { '-9223372036854775808': 'min', '9223372036854775807': 'max', '0': 'zero' }],
    ['byUint64', { '18446744073709551615': 'max', '7': 'seven' }],
    ['byFixed64', { '18446744073709551615': 'max' }],
    ['bySfixed64', { '-1': 'minus' }],
    ['byInt32', { '-1': 'minus' }],
  ])('have decimal numbers as keys: %s', (name, map) => {
    expect(roundTrip('/keys.Keys/Send', { [name]: map })).toEqual({ [name]: map });
  });

  it.each([
    ['byInt64', '0a03120176'],
    ['byUint64', '1203120176'],
    ['byFixed64', '1a03120176'],
    ['bySfixed64', '2203120176'],
  ])('have the key 0 where it was left out: %s', (name, hex) => {
    const { serverEncoding } = methodOf('/keys.Keys/Send');
    expect(serverEncoding.unmarshal(Buffer.from(hex, 'hex'))).toEqual({ [name]: { '0': 'v' } });
  });

  it('have true and false as keys', () => {
    const value = { flags: { a: { names: { true: 'yes', false: 'no' }, title: 't' } } };
    expect(roundTrip('/keys.Keys/Send', value)).toEqual(value);
  });

  it('are right inside of messages, lists and maps', () => {
    const flags = { names: { false: 'no' } };
    const inner = { bySint64: { '-5': flags }, more: [{ bySint64: { '9007199254740993': flags } }, {}] };
    expect(roundTrip('/keys.Keys/Send', { inner })).toEqual({ inner });
    expect(roundTrip('/keys.Keys/SendInner', inner)).toEqual(inner);
  });

  it('are right where fields keep their names', () => {
    const value = { by_int64: { '-1': 'minus' } };
    expect(roundTrip('/keys.Keys/Send', value, { keepCase: true })).toEqual(value);
  });

  it('are told from those of another type of the same name', () => {
    expect(roundTrip('/others.Others/Send', { byInt64: { '12345678': 'text' } })).toEqual({
      byInt64: { '12345678': 'text' },
    });
  });

  it('are not changed in the value that is sent', () => {
    const value = Object.freeze({ names: Object.freeze({ false: 'no' }) });
    const { serverEncoding } = methodOf('/keys.Keys/SendInner');
    expect(hexOf(serverEncoding.marshal(value))).toBe('0a06080012026e6f');
    expect(value.names).toEqual({ false: 'no' });
  });

  it('bring other fields and unset maps along as they are', () => {
    expect(roundTrip('/keys.Keys/Send', { numbers: { a: 1 } }, { longs: Number })).toEqual({
      numbers: { a: 1 },
    });
    expect(roundTrip('/keys.Keys/Send', { byInt64: null, inner: null, numbers: undefined })).toEqual({});
  });

  it('cost messages nothing that have no such keys', () => {
    const types = Object.entries(loadSync(protoPath)) as unknown as [string, { type?: ProtoType }][];
    const messages = types.flatMap(([name, { type }]): [string, ProtoType][] => (type ? [[name, type]] : []));
    const keys = new ProtoMapKeys(messages);
    const needsRepair = messages.filter(([, type]) => keys.repairsOf(type) !== undefined);
    expect(needsRepair.map(([name]) => name)).toEqual(['keys.Flags', 'keys.Request']);
  });
});
