import type { MessageHandler } from '@nestjs/microservices';
import { toDrpcError } from '../bridge/to-drpc-error.js';
import { UnhandledException } from '../bridge/unhandled-exception.js';
import { DrpcError } from '../errors/drpc-error.js';
import type { Stream, StreamSink } from '../stream/stream.js';
import type { Call, CallHost } from './call-host.js';
import type { DrpcContext } from './drpc.context.js';
import { EventRun } from './event-run.js';
import { missingRequest, readRequest } from './request-errors.js';
import type { Route } from './route.js';

/**
 * One event. Its sender is answered as soon as it is decoded and a handler found; the handlers run on by
 * themselves, whatever becomes of the stream, and each to its end, whatever becomes of the others.
 */
export class EventCall implements StreamSink, Call {
  previous: Call | undefined;
  following: Call | undefined;

  readonly #host: CallHost;
  readonly #route: Route;
  readonly #stream: Stream;
  readonly #context: DrpcContext;
  readonly #runs: EventRun[] = [];
  #isWaiting = true;
  #isOver = false;
  #running = 0;
  #endHook: (() => void) | undefined;

  constructor(host: CallHost, route: Route, stream: Stream, context: DrpcContext) {
    this.#host = host;
    this.#route = route;
    this.#stream = stream;
    this.#context = context;
  }

  start(): void {
    this.#stream.sink = this;
    this.#stream.request(1);
  }

  message(bytes: Buffer, start: number, end: number): void {
    if (!this.#isWaiting) return;
    let data: unknown;
    try {
      data = readRequest(this.#route, this.#stream, bytes, start, end);
    } catch (error) {
      return this.#refuse(DrpcError.from(error));
    }
    const refusal = this.#host.begin();
    if (refusal) return this.#refuse(refusal);
    this.#isWaiting = false;
    this.#stream.closeSend();
    this.#stream.request(Infinity);
    this.#run(data);
  }

  end(): void {
    if (this.#isWaiting) this.#refuse(missingRequest(this.#route.rpc));
  }

  terminated(): void {
    if (this.#isWaiting) this.#release();
  }

  cancel(cause: DrpcError): void {
    if (this.#isWaiting) return this.#refuse(cause);
    this.#context.fail(cause.code);
    // Still held by a tracing hook: it will not begin.
    if (this.#running === 0) return this.#ended();
    this.#context.end(cause);
    for (const run of this.#runs) run.cancel();
  }

  #run(data: unknown): void {
    if (!this.#host.isTraced) return void this.#runAll(data);
    this.#host.trace(
      this.#context,
      async (endHook) => {
        if (this.#isOver) return endHook();
        this.#endHook = endHook;
        await this.#runAll(data);
      },
      (error) => {
        this.#failed(new UnhandledException(error));
        if (this.#running === 0) this.#ended();
      },
    );
  }

  async #runAll(data: unknown): Promise<void> {
    const { handlers } = this.#route;
    this.#running = handlers.length;
    await Promise.all(handlers.map((handler) => this.#runOne(handler, data)));
  }

  async #runOne(handler: MessageHandler, data: unknown): Promise<void> {
    const run = new EventRun(
      (thrown) => this.#failed(thrown),
      () => {
        if (--this.#running === 0) this.#ended();
      },
    );
    this.#runs.push(run);
    await run.start(handler, data, this.#context);
  }

  /** Nobody is left to be told of an error, even one that was meant for a caller; a filter that took it was. */
  #failed(thrown: unknown): void {
    const { rpc } = this.#route;
    const { error, fault } = toDrpcError(thrown, true);
    this.#context.fail(error.code);
    if (!UnhandledException.isOne(thrown)) {
      if (fault !== undefined) this.#host.logFault(rpc, fault);
    } else if (!thrown.isSilent) this.#host.logFault(rpc, thrown.exception);
  }

  #refuse(error: DrpcError): void {
    this.#isWaiting = false;
    this.#stream.sendError(error);
    this.#release();
  }

  #ended(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#host.ended();
    this.#context.settle();
    this.#release();
    this.#endHook?.();
  }

  #release(): void {
    this.#isWaiting = false;
    this.#stream.handlerEnded();
    this.#host.closed(this);
    if (!this.#stream.isTerminated) this.#stream.discard();
  }
}
