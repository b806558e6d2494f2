import {
  credentials,
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  type GrpcObject,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceClientConstructor,
  type ServiceError,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import {
  bytesPayload,
  checkedBytes,
  type ClientEnd,
  type Contestant,
  type Counters,
  type DownloadRequest,
  type PingPongCall,
  type StreamCall,
  type StreamObserver,
} from '../contestant.js';
import { blob, LOADER, PROTO_PATH, type Blob } from './proto.js';

interface BenchClient extends Client {
  echo(request: Blob, done: (error: ServiceError | null, answer?: Blob) => void): ClientUnaryCall;
  download(request: DownloadRequest): ClientReadableStream<Blob>;
  pingPong(): ClientDuplexStream<Blob, Blob>;
  hold(request: Blob): ClientReadableStream<Blob>;
}

function service(): ServiceClientConstructor {
  const loaded = loadPackageDefinition(loadSync(PROTO_PATH, LOADER));
  return (loaded.bench as GrpcObject).Bench as ServiceClientConstructor;
}

/** @grpc/grpc-js used directly, with `drain` obeyed where messages stream. */
export const grpcJs: Contestant<Blob> = {
  listen: async () => {
    const counters: Counters = { held: 0, canceled: 0 };
    const server = new Server();
    server.addService(service().service, {
      echo: (call: ServerUnaryCall<Blob, Blob>, done: sendUnaryData<Blob>) => done(null, call.request),
      download: (call: ServerWritableStream<DownloadRequest, Blob>) => produce(call),
      pingPong: (call: ServerDuplexStream<Blob, Blob>) => {
        call.on('data', (message: Blob) => call.write(message));
        call.on('end', () => call.end());
      },
      hold: (call: ServerWritableStream<Blob, Blob>) => {
        counters.held++;
        call.on('cancelled', () => counters.canceled++);
        call.write(blob(32));
      },
    });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    return { port, counters: () => counters, close: async () => server.forceShutdown() };
  },
  connect: async (port) => {
    const client = new (service())(
      `127.0.0.1:${port}`,
      credentials.createInsecure(),
    ) as unknown as BenchClient;
    await new Promise<void>((resolve, reject) => {
      client.waitForReady(Date.now() + 5000, (error) => (error ? reject(error) : resolve()));
    });
    return new GrpcEnd(client);
  },
};

function produce(call: ServerWritableStream<DownloadRequest, Blob>): void {
  const { count, size, fresh, limitMs } = call.request;
  const payload = blob(size);
  const deadline = limitMs > 0 ? Date.now() + limitMs : Infinity;
  let left = count;
  const go = () => {
    while (left > 0 && !call.cancelled) {
      left = limitMs > 0 && Date.now() > deadline ? 0 : left - 1;
      if (!call.write(fresh ? blob(size) : payload)) {
        call.once('drain', go);
        return;
      }
    }
    call.end();
  };
  go();
}

class GrpcEnd implements ClientEnd<Blob> {
  readonly #client: BenchClient;

  constructor(client: BenchClient) {
    this.#client = client;
  }

  payload(size: number): Blob {
    return { data: bytesPayload(size) };
  }

  unary(payload: Blob, done: (error: Error | undefined, size: number) => void): void {
    this.#client.echo(payload, (error, answer) => {
      if (error) done(error, -1);
      else done(undefined, checkedBytes(answer!.data));
    });
  }

  download(request: DownloadRequest, observer: StreamObserver): StreamCall {
    return watch(this.#client.download(request), observer);
  }

  hold(observer: StreamObserver): StreamCall {
    return watch(this.#client.hold(blob(1)), observer);
  }

  pingPong(observer: StreamObserver): PingPongCall<Blob> {
    const call = this.#client.pingPong();
    return {
      ...watch(call, observer),
      send: (payload) => void call.write(payload),
      closeSend: () => void call.end(),
    };
  }

  async close(): Promise<void> {
    this.#client.close();
  }
}

function watch(
  call: ClientReadableStream<Blob> | ClientDuplexStream<Blob, Blob>,
  observer: StreamObserver,
): StreamCall {
  let canceled = false;
  call.on('data', (message: Blob) => {
    if (!canceled) observer.message(checkedBytes(message.data));
  });
  call.on('error', (error: Error) => {
    if (!canceled) observer.error(error);
  });
  call.on('end', () => {
    if (!canceled) observer.end();
  });
  return {
    cancel: () => {
      canceled = true;
      call.cancel();
    },
  };
}
