import { Controller } from '@nestjs/common';
import { GrpcMethod, GrpcStreamMethod, Transport, type ClientGrpc } from '@nestjs/microservices';
import { Subject, type Observable } from 'rxjs';
import {
  checkedBytes,
  type ClientEnd,
  type Contestant,
  type Counters,
  type DownloadRequest,
  type PingPongCall,
  type StreamCall,
  type StreamObserver,
} from '../contestant.js';
import { connectNest, freePort, listenNest } from './nest-app.js';
import { asError } from './nest-text.js';
import { produce, silentAfter } from './produce.js';
import { blob, LOADER, PROTO_PATH, type Blob } from './proto.js';

const counters: Counters = { held: 0, canceled: 0 };

@Controller()
class GrpcController {
  @GrpcMethod('Bench', 'Echo')
  echo(payload: Blob): Blob {
    return payload;
  }

  @GrpcMethod('Bench', 'Download')
  download(request: DownloadRequest): Observable<Blob> {
    return produce(request, blob);
  }

  @GrpcStreamMethod('Bench', 'PingPong')
  pingPong(payloads: Observable<Blob>): Observable<Blob> {
    return payloads;
  }

  @GrpcMethod('Bench', 'Hold')
  hold(): Observable<Blob> {
    return silentAfter(
      blob(32),
      () => void counters.held++,
      () => void counters.canceled++,
    );
  }
}

interface BenchService {
  echo(payload: Blob): Observable<Blob>;
  download(request: DownloadRequest): Observable<Blob>;
  pingPong(payloads: Observable<Blob>): Observable<Blob>;
  hold(payload: Blob): Observable<Blob>;
}

const options = (url: string) => ({ package: 'bench', protoPath: PROTO_PATH, loader: LOADER, url });

/** Nest's gRPC transport with its defaults. */
export const nestGrpc: Contestant<Blob> = {
  listen: async () => {
    const port = await freePort();
    const close = await listenNest({ transport: Transport.GRPC, options: options(`127.0.0.1:${port}`) }, [
      GrpcController,
    ]);
    return { port, counters: () => counters, close };
  },
  connect: async (port) => {
    const { client, close } = await connectNest<ClientGrpc>({
      name: 'BENCH',
      transport: Transport.GRPC,
      options: options(`127.0.0.1:${port}`),
    });
    return new NestGrpcEnd(client.getService<BenchService>('Bench'), close);
  },
};

class NestGrpcEnd implements ClientEnd<Blob> {
  readonly #service: BenchService;
  readonly #closeApp: () => Promise<void>;

  constructor(service: BenchService, closeApp: () => Promise<void>) {
    this.#service = service;
    this.#closeApp = closeApp;
  }

  payload(size: number): Blob {
    return blob(size);
  }

  unary(payload: Blob, done: (error: Error | undefined, size: number) => void): void {
    let size = -1;
    this.#service.echo(payload).subscribe({
      next: (answer) => (size = checkedBytes(answer.data)),
      error: (error: unknown) => done(asError(error), -1),
      complete: () => done(undefined, size),
    });
  }

  download(request: DownloadRequest, observer: StreamObserver): StreamCall {
    return watch(this.#service.download(request), observer);
  }

  hold(observer: StreamObserver): StreamCall {
    return watch(this.#service.hold(blob(1)), observer);
  }

  pingPong(observer: StreamObserver): PingPongCall<Blob> {
    const payloads = new Subject<Blob>();
    return {
      ...watch(this.#service.pingPong(payloads), observer),
      send: (payload) => payloads.next(payload),
      closeSend: () => payloads.complete(),
    };
  }

  close(): Promise<void> {
    return this.#closeApp();
  }
}

function watch(answers: Observable<Blob>, observer: StreamObserver): StreamCall {
  const subscription = answers.subscribe({
    next: (answer) => observer.message(checkedBytes(answer.data)),
    error: (error: unknown) => observer.error(asError(error)),
    complete: () => observer.end(),
  });
  return { cancel: () => subscription.unsubscribe() };
}
