import { Controller } from '@nestjs/common';
import { MessagePattern, Payload, type ClientProxy } from '@nestjs/microservices';
import { Subject, type Observable } from 'rxjs';
import { DrpcStream } from '../../lib/index.js';
import {
  bytesPayload,
  checkedBytes,
  checkedText,
  textPayload,
  type ClientEnd,
  type Counters,
  type DownloadRequest,
  type PingPongCall,
  type StreamCall,
  type StreamObserver,
} from '../contestant.js';
import { asError } from './nest-text.js';
import { pull, silentAfter } from './produce.js';

export const counters: Counters = { held: 0, canceled: 0 };

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

export type Encoding = 'json' | 'bytes';

/** Which messages an application sends, and how. */
export interface Style<P> {
  controller: typeof JsonController | typeof BytesController;
  encoding: Encoding;
  payload: (size: number) => P;
  check: (payload: P) => number;
  /** What stands for a request that is not a payload. */
  request: (value: unknown) => unknown;
}

export const JSON_STYLE: Style<string> = {
  controller: JsonController,
  encoding: 'json',
  payload: textPayload,
  check: checkedText,
  request: (value) => value,
};

export const BYTES_STYLE: Style<Buffer> = {
  controller: BytesController,
  encoding: 'bytes',
  payload: bytesPayload,
  check: checkedBytes,
  request: (value) => Buffer.from(JSON.stringify(value)),
};

type Client = Pick<ClientProxy, 'send'>;

/** Calls as a user of the client makes them. */
export class NestEnd<P> implements ClientEnd<P> {
  readonly #client: Client;
  readonly #closeApp: () => Promise<void>;
  readonly #style: Style<P>;

  constructor(client: Client, closeApp: () => Promise<void>, style: Style<P>) {
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
