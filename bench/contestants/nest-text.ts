import { Controller } from '@nestjs/common';
import { MessagePattern, Payload, type ClientProxy } from '@nestjs/microservices';
import type { Observable, Subscription } from 'rxjs';
import {
  checkedText,
  textPayload,
  unsupported,
  type ClientEnd,
  type Counters,
  type DownloadRequest,
  type PingPongCall,
  type StreamCall,
  type StreamObserver,
} from '../contestant.js';
import { produce, silentAfter } from './produce.js';

export const counters: Counters = { held: 0, canceled: 0 };

const HELLO = textPayload(32);

/** The handlers of Nest's own JSON transports. */
@Controller()
export class TextController {
  @MessagePattern('echo')
  echo(@Payload() payload: string): string {
    return payload;
  }

  @MessagePattern('download')
  download(@Payload() request: DownloadRequest): Observable<string> {
    return produce(request, textPayload);
  }

  @MessagePattern('hold')
  hold(): Observable<string> {
    return silentAfter(
      HELLO,
      () => void counters.held++,
      () => void counters.canceled++,
    );
  }
}

/** Calls as a user of any `ClientProxy` makes them. */
export class TextClient implements ClientEnd<string> {
  protected readonly client: ClientProxy;
  readonly #closeApp: () => Promise<void>;

  constructor(client: ClientProxy, closeApp: () => Promise<void>) {
    this.client = client;
    this.#closeApp = closeApp;
  }

  payload(size: number): string {
    return textPayload(size);
  }

  unary(payload: string, done: (error: Error | undefined, size: number) => void): void {
    let size = -1;
    this.client.send<string>('echo', payload).subscribe({
      next: (answer) => (size = checkedText(answer)),
      error: (error: unknown) => done(asError(error), -1),
      complete: () => done(undefined, size),
    });
  }

  download(request: DownloadRequest, observer: StreamObserver): StreamCall {
    return watch(this.client.send<string>('download', request), observer);
  }

  hold(observer: StreamObserver): StreamCall {
    return watch(this.client.send<string>('hold', 0), observer);
  }

  pingPong(_observer: StreamObserver): PingPongCall<string> {
    return unsupported();
  }

  close(): Promise<void> {
    return this.#closeApp();
  }
}

export function watch(answers: Observable<string>, observer: StreamObserver): StreamCall {
  const subscription: Subscription = answers.subscribe({
    next: (answer) => observer.message(checkedText(answer)),
    error: (error: unknown) => observer.error(asError(error)),
    complete: () => observer.end(),
  });
  return { cancel: () => subscription.unsubscribe() };
}

export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(JSON.stringify(error));
}
