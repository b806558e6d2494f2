import {
  credentials,
  makeGenericClientConstructor,
  Server,
  ServerCredentials,
  type ClientDuplexStream,
  type MethodDefinition,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServiceError,
} from '@grpc/grpc-js';
import {
  describeFailure,
  MARKER,
  MARKER_CODE,
  METHODS,
  Seen,
  type Contestant,
  type Method,
} from './contestant.js';

const failure = { code: MARKER_CODE, details: MARKER };
const PATH = '/compat.Compat/';

function definition(method: string, isStream: boolean): MethodDefinition<string, string> {
  return {
    path: `${PATH}${isStream ? 'Stream' : ''}${method}`,
    requestStream: isStream,
    responseStream: isStream,
    requestSerialize: (text) => Buffer.from(text),
    requestDeserialize: String,
    responseSerialize: (text) => Buffer.from(text),
    responseDeserialize: String,
  };
}

type Unary = (call: ServerUnaryCall<string, string>, answer: sendUnaryData<string>) => void;
type Duplex = (call: ServerDuplexStream<string, string>) => void;

/** `@grpc/grpc-js` at both ends. */
export async function makeGrpc(): Promise<Contestant> {
  const handlers = new Seen();
  const server = new Server();
  for (const method of Object.values(METHODS)) {
    if (method === 'Unknown') continue;
    server.register(PATH + method, unary(method, handlers), (text) => Buffer.from(text), String, 'unary');
    const path = `${PATH}Stream${method}`;
    server.register(path, duplex(method, handlers), (text) => Buffer.from(text), String, 'bidi');
  }
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  const Client = makeGenericClientConstructor({}, 'Compat');
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  const options = (timeout?: number): { deadline?: number } =>
    timeout === undefined ? {} : { deadline: Date.now() + timeout };
  return {
    handlers,
    stream(method, timeout) {
      const seen = new Seen();
      const { path, requestSerialize, responseDeserialize } = definition(method, true);
      const call: ClientDuplexStream<string, string> = client.makeBidiStreamRequest(
        path,
        requestSerialize,
        responseDeserialize,
        options(timeout),
      );
      call.on('data', (text: string) => seen.add(`message ${text}`));
      call.on('end', () => undefined);
      call.on('error', (error: ServiceError) => seen.add(describeFailure(error.code, error.details)));
      call.on('status', ({ code }) => {
        if (code === 0) seen.add('end');
      });
      return {
        client: seen,
        send: (text) => void call.write(text),
        closeSend: () => void call.end(),
        cancel: () => call.cancel(),
      };
    },
    unary(method, text, timeout) {
      const seen = new Seen();
      const { path, requestSerialize, responseDeserialize } = definition(method, false);
      const call = client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        text,
        options(timeout),
        (error, answer?: string) => {
          if (error) return seen.add(describeFailure(error.code, error.details));
          seen.add(`message ${answer}`);
          seen.add('end');
        },
      );
      const nothing = (): void => undefined;
      return { client: seen, send: nothing, closeSend: nothing, cancel: () => call.cancel() };
    },
    async close() {
      client.close();
      server.forceShutdown();
    },
  };
}

function unary(method: Method, handlers: Seen): Unary {
  return (call, answer) => {
    handlers.add(`begun ${method}`);
    switch (method) {
      case 'Fail':
      case 'FailAfter':
        return answer(failure);
      case 'Hang':
        call.on('cancelled', () => {
          handlers.add('canceled');
          answer(failure);
        });
        return;
      default:
        return answer(null, call.request);
    }
  };
}

function duplex(method: Method, handlers: Seen): Duplex {
  return (call) => {
    handlers.add(`begun ${method}`);
    call.on('cancelled', () => handlers.add('canceled'));
    call.on('error', () => undefined);
    call.on('end', () => {
      if (method === 'Echo') call.end();
    });
    call.on('data', (text: string) => {
      if (method === 'Echo' || method === 'FailAfter' || method === 'Early') call.write(text);
      if (method === 'Fail' || method === 'FailAfter') call.emit('error', failure);
      if (method === 'Early' || method === 'Nothing') call.end();
    });
    if (method === 'Hang') call.on('cancelled', () => call.emit('error', failure));
  };
}
