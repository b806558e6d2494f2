import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  status,
  type handleBidiStreamingCall,
  type handleUnaryCall,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServiceDefinition,
  type ServiceError,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import {
  classify,
  Inbox,
  MARKER,
  MarkerError,
  type CallOptions,
  type Outcome,
  type Peer,
  type PeerOptions,
  type ServerStream,
  type Service,
} from './peer.js';

/** grpc-js takes a message that is falsy, as an empty text is, for none. */
interface Text {
  value: string;
}

const serialize = ({ value }: Text): Buffer => Buffer.from(value);
const deserialize = (bytes: Buffer): Text => ({ value: bytes.toString() });

function outcomeOf({ code, details }: Pick<ServiceError, 'code' | 'details'>): Outcome {
  return classify(code, details);
}

function toMetadata(pairs: Record<string, string> = {}): Metadata {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(pairs)) metadata.set(key, value);
  return metadata;
}

function toOptions({ timeout }: CallOptions = {}): { deadline?: number } {
  return timeout === undefined ? {} : { deadline: Date.now() + timeout };
}

/** What a handler throws, as grpc-js wants it told. */
function toStatus(error: unknown): Partial<ServiceError> {
  return error instanceof MarkerError
    ? { code: MARKER.code as status, details: MARKER.message }
    : { code: status.UNKNOWN, details: 'Internal server error' };
}

/** Resolves when the caller leaves; grpc-js says so of calls that were answered, too. */
function goneOf(
  call: ServerUnaryCall<Text, Text> | ServerDuplexStream<Text, Text>,
  isAnswered: () => boolean,
): Promise<void> {
  return new Promise((resolve) => {
    if (call.cancelled) resolve();
    else call.on('cancelled', () => (isAnswered() ? undefined : resolve()));
  });
}

function metadataOf({ metadata }: { metadata: Metadata }): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata.getMap()).map(([key, value]) => [key, String(value)]));
}

function serverStream(call: ServerDuplexStream<Text, Text>): ServerStream {
  const inbox = new Inbox();
  call.on('data', ({ value }: Text) => inbox.push(`message ${value}`));
  // A cancel is told as the end first.
  call.on('end', () => setImmediate(() => inbox.push(call.cancelled ? 'canceled' : 'end')));
  call.on('cancelled', () => inbox.push('canceled'));
  call.on('error', () => undefined);
  return {
    metadata: metadataOf(call),
    send: (value) => void call.write({ value }),
    recv: () => inbox.recv(),
    gone: goneOf(call, () => false),
  };
}

/** `@grpc/grpc-js`, over a socket that the test can break. */
export async function startGrpc(service: Service, { maxMessageSize }: PeerOptions = {}): Promise<Peer> {
  const limits = maxMessageSize === undefined ? {} : { 'grpc.max_receive_message_length': maxMessageSize };
  const server = new Server(limits);
  const definition: Record<string, ServiceDefinition[string]> = {};
  const implementation: UntypedServiceImplementation = {};
  const add = (path: string, isStream: boolean, handle: UntypedServiceImplementation[string]): void => {
    definition[path] = {
      path,
      requestStream: isStream,
      responseStream: isStream,
      requestSerialize: serialize,
      requestDeserialize: deserialize,
      responseSerialize: serialize,
      responseDeserialize: deserialize,
    };
    implementation[path] = handle;
  };
  for (const [method, handler] of Object.entries(service.unary)) {
    const handle: handleUnaryCall<Text, Text> = (call, callback) => {
      let isAnswered = false;
      const stream: ServerStream = {
        metadata: metadataOf(call),
        send: () => undefined,
        recv: () => Promise.resolve('end'),
        gone: goneOf(call, () => isAnswered),
      };
      void handler(call.request.value, stream)
        .finally(() => (isAnswered = true))
        .then(
          (value) => callback(null, { value }),
          (error: unknown) => callback(toStatus(error)),
        );
    };
    add(method, false, handle);
  }
  for (const [method, handler] of Object.entries(service.stream)) {
    const handle: handleBidiStreamingCall<Text, Text> = (call) => {
      handler(serverStream(call)).then(
        () => call.end(),
        (error: unknown) => call.emit('error', toStatus(error)),
      );
    };
    add(method, true, handle);
  }
  if (Object.keys(definition).length > 0) server.addService(definition as ServiceDefinition, implementation);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });

  // In between, so that the connection can be broken without a word, as by a process that dies.
  const joints: Socket[] = [];
  const proxy = createServer((here) => {
    const there = connect(port, '127.0.0.1');
    joints.push(here, there);
    here.pipe(there).pipe(here);
    for (const socket of [here, there]) socket.on('error', () => undefined);
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const address = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const client = new Client(address, credentials.createInsecure(), limits);

  return {
    unary: (method, request, options) =>
      new Promise((resolve) => {
        if (options?.signal?.aborted) return resolve('canceled');
        const call = client.makeUnaryRequest(
          method,
          serialize,
          deserialize,
          { value: request },
          toMetadata(options?.metadata),
          toOptions(options),
          (error, answer) => resolve(error ? outcomeOf(error) : `message ${answer!.value}`),
        );
        options?.signal?.addEventListener('abort', () => call.cancel(), { once: true });
      }),
    stream(method, options) {
      const call = client.makeBidiStreamRequest(
        method,
        serialize,
        deserialize,
        toMetadata(options?.metadata),
        toOptions(options),
      );
      const inbox = new Inbox();
      call.on('data', ({ value }: Text) => inbox.push(`message ${value}`));
      call.on('error', (error: ServiceError) => inbox.push(outcomeOf(error)));
      call.on('status', ({ code }: { code: status }) => {
        if (code === status.OK) inbox.push('end');
      });
      return {
        send: (value) => void call.write({ value }),
        closeSend: () => call.end(),
        recv: () => inbox.recv(),
        cancel: () => call.cancel(),
      };
    },
    breakConnection: () => joints.forEach((socket) => socket.destroy()),
    async close() {
      client.close();
      server.forceShutdown();
      joints.forEach((socket) => socket.destroy());
      proxy.close();
      await once(proxy, 'close');
    },
  };
}
