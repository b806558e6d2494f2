import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { type InstalledPackage, PackedPackage } from '../package/packed-package.js';
import { greeterProto } from './helpers/goldens.js';

const PEERS = ['@nestjs', 'rxjs', 'reflect-metadata'];

/** Runs `body`, and answers with what it returns, or the message of what it throws. */
const program = (body: string): string => `
  require('reflect-metadata');
  const { DrpcClient, DrpcMethod, DrpcServer } = require('nestjs-drpc');
  const listen = (server) => new Promise((resolve, reject) => server.listen((error) => (error ? reject(error) : resolve())));
  const desc = { kind: 'rpc', name: 'SayHello', localName: 'sayHello', methodKind: 'unary' };
  const greeter = { kind: 'service', typeName: 'a.Greeter', name: 'Greeter', methods: [desc], method: { sayHello: desc } };
  desc.parent = greeter;
  (async () => { ${body} })()
    .then((value) => value, (error) => error.message)
    .then((value) => console.log(JSON.stringify(value)));
`;

describe('the package without the libraries of protobuf', () => {
  let packed: PackedPackage;
  let app: InstalledPackage;

  beforeAll(async () => {
    packed = await PackedPackage.make();
    app = await packed.install('app', PEERS);
  }, 180_000);

  afterAll(() => packed.remove());

  it('serves and calls everything else', async () => {
    const body = `
      const server = new DrpcServer({ port: 0 });
      server.addHandler('sum', async (numbers) => numbers.reduce((a, b) => a + b, 0));
      await listen(server);
      const client = new DrpcClient({ port: server.address().port });
      const sum = await client.call('sum', [1, 2, 3]);
      await client.close();
      await server.close();
      return sum;
    `;
    expect(await app.evaluate('others.cjs', program(body))).toBe(6);
  }, 60_000);

  const loaderNeeded =
    'the option protoPath needs the package @grpc/proto-loader, which is not installed: npm install @grpc/proto-loader';
  const protobufNeeded =
    'a service of protoc-gen-es needs the package @bufbuild/protobuf, which is not installed: npm install @bufbuild/protobuf';

  it.each([
    ['client-proto', `new DrpcClient({ protoPath: ${JSON.stringify(greeterProto)} });`, loaderNeeded],
    [
      'server-proto',
      `await listen(new DrpcServer({ port: 0, protoPath: ${JSON.stringify(greeterProto)} }));`,
      loaderNeeded,
    ],
    ['client-desc', 'await new DrpcClient().service(greeter).sayHello({});', protobufNeeded],
    [
      'client-desc-observable',
      "await require('rxjs').firstValueFrom(new DrpcClient().service(greeter, { as: 'observable' }).sayHello({}));",
      protobufNeeded,
    ],
    [
      'client-desc-iterable',
      "desc.methodKind = 'server_streaming'; for await (const _ of new DrpcClient().service(greeter).sayHello({}));",
      protobufNeeded,
    ],
    ['server-desc', 'await listen(new DrpcServer({ port: 0, services: [greeter] }));', protobufNeeded],
    [
      'server-method',
      "const server = new DrpcServer({ port: 0 }); class Handlers { ping() {} } const { ping } = Handlers.prototype; DrpcMethod(desc)(Handlers.prototype, 'ping', { value: ping }); server.addHandler('x', ping, false, Reflect.getMetadata('microservices:pattern_extras', ping)); await listen(server);",
      protobufNeeded,
    ],
  ])(
    'says what to install: %s',
    async (name, body, message) => {
      expect(await app.evaluate(`${name}.cjs`, program(body))).toBe(message);
    },
    60_000,
  );

  it('leaves alone who has a service and calls nothing of it', async () => {
    const body = `
      new DrpcClient().service(greeter);
      desc.methodKind = 'server_streaming';
      new DrpcClient().service(greeter).sayHello({})[Symbol.asyncIterator]();
      await import('@bufbuild/protobuf').catch(() => undefined);
      await new Promise(setImmediate); // by then Node would have ended the process
      return 'alive';
    `;
    expect(await app.evaluate('unused.cjs', program(body))).toBe('alive');
  }, 60_000);

  it('has declarations that do not miss them', async () => {
    const code = `
      import { DrpcClient, DrpcMethod, type DrpcServerOptions } from 'nestjs-drpc';
      export const options: DrpcServerOptions = {};
      export const decorators: MethodDecorator[] = [DrpcMethod('Math', 'Sum'), DrpcMethod('Math'), DrpcMethod()];
      export const sum: Promise<number | undefined> = new DrpcClient().call<number>('sum', [1]);
      export const wrong: string = new DrpcClient().call<number>('sum', [1]);
    `;
    const said = await app.typeCheck({ 'types.mts': code });
    const ours = said
      .split('\n')
      .filter((line) => /^types\.mts|protobuf|proto-loader|dist\/service\/|service\./.test(line));
    expect(ours).toEqual([expect.stringMatching(/^types\.mts\(6,20\).* 'string'/)]);
  }, 120_000);
});
