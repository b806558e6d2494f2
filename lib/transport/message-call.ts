import { LastValue } from '../bridge/last-value.js';
import { RequestIterator } from '../bridge/request-iterator.js';
import { RequestObservable } from '../bridge/request-observable.js';
import type { RequestSource } from '../bridge/request-source.js';
import type { ResultSource, ResultTarget } from '../bridge/result.js';
import { resultSource } from '../bridge/result-source.js';
import { dropStreamedValue } from '../bridge/streamed-value.js';
import { INTERNAL_MESSAGE, toDrpcError } from '../bridge/to-drpc-error.js';
import { UnhandledException } from '../bridge/unhandled-exception.js';
import { marshalChecked } from '../encoding/encoding.js';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError, MessageSizeError } from '../errors/drpc-error.js';
import type { Stream, StreamSink } from '../stream/stream.js';
import type { Call, CallHost } from './call-host.js';
import { missingRequest, readRequest } from './request-errors.js';
import type { DrpcContext } from './drpc.context.js';
import { RequestShape, type Route } from './route.js';

enum State {
  /** For its request message. */
  Waiting,
  /** A tracing hook has not let the handler begin yet. */
  Held,
  /** The handler runs and has given nothing yet. */
  Running,
  /** The handler's values are being sent. */
  Answering,
  Ended,
}

/**
 * One call of a message handler: reads its request, runs it through Nest and sends what it gives. Whatever
 * ends the stream before that stops the handler; nothing is written after an end.
 */
export class MessageCall implements StreamSink, ResultTarget, Call {
  previous: Call | undefined;
  following: Call | undefined;

  readonly #host: CallHost;
  readonly #route: Route;
  readonly #stream: Stream;
  readonly #context: DrpcContext;
  #state = State.Waiting;
  #requests: RequestSource | undefined;
  #result: ResultSource | undefined;
  #endHook: (() => void) | undefined;

  constructor(host: CallHost, route: Route, stream: Stream, context: DrpcContext) {
    this.#host = host;
    this.#route = route;
    this.#stream = stream;
    this.#context = context;
  }

  start(): void {
    const stream = this.#stream;
    stream.sink = this;
    if (this.#route.request === RequestShape.One) return stream.request(1);
    this.#requests =
      this.#route.request === RequestShape.Observable
        ? new RequestObservable(stream)
        : new RequestIterator(stream);
    this.#run(this.#requests.values);
  }

  cancel(cause: DrpcError): void {
    this.#stream.fail(cause);
  }

  // ------------------------------------------------------------ StreamSink

  message(bytes: Buffer, start: number, end: number): void {
    if (this.#requests ? this.#requests.isLeft : this.#state !== State.Waiting) return;
    let value: unknown;
    try {
      value = readRequest(this.#route, this.#stream, bytes, start, end);
    } catch (error) {
      return this.#refuseRequest(error);
    }
    if (this.#requests) return this.#requests.message(value);
    // One message is the request; what else comes is dropped, or it would fill the queue.
    this.#stream.request(Infinity);
    this.#run(value);
  }

  end(cause: Error | undefined): void {
    if (this.#requests) this.#requests.end(cause);
    else if (this.#state === State.Waiting) this.#refuse(missingRequest(this.#route.rpc));
  }

  terminated(): void {
    switch (this.#state) {
      case State.Waiting:
        this.#state = State.Ended;
        return this.#release();
      case State.Held:
        return this.complete();
      case State.Running:
        return this.#context.end();
      case State.Answering:
        this.#context.end();
        return this.#result?.cancel();
      case State.Ended:
    }
  }

  // ---------------------------------------------------------- ResultTarget

  next(value: unknown): boolean {
    const stream = this.#stream;
    if (!stream.canSend) return false;
    try {
      return stream.trySend(marshalChecked(this.#route.encoding, value));
    } catch (error) {
      this.#failToSend(error);
      return false;
    }
  }

  drained(): Promise<void> {
    return this.#stream.drained();
  }

  complete(): void {
    if (this.#state === State.Ended) return;
    this.#state = State.Ended;
    this.#stream.closeSend();
    this.#ended();
  }

  error(thrown: unknown): void {
    if (this.#state === State.Ended) return;
    this.#state = State.Ended;
    // After a cancel, whatever is thrown is a consequence of it.
    if (!this.#stream.isTerminated) this.#sendError(thrown);
    this.#ended();
  }

  // ----------------------------------------------------------------- inside

  #run(data: unknown): void {
    const host = this.#host;
    const refusal = host.begin();
    if (refusal) return this.#refuse(refusal);
    if (!host.isTraced) return void this.#invoke(data);
    this.#state = State.Held;
    host.trace(
      this.#context,
      async (endHook) => {
        if (this.#state !== State.Held) return endHook();
        this.#endHook = endHook;
        await this.#invoke(data);
      },
      (error) => this.#hookFailed(new UnhandledException(error)),
    );
  }

  #hookFailed(thrown: UnhandledException): void {
    if (this.#state === State.Ended) return;
    if (this.#state === State.Held) return this.error(thrown);
    // The handler has begun: it is stopped by what ends its stream.
    if (!this.#stream.isTerminated) this.#sendError(thrown);
    this.#result?.cancel();
  }

  async #invoke(data: unknown): Promise<void> {
    this.#state = State.Running;
    let result: unknown;
    try {
      result = await this.#route.handlers[0]!(data, this.#context);
    } catch (error) {
      return this.error(error);
    }
    try {
      if (!this.#stream.isTerminated) return this.#answer(result);
      // The caller has gone while guards, pipes or the method were at work.
      dropStreamedValue(result);
      this.complete();
    } catch (error) {
      // Looking at a result can run code of its own: a getter, a proxy.
      this.error(new UnhandledException(error));
    }
  }

  #answer(result: unknown): void {
    this.#state = State.Answering;
    this.#result = resultSource(result, this.#route.answersOnce ? new LastValue(this) : this);
    if (this.#result) return this.#result.start();
    this.next(result);
    this.complete();
  }

  /** What is wrong with a message is its sender's business; what a class for messages throws by mistake is not. */
  #refuseRequest(thrown: unknown): void {
    const { error, fault } = toDrpcError(new UnhandledException(thrown), true);
    if (fault !== undefined) this.#host.logFault(this.#route.rpc, fault);
    this.#refuse(error);
  }

  /** Ends the call for a request that can not be taken; its handler has not begun, or takes a stream. */
  #refuse(error: DrpcError): void {
    const stream = this.#stream;
    // A handler that runs is stopped by what ends its stream.
    if (this.#state !== State.Waiting) return stream.fail(error);
    this.#state = State.Ended;
    stream.sendError(error);
    this.#release();
  }

  /** A value over the limit says so itself; one that can not be encoded is not the caller's business. */
  #failToSend(error: unknown): void {
    const stream = this.#stream;
    if (stream.isTerminated) return;
    if (error instanceof MessageSizeError) this.#failWith(error);
    else this.#sendError(new UnhandledException(error));
    this.#result?.cancel();
  }

  #sendError(thrown: unknown): void {
    try {
      const { error, fault } = toDrpcError(thrown, this.#host.forwardErrors);
      if (fault !== undefined) this.#host.logFault(this.#route.rpc, fault);
      this.#failWith(error);
    } catch (fault) {
      // Details that are none, say.
      this.#host.logFault(this.#route.rpc, fault);
      this.#failWith(new DrpcError(DrpcCode.Unknown, INTERNAL_MESSAGE));
    }
  }

  #failWith(error: DrpcError): void {
    this.#stream.sendError(error);
    this.#context.fail(error.code);
  }

  /** The handler has ended. */
  #ended(): void {
    this.#host.ended();
    this.#context.settle();
    this.#release();
    this.#endHook?.();
  }

  #release(): void {
    const stream = this.#stream;
    stream.handlerEnded();
    this.#close();
    if (this.#requests) {
      // Somebody may have subscribed apart from the result.
      if (this.#requests.isActive) return;
      this.#requests.end(undefined);
    } else if (stream.isTerminated) return;
    stream.discard();
  }

  /** The call is over when its answer is on its way: until then a server that goes down waits for it. */
  #close(): void {
    const stream = this.#stream;
    if (stream.queuedBytes === 0) return this.#host.closed(this);
    const close = (): void => this.#host.closed(this);
    stream.drained().then(close, close);
  }
}
