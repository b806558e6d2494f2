import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { Subject, type Observable } from 'rxjs';
import { DrpcClient, DrpcServer, DrpcStream } from '../../lib/index.js';
import {
  bytesPayload,
  checkedBytes,
  checkedText,
  textPayload,
  type ClientEnd,
  type Contestant,
  type Counters,
  type DownloadRequest,
  type PingPongCall,
  type StreamCall,
  type StreamObserver,
} from '../contestant.js';
import { connectNest, listenNest } from './nest-app.js';
import { asError } from './nest-text.js';
import { pull, silentAfter } from './produce.js';

const counters: Counters = { held: 0, canceled: 0 };

@Controller()
class JsonController {
  @MessagePattern('echo')
  echo(@Payload() payload: string): string {
    return payload;
  }

  @MessagePattern('download')
  download(@Payload() request: DownloadRequest): AsyncGenerator<string> {
    return pull(request, textPayload);
  }

  @MessagePattern('ping-pong')
  pingPong(@DrpcStream() payloads: Observable<string>): Observable<string> {
    return payloads;
  }

  @MessagePattern('hold')
  hold(): Observable<string> {
    return holdOpen(textPayload(32));
  }
}

const BYTES = { encoding: 'bytes' };

@Controller()
class BytesController {
  @MessagePattern('echo', BYTES)
  echo(@Payload() payload: Buffer): Buffer {
    return payload;
  }

  @MessagePattern('download', BYTES)
  download(@Payload() request: Buffer): AsyncGenerator<Buffer> {
    return pull(JSON.parse(request.toString()) as DownloadRequest, bytesPayload);
  }

  @MessagePattern('ping-pong', BYTES)
  pingPong(@DrpcStream() payloads: Observable<Buffer>): Observable<Buffer> {
    return payloads;
  }

  @MessagePattern('hold', BYTES)
  hold(): Observable<Buffer> {
    return holdOpen(bytesPayload(32));
  }
}

function holdOpen<P>(hello: P): Observable<P> {
  return silentAfter(
    hello,
    () => void counters.held++,
    () => void counters.canceled++,
  );
}

/** How one of the two encodings is used. */
interface Style<P> {
  controller: typeof JsonController | typeof BytesController;
  encodings: Record<string, 'json' | 'bytes'>;
  payload: (size: number) => P;
  check: (payload: P) => number;
  /** What stands for a request that is not a payload. */
  request: (value: unknown) => unknown;
}

/** The transport with its default encoding. */
export const nestDrpc = nestContestant<string>({
  controller: JsonController,
  encodings: {},
  payload: textPayload,
  check: checkedText,
  request: (value) => value,
});

/** The transport with messages that are bytes. */
export const nestDrpcBytes = nestContestant<Buffer>({
  controller: BytesController,
  encodings: { echo: 'bytes', download: 'bytes', 'ping-pong': 'bytes', hold: 'bytes' },
  payload: bytesPayload,
  check: checkedBytes,
  request: (value) => Buffer.from(JSON.stringify(value)),
});

function nestContestant<P>(style: Style<P>): Contestant<P> {
  return {
    listen: async ({ maxStreams }) => {
      const strategy = new DrpcServer({
        host: '127.0.0.1',
        port: 0,
        maxStreams,
        maxHandlers: 10 * maxStreams,
      });
      const close = await listenNest({ strategy }, [style.controller]);
      return { port: (strategy.address() as AddressInfo).port, counters: () => counters, close };
    },
    connect: async (port, { connections = 1 }) => {
      const { client, close } = await connectNest<DrpcClient>({
        name: 'BENCH',
        customClass: DrpcClient,
        options: { url: `drpc://127.0.0.1:${port}`, encodings: style.encodings, connections },
      });
      await client.connect();
      while (client.unwrap().connections.length < connections) await pause(5);
      return new NestDrpcEnd(client, close, style);
    },
  };
}

class NestDrpcEnd<P> implements ClientEnd<P> {
  readonly #client: DrpcClient;
  readonly #closeApp: () => Promise<void>;
  readonly #style: Style<P>;

  constructor(client: DrpcClient, closeApp: () => Promise<void>, style: Style<P>) {
    this.#client = client;
    this.#closeApp = closeApp;
    this.#style = style;
  }

  payload(size: number): P {
    return this.#style.payload(size);
  }

  unary(payload: P, done: (error: Error | undefined, size: number) => void): void {
    const { check } = this.#style;
    let size = -1;
    this.#client.send<P>('echo', payload).subscribe({
      next: (answer) => (size = check(answer)),
      error: (error: unknown) => done(asError(error), -1),
      complete: () => done(undefined, size),
    });
  }

  download(request: DownloadRequest, observer: StreamObserver): StreamCall {
    return this.#watch(this.#client.send<P>('download', this.#style.request(request)), observer);
  }

  hold(observer: StreamObserver): StreamCall {
    return this.#watch(this.#client.send<P>('hold', this.#style.request(0)), observer);
  }

  pingPong(observer: StreamObserver): PingPongCall<P> {
    const payloads = new Subject<P>();
    return {
      ...this.#watch(this.#client.send<P>('ping-pong', payloads), observer),
      send: (payload) => payloads.next(payload),
      closeSend: () => payloads.complete(),
    };
  }

  close(): Promise<void> {
    return this.#closeApp();
  }

  #watch(answers: Observable<P>, observer: StreamObserver): StreamCall {
    const { check } = this.#style;
    const subscription = answers.subscribe({
      next: (answer) => observer.message(check(answer)),
      error: (error: unknown) => observer.error(asError(error)),
      complete: () => observer.end(),
    });
    return { cancel: () => subscription.unsubscribe() };
  }
}
