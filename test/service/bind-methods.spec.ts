import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import { bindMethods, type MethodRef } from '../../lib/service/bind-methods.js';
import type { ServiceOptions } from '../../lib/service/service-options.js';
import { Greeter } from '../fixtures/gen/greeter_pb.js';
import { greeterProto } from './helpers/goldens.js';

const file = (name: string): string => fileURLToPath(new URL(`./protos/${name}`, import.meta.url));
const oneGreeter: ServiceOptions = { protoPath: greeterProto, package: 'interop.v1' };
const twoGreeters: ServiceOptions = {
  protoPath: [file('names.proto'), file('more-names.proto')],
  package: ['names.one', 'names.two'],
};
const sameLetters: ServiceOptions = { protoPath: file('same-letters.proto') };
const oddNames: ServiceOptions = {
  protoPath: 'names.proto',
  package: 'odd.v1',
  loader: { includeDirs: [file('odd')] },
};

/** The rpcs that handlers serve; a handler is a text here. */
async function bind(
  refs: readonly (readonly [MethodRef, string])[],
  options: ServiceOptions,
): Promise<object> {
  const bound = await bindMethods(refs, options);
  return Object.fromEntries(bound.map(({ method, handler }) => [method.rpc, handler]));
}

describe('bindMethods', () => {
  it.each([
    ['without its package', 'Greeter'],
    ['with its package', 'interop.v1.Greeter'],
  ])('finds a method by the name of its service %s', async (_what, service) => {
    expect(await bind([[{ service, method: 'Chat' }, 'handler']], oneGreeter)).toEqual({
      '/interop.v1.Greeter/Chat': 'handler',
    });
  });

  it.each([
    ['chat', 'Greeter', 'interop.v1.Greeter/Chat', oneGreeter],
    ['greet', 'names.one.Greeter', 'names.one.Greeter/Greet', twoGreeters],
    ['part', 'names.one.Greeter', 'names.one.Greeter/part', twoGreeters],
    ['Part', 'names.one.Greeter', 'names.one.Greeter/part', twoGreeters],
    ['find_part', 'Names', 'odd.v1.Names/find_part', oddNames],
    ['findPart', 'Names', 'odd.v1.Names/find_part', oddNames],
    ['FindPart', 'Names', 'odd.v1.Names/find_part', oddNames],
    ['List', 'Letters', 'letters.Letters/List', sameLetters],
    ['list', 'Letters', 'letters.Letters/list', sameLetters],
  ])(
    'takes the name %s of a method as the file or JavaScript has it',
    async (method, service, rpc, options) => {
      const bound = await bind([[{ service, method }, 'handler']], options);
      expect(bound).toEqual({ [`/${rpc}`]: 'handler' });
    },
  );

  it('finds a method of a service of protoc-gen-es by its name', async () => {
    const bound = await bind([[{ service: 'Greeter', method: 'Chat' }, 'handler']], { services: [Greeter] });
    expect(bound).toEqual({ '/interop.v1.Greeter/Chat': 'handler' });
  });

  it('needs no options for a method of protoc-gen-es', async () => {
    expect(await bind([[Greeter.method.chat, 'handler']], {})).toEqual({
      '/interop.v1.Greeter/Chat': 'handler',
    });
  });

  it('gives the definition with it', async () => {
    const [bound] = await bindMethods([[Greeter.method.chat, 'handler']], {});
    expect(bound?.method).toMatchObject({ requestStream: true, serverEncoding: { name: 'protobuf' } });
  });

  it('serves all services of a name', async () => {
    expect(await bind([[{ service: 'Greeter', method: 'Greet' }, 'both']], twoGreeters)).toEqual({
      '/names.one.Greeter/Greet': 'both',
      '/names.two.Greeter/Greet': 'both',
    });
  });

  it.each(['first', 'last'])(
    'prefers a handler that names the service in full and stands %s',
    async (place) => {
      const refs: [MethodRef, string][] = [
        [{ service: 'names.two.Greeter', method: 'Greet' }, 'two'],
        [{ service: 'Greeter', method: 'Greet' }, 'others'],
      ];
      if (place === 'last') refs.reverse();
      expect(await bind(refs, twoGreeters)).toEqual({
        '/names.one.Greeter/Greet': 'others',
        '/names.two.Greeter/Greet': 'two',
      });
    },
  );

  it('binds nothing without handlers', async () => {
    expect(await bind([], {})).toEqual({});
  });

  it.each<[string, MethodRef, ServiceOptions, string]>([
    [
      'names the services there are',
      { service: 'Greter', method: 'Chat' },
      oneGreeter,
      'no definition of the method "Chat" of service "Greter": the loaded services are interop.v1.Greeter',
    ],
    [
      'names the methods there are',
      { service: 'Greeter', method: 'chats' },
      oneGreeter,
      'no definition of the method "chats" of service "Greeter": the loaded methods are SayHello, ListHellos, CollectHellos, Chat, EchoAll, Fail, Ping',
    ],
    [
      'says that there are none',
      { service: 'Empty', method: 'Find' },
      sameLetters,
      'no definition of the method "Find" of service "Empty": the loaded methods are none',
    ],
    [
      'says which options there are',
      { service: 'Greeter', method: 'Chat' },
      {},
      'no definition of the method "Chat" of service "Greeter": set package and protoPath, or services, in the options of the server',
    ],
  ])('refuses a method without a definition and %s', async (_what, ref, options, message) => {
    await expect(bind([[ref, 'handler']], options)).rejects.toThrow(message);
  });

  it.each<[string, MethodRef, MethodRef]>([
    ['by short names', { service: 'Greeter', method: 'Chat' }, { service: 'Greeter', method: 'Chat' }],
    ['by full names', { service: 'interop.v1.Greeter', method: 'Chat' }, Greeter.method.chat],
    ['by descriptors', Greeter.method.chat, Greeter.method.chat],
    ['by both names', { service: 'Greeter', method: 'Chat' }, { service: 'Greeter', method: 'chat' }],
  ])('refuses two handlers for one rpc, %s', async (_what, first, second) => {
    const refs: [MethodRef, string][] = [
      [first, 'a'],
      [second, 'b'],
    ];
    await expect(bind(refs, oneGreeter)).rejects.toThrow(
      'rpc /interop.v1.Greeter/Chat has two handlers: it takes one',
    );
  });

  it('loads what the options name although no handler asks for it', async () => {
    await expect(bind([], { protoPath: 'no/such.proto' })).rejects.toThrow('no/such.proto');
  });
});
