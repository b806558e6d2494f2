import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { createRegistry, fromBinary, toJson } from '@bufbuild/protobuf';
import { Logger } from '@nestjs/common';
import { DrpcClient, DrpcCode, type DrpcClientOptions, type DrpcServiceCallOptions } from 'nestjs-drpc';
import { concat, firstValueFrom, from, NEVER, of, toArray, type Observable } from 'rxjs';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { decodeDetails, errorInfo } from '../../lib/protobuf.js';
import { loadProtoServices } from '../../lib/service/proto-loader.js';
import type { ServiceDefinition } from '../../lib/service/service-definition.js';
import { AllTypesSchema, file_greeter, Greeter, type AllTypes } from '../fixtures/gen/greeter_pb.js';
import { GoServer } from '../interop/helpers/go-server.js';
import { PEERS, type GoPeer } from '../interop/helpers/peers.js';
import { describeWithGo } from '../interop/helpers/with-go.js';
import { goldens, greeterProto } from './helpers/goldens.js';

/** What both kinds of clients have; requests and answers differ in nothing that is looked at here. */
type AnyGreeter = Record<
  'sayHello' | 'listHellos' | 'collectHellos' | 'chat' | 'echoAll' | 'fail' | 'ping',
  (request: object, options?: DrpcServiceCallOptions) => Observable<object>
>;

const proto = { protoPath: greeterProto, package: 'interop.v1', loader: { longs: String } };

const [{ methods }] = loadProtoServices(proto) as [ServiceDefinition];
const echoAll = methods.find(({ name }) => name === 'EchoAll')!;

const KINDS: [string, (client: DrpcClient) => AnyGreeter][] = [
  ['.proto files', (client) => client.getService<AnyGreeter>('Greeter')],
  ['protoc-gen-es', (client) => client.service(Greeter, { as: 'observable' }) as unknown as AnyGreeter],
];

const PAIRS = KINDS.flatMap(([kind, open]) => PEERS.map(([name, peer]) => [kind, name, open, peer] as const));

// Lost connections are logged: a storj server closes those on which it was canceled.
beforeAll(() => Logger.overrideLogger(false));

describeWithGo.each(PAIRS)('a service by %s on a Go server (%s)', (_kind, _name, open, peer) => {
  const { server, connect } = useServer(peer);
  const greeter = (): AnyGreeter => open(connect());

  it('answers one request with one message', async () => {
    const reply = await firstValueFrom(greeter().sayHello({ name: 'Nest' }));
    expect(reply).toMatchObject({ message: 'Hello, Nest!' });
  });

  it('answers an empty message', async () => {
    expect(await firstValueFrom(greeter().ping({}))).toBeTypeOf('object');
  });

  it('answers one request with a stream', async () => {
    const replies = await all(greeter().listHellos({ name: 'Nest', count: 3 }));
    expect(replies).toMatchObject([{}, { index: 1 }, { message: 'Hello, Nest!', index: 2 }]);
    expect(await all(greeter().listHellos({ name: 'Nest' }))).toEqual([]);
  });

  it('answers a stream with one message', async () => {
    const requests = from([{ name: 'Nest' }, { name: 'Go' }]);
    expect(await firstValueFrom(greeter().collectHellos(requests))).toMatchObject({
      message: 'Hello, Nest and Go!',
      names: ['Nest', 'Go'],
    });
  });

  it('answers a stream with a stream', async () => {
    const replies = await all(greeter().chat(from([{ name: 'Nest' }, { name: 'Go' }])));
    expect(replies).toMatchObject([{ message: 'Hello, Nest!' }, { message: 'Hello, Go!', index: 1 }]);
  });

  it('gets the metadata of a call', async () => {
    const token = newToken();
    await firstValueFrom(greeter().sayHello({ name: 'Nest' }, { metadata: { token } }));
    expect(await server().seen({ event: 'end', token })).toHaveLength(1);
  });

  it('fails with code, message and, where its errors have them, details', async () => {
    const detail = errorInfo({ reason: 'CLOSED', domain: 'interop.test' });
    const details = [{ typeUrl: detail.typeUrl, type_url: detail.typeUrl, value: detail.value }];
    const error = await failure(greeter().fail({ code: 7n, message: 'not for you', details }));
    expect(error).toMatchObject({ code: DrpcCode.PermissionDenied, message: 'not for you' });
    expect(decodeDetails(error).errorInfo?.reason).toBe(peer.profile === 'storj' ? undefined : 'CLOSED');
  });

  it('fails after some messages', async () => {
    const seen: object[] = [];
    const fail = { code: 10n, message: 'after two' };
    const replies = greeter().listHellos({ name: 'Nest', count: 2, fail });
    await expect(replies.forEach((reply) => void seen.push(reply))).rejects.toMatchObject({
      code: DrpcCode.Aborted,
      message: 'after two',
    });
    expect(seen).toHaveLength(2);
  });

  it('cancels a call whose time is over', async () => {
    const token = newToken();
    const call = greeter().sayHello({ name: 'Nest', hang: true }, { timeout: 150, metadata: { token } });
    expect(await failure(call)).toMatchObject({ code: DrpcCode.DeadlineExceeded });
    await server().seen({ event: 'canceled', token });
    await server().seen({ event: 'end', token });
  });

  it.each<[string, (service: AnyGreeter, options: DrpcServiceCallOptions) => Observable<object>]>([
    ['unary', (service, options) => service.sayHello({ name: 'Nest', hang: true }, options)],
    ['server stream', (service, options) => service.listHellos({ name: 'N', count: 2, hang: true }, options)],
    ['client stream', (service, options) => service.collectHellos(endless(), options)],
    ['bidi', (service, options) => service.chat(endless(), options)],
  ])('cancels a call that is left: %s', async (_shape, call) => {
    const token = newToken();
    const service = greeter();
    const subscription = call(service, { metadata: { token } }).subscribe();
    await server().seen({ event: 'start', token });
    expect(server().events({ event: 'end', token })).toEqual([]);

    subscription.unsubscribe();

    await server().seen({ event: 'canceled', token });
    await server().seen({ event: 'end', token });
    expect(await firstValueFrom(service.sayHello({ name: 'Nest' }))).toMatchObject({
      message: 'Hello, Nest!',
    });
  });
});

describeWithGo.each(PEERS)('a service with promises on a Go server (%s)', (_name, peer) => {
  const { server, connect } = useServer(peer);

  it('gives one answer as a Promise and many as an iterable', async () => {
    const greeter = connect().service(Greeter);
    expect((await greeter.sayHello({ name: 'Nest' })).message).toBe('Hello, Nest!');
    const indices: number[] = [];
    for await (const { index } of greeter.listHellos({ name: 'Nest', count: 3 })) indices.push(index);
    expect(indices).toEqual([0, 1, 2]);
  });

  it('cancels a loop that is left', async () => {
    const token = newToken();
    const replies = connect()
      .service(Greeter)
      .listHellos({ name: 'Nest', count: 5, hang: true }, { metadata: { token } });
    for await (const { index } of replies) if (index === 2) break;
    expect(await server().seen({ event: 'canceled', token })).toHaveLength(1);
  });

  it('cancels a call whose signal aborts', async () => {
    const token = newToken();
    const controller = new AbortController();
    const options = { signal: controller.signal, metadata: { token } };
    const call = connect().service(Greeter).sayHello({ name: 'Nest', hang: true }, options);
    await server().seen({ event: 'start', token });
    controller.abort(new Error('enough'));
    await expect(call).rejects.toThrow('enough');
    await server().seen({ event: 'canceled', token });
  });

  it('says when the server does not know a method', async () => {
    const protoPath = fileURLToPath(new URL('./protos/missing.proto', import.meta.url));
    const greeter = connect({ protoPath }).getService<{ missing(request: object): Observable<object> }>(
      'Greeter',
    );
    // Both generations say so in words alone.
    expect(await failure(greeter.missing({}))).toMatchObject({
      code: DrpcCode.Unknown,
      message: 'protocol error: unknown rpc: "/interop.v1.Greeter/Missing"',
    });
  });

  it.each(goldens)('brings a message there and back: $name', async ({ hex }) => {
    const sent = fromBinary(AllTypesSchema, Buffer.from(hex, 'hex'));
    const client = connect();
    expect(json(await client.service(Greeter).echoAll(sent))).toEqual(json(sent));

    // By .proto files: their encoding reads Go's bytes, and Go reads what it writes of them.
    const { clientEncoding } = echoAll;
    const message = clientEncoding.unmarshal(Buffer.from(hex, 'hex'));
    const received = await client.call(echoAll.rpc, message);
    expect(received).toEqual(message);
  });
});

/** A Go server for the tests of a group, and clients of it. */
function useServer(peer: GoPeer) {
  let server: GoServer;

  beforeAll(async () => {
    server = await GoServer.start(peer.module, ...peer.flags);
  });

  afterAll(() => server.close());

  return {
    server: () => server,
    connect: (options: DrpcClientOptions = proto): DrpcClient => {
      const client = new DrpcClient({ port: server.port, peer: peer.profile, ...options });
      onTestFinished(() => client.close());
      return client;
    },
  };
}

let lastToken = 0;

/** By which a call is found among what the server tells. */
function newToken(): string {
  return `service-${++lastToken}`;
}

function endless(): Observable<object> {
  return concat(of({ name: 'Nest' }), NEVER);
}

function all(values: Observable<object>): Promise<object[]> {
  return firstValueFrom(values.pipe(toArray()));
}

/** What a call fails with. */
function failure(call: Observable<object>): Promise<unknown> {
  return firstValueFrom(call).then(
    (answer) => Promise.reject(new Error(`answered with ${inspect(answer)}`)),
    (error: unknown) => error,
  );
}

function json(message: AllTypes): unknown {
  return toJson(AllTypesSchema, message, { registry: createRegistry(file_greeter) });
}
