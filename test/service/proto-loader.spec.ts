import { fromBinary, toJson, createRegistry, type JsonValue } from '@bufbuild/protobuf';
import { loadSync } from '@grpc/proto-loader';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import type { Encoding } from '../../lib/encoding/encoding.js';
import { loadProtoServices } from '../../lib/service/proto-loader.js';
import { hasProto, type ProtoLoaderOptions } from '../../lib/service/proto-options.js';
import { findServices } from '../../lib/service/service-definition.js';
import { AllTypesSchema, file_greeter } from '../fixtures/gen/greeter_pb.js';
import { golden, goldens, greeterProto, hexOf } from './helpers/goldens.js';

const registry = createRegistry(file_greeter);
const oddFolder = fileURLToPath(new URL('./protos/odd/', import.meta.url));
const namesProto = fileURLToPath(new URL('./protos/names.proto', import.meta.url));

/** As Nest's documentation and most applications have it. */
const USUAL: ProtoLoaderOptions = {
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
};

function allTypes(loader?: ProtoLoaderOptions): Encoding {
  const [greeter] = loadProtoServices({ protoPath: greeterProto, package: 'interop.v1', loader });
  return greeter!.methods.find(({ name }) => name === 'EchoAll')!.serverEncoding;
}

function read(name: string, loader?: ProtoLoaderOptions): unknown {
  return allTypes(loader).unmarshal(Buffer.from(golden(name).hex, 'hex'));
}

function json(message: Uint8Array | string): JsonValue {
  return toJson(AllTypesSchema, fromBinary(AllTypesSchema, Buffer.from(hexOf(message), 'hex')), { registry });
}

describe('loadProtoServices', () => {
  it('describes the methods of a service', () => {
    const [greeter, ...others] = loadProtoServices({ protoPath: greeterProto, package: 'interop.v1' });
    expect(others).toEqual([]);
    expect(greeter).toMatchObject({ name: 'interop.v1.Greeter', localName: 'Greeter' });
    const shapes = greeter!.methods.map(({ rpc, name, localName, requestStream, responseStream }) => [
      rpc,
      name,
      localName,
      requestStream,
      responseStream,
    ]);
    expect(shapes.slice(0, 4)).toEqual([
      ['/interop.v1.Greeter/SayHello', 'SayHello', 'sayHello', false, false],
      ['/interop.v1.Greeter/ListHellos', 'ListHellos', 'listHellos', false, true],
      ['/interop.v1.Greeter/CollectHellos', 'CollectHellos', 'collectHellos', true, false],
      ['/interop.v1.Greeter/Chat', 'Chat', 'chat', true, true],
    ]);
  });

  it.each([
    ['one package', 'names.one', ['names.one.Greeter']],
    ['several in their order', ['names.two', 'names.one'], ['names.two.Greeter', 'names.one.Greeter']],
    ['those inside a package', 'names', ['names.one.Greeter', 'names.two.Greeter']],
    ['all without a package', undefined, ['names.one.Greeter', 'names.two.Greeter']],
    ['all with an empty one', '', ['names.one.Greeter', 'names.two.Greeter']],
  ])('finds the services of %s', (_what, packages, names) => {
    const protoPath = [namesProto, namesProto.replace('names.proto', 'more-names.proto')];
    const services = loadProtoServices({ protoPath, package: packages });
    expect(services.map(({ name }) => name)).toEqual(names);
  });

  it.each([
    ['names.one', 'Greeter'],
    ['names', 'one.Greeter'],
    ['', 'names.one.Greeter'],
    [undefined, 'Greeter'],
  ])('names a service inside the package %s', (packageName, localName) => {
    const [service] = loadProtoServices({ protoPath: namesProto, package: packageName });
    expect(service).toMatchObject({ name: 'names.one.Greeter', localName });
  });

  it('takes what @grpc/proto-loader made', () => {
    const packageDefinition = loadSync(greeterProto);
    const [greeter] = loadProtoServices({ packageDefinition, package: 'interop.v1' });
    expect(greeter?.name).toBe('interop.v1.Greeter');
  });

  it('takes a package that has no services beside one that has', () => {
    const options = { protoPath: 'names.proto', loader: { includeDirs: [oddFolder] } };
    const services = loadProtoServices({ ...options, package: ['parts', 'odd.v1'] });
    expect(services.map(({ name }) => name)).toEqual(['odd.v1.Names']);
  });

  it('names the services there are when a package is not there', () => {
    expect(() =>
      loadProtoServices({ protoPath: greeterProto, package: ['interop.v1', 'interop.v2'] }),
    ).toThrow('package "interop.v2" is not in the .proto files: their services are interop.v1.Greeter');
  });

  it('does not take the beginning of a name for a package', () => {
    expect(() => loadProtoServices({ protoPath: greeterProto, package: 'interop.v' })).toThrow('is not in');
  });

  it('refuses files and their definition at once', () => {
    const packageDefinition = loadSync(greeterProto);
    expect(() => loadProtoServices({ protoPath: greeterProto, packageDefinition })).toThrow(TypeError);
  });

  it('says which file is missing', () => {
    expect(() => loadProtoServices({ protoPath: [greeterProto, 'no/such.proto'] })).toThrow(
      /^protoPath ".*greeter\.proto", "no\/such\.proto" can not be loaded: ENOENT.*'no\/such\.proto'$/,
    );
  });

  it.each([
    ['a type that is not there', 'unknown-type.proto', 'no such type: Missing'],
    ['an import that is not there', 'unknown-import.proto', 'nowhere.proto'],
    ['what is no .proto file', 'syntax.proto', "illegal name '='"],
  ])('says which file has %s', (_what, name, reason) => {
    const protoPath = namesProto.replace('names.proto', `broken/${name}`);
    const load = (): unknown => loadProtoServices({ protoPath });
    expect(load).toThrow(`protoPath "${protoPath}" can not be loaded: `);
    expect(load).toThrow(reason);
    expect(load).toThrow(expect.objectContaining({ cause: expect.any(Error) as Error }) as Error);
  });

  it('loads the services of a package once that is named twice', () => {
    const services = loadProtoServices({ protoPath: greeterProto, package: ['interop.v1', 'interop.v1'] });
    expect(services.map(({ name }) => name)).toEqual(['interop.v1.Greeter']);
  });
});

describe('hasProto', () => {
  it.each([
    [{}, false],
    [{ package: 'a' }, false],
    [{ protoPath: 'a.proto' }, true],
    [{ packageDefinition: {} }, true],
  ])('%o: %s', (options, expected) => {
    expect(hasProto(options)).toBe(expected);
  });
});

describe('findServices', () => {
  const protoPath = [namesProto, namesProto.replace('names.proto', 'more-names.proto')];
  const services = loadProtoServices({ protoPath });

  it.each([
    ['names.two.Greeter', ['names.two.Greeter']],
    ['Greeter', ['names.one.Greeter', 'names.two.Greeter']],
    ['two.Greeter', []],
    ['greeter', []],
  ])('%s means %o', (name, expected) => {
    expect(findServices(services, name).map((service) => service.name)).toEqual(expected);
  });
});

describe('the encoding of @grpc/proto-loader', () => {
  it('writes what the other side reads', () => {
    const [greeter] = loadProtoServices({ protoPath: greeterProto });
    const { serverEncoding, clientEncoding } = greeter!.methods[0]!;
    const request = clientEncoding.marshal({ name: 'Go' });
    expect(serverEncoding.unmarshal(request as Uint8Array)).toEqual({ name: 'Go' });
    const response = serverEncoding.marshal({ message: 'Hello', index: 1 });
    expect(clientEncoding.unmarshal(response as Uint8Array)).toEqual({ message: 'Hello', index: 1 });
  });

  // protobuf.js writes another NaN, and map entries in the order of their keys.
  it.each(goldens.filter(({ name }) => name !== 'not finite' && name !== 'maps'))(
    'reads and writes what Go writes: $name',
    ({ hex }) => {
      const encoding = allTypes();
      expect(hexOf(encoding.marshal(encoding.unmarshal(Buffer.from(hex, 'hex'))))).toBe(hex);
    },
  );

  it.each([
    ['as loaded by default', undefined],
    ['as loaded with the usual options', { ...USUAL, bytes: String, arrays: true, objects: true }],
  ] as const)('reads and writes maps and numbers that are not finite, %s', (_what, loader) => {
    const encoding = allTypes(loader);
    for (const name of ['maps', 'not finite']) {
      const { hex } = golden(name);
      const written = encoding.marshal(encoding.unmarshal(Buffer.from(hex, 'hex')));
      expect(json(written)).toMatchObject(golden(name).json);
    }
  });

  it('has 64-bit numbers as the loader is told', () => {
    expect(read('above 2^53', { longs: String })).toEqual({
      fInt64: '9007199254740993',
      fUint64: '9223372036854775809',
      fSint64: '-9007199254740993',
      fFixed64: '9007199254740993',
      fSfixed64: '-9007199254740993',
    });
    expect(read('oneof int64', { longs: Number })).toEqual({ cInt64: -(2 ** 63) });
    const { cInt64 } = read('oneof int64') as { cInt64: { toString(): string } };
    expect(cInt64.toString()).toBe('-9223372036854775808');
  });

  it('has enums as the loader is told, and numbers without a name as they are', () => {
    expect(read('unknown enum number')).toEqual({ fColor: 42, rColor: [1, 42] });
    expect(read('unknown enum number', { enums: String })).toEqual({ fColor: 42, rColor: ['COLOR_RED', 42] });
  });

  it('has oneofs, default values and names of fields as the loader is told', () => {
    expect(read('oneof string, empty')).toEqual({ cString: '' });
    expect(read('oneof string, empty', USUAL)).toMatchObject({
      choice: 'c_string',
      c_string: '',
      f_int64: '0',
      f_color: 'COLOR_UNSPECIFIED',
      f_nested: null,
      r_int32: [],
      m_string_int64: {},
    });
  });

  it('has bytes as the loader is told', () => {
    expect(read('oneof bytes')).toEqual({ cBytes: Buffer.of(1, 2, 3) });
    expect(read('oneof bytes', { bytes: String })).toEqual({ cBytes: 'AQID' });
  });

  it('has well-known types as messages', () => {
    expect(read('negative duration and a time before 1970', { longs: Number })).toEqual({
      wTimestamp: { seconds: -1, nanos: 500_000_000 },
      wDuration: { seconds: -1, nanos: -500_000_000 },
    });
    expect(read('wrappers with defaults')).toEqual({
      wDouble: {},
      wInt64: {},
      wBool: {},
      wString: {},
      wBytes: {},
    });
    expect(read('oneof Empty')).toEqual({ cEmpty: {} });
  });

  it.each([undefined, null])('takes %s for a message without fields', (value) => {
    expect(hexOf(allTypes().marshal(value))).toBe('');
  });

  it.each([
    ['an array', []],
    ['a wrong type', { rInt32: 5 }],
  ])('refuses %s', (_what, value) => {
    expect(() => allTypes().marshal(value)).toThrow(Error);
  });

  it.each([
    ['half a message', '7a05'],
    ['a wire type that cannot be', '0f'],
  ])('refuses %s', (_what, hex) => {
    expect(() => allTypes().unmarshal(Buffer.from(hex, 'hex'))).toThrow(Error);
  });

  it('keeps nothing of borrowed memory', () => {
    const borrowed = Buffer.from('00007a0301020300', 'hex');
    const message = allTypes().unmarshal(borrowed.subarray(2, 7)) as { fBytes: Uint8Array };
    borrowed.fill(0xff);
    expect(hexOf(message.fBytes)).toBe('010203');
  });

  it('does not copy what it may keep', () => {
    const owned = Buffer.from('7a03010203', 'hex');
    const { fBytes } = allTypes().unmarshalOwned!(owned) as { fBytes: Uint8Array };
    expect(fBytes.buffer).toBe(owned.buffer);
  });
});
