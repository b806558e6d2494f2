import { Subject, takeUntil, type Observable } from 'rxjs';
import { dropStream, hearFaults, pull, type Puller, type StreamedValue } from '../bridge/streamed-value.js';
import type { Payload } from '../stream/stream.js';
import type { RequestSink, RequestFeed } from '../pool/outbox.js';

/** Makes the message for a value. @throws DrpcError where it has no form in the encoding. */
export type Marshal = (value: unknown) => Payload;

/** A request stream out of an Observable, which can not wait: what there is no room for is kept, within bounds. */
export class ObservableRequest implements RequestFeed {
  readonly #values: Observable<unknown>;
  readonly #marshal: Marshal;
  readonly #stopped = new Subject<void>();

  constructor(values: Observable<unknown>, marshal: Marshal) {
    this.#values = values;
    this.#marshal = marshal;
  }

  start(sink: RequestSink): void {
    let isStopped = false;
    this.#stopped.subscribe(() => (isStopped = true));
    // A source may emit without end while it is being subscribed to.
    this.#values.pipe(takeUntil(this.#stopped)).subscribe({
      next: (value) => {
        try {
          sink.trySend(this.#marshal(value));
        } catch (error) {
          sink.fail(error as Error);
        }
      },
      error: (error: unknown) => sink.fail(error as Error),
      complete: () => {
        if (!isStopped) sink.closeSend();
      },
    });
  }

  stop(): void {
    this.#stopped.next();
  }
}

/** A request stream out of an async iterable, pulled at the pace at which the server takes it. */
export class IterableRequest implements RequestFeed {
  readonly #values: StreamedValue;
  readonly #marshal: Marshal;
  #puller: Puller | undefined;
  #isStarted = false;
  #isStopped = false;

  constructor(values: StreamedValue, marshal: Marshal) {
    this.#values = values;
    this.#marshal = marshal;
    // A call may wait long for its connection; it is told of the fault when it has one.
    hearFaults(values);
  }

  start(sink: RequestSink): void {
    this.#isStarted = true;
    void this.#run(sink);
  }

  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    // A generator that has not begun holds nothing, and another call may take it.
    if (this.#isStarted) this.#puller?.stop();
    else dropStream(this.#values);
  }

  /** Forgets the source when it has ended by itself: as in a loop, it is not told to stop any more. */
  async #next(puller: Puller): Promise<IteratorResult<unknown, unknown>> {
    try {
      const item = await puller.next();
      if (item.done) this.#puller = undefined;
      return item;
    } catch (error) {
      this.#puller = undefined;
      throw error;
    }
  }

  async #run(sink: RequestSink): Promise<void> {
    try {
      const puller = (this.#puller = pull(this.#values));
      for (;;) {
        const item = await this.#next(puller);
        if (this.#isStopped) return;
        if (item.done) break;
        const sent = sink.msgSend(this.#marshal(item.value));
        if (sent !== true) await sent;
        if (this.#isStopped) return;
      }
      sink.closeSend();
    } catch (error) {
      sink.fail(error as Error);
    }
  }
}
