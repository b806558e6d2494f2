import { inspect } from 'node:util';
import type { Clock, Timer } from '../clock/clock.js';
import { abortCause, shareSignal } from '../conn/conn.js';
import { unmarshalMessage, type Encoding } from '../encoding/encoding.js';
import { undecodable } from '../encoding/undecodable.js';
import { DrpcCode } from '../errors/codes.js';
import { DeadlineError, DrpcError } from '../errors/drpc-error.js';
import { isStreamRefused } from '../errors/error-info.js';
import { escapeName } from '../errors/escape.js';
import type { Metadata } from '../metadata/metadata.js';
import type { Payload, Stream, StreamSink } from '../stream/stream.js';
import { backoffDelay, type BackoffOptions } from './backoff.js';
import type { Link, LinkedCall } from './link.js';
import { Outbox, type RequestSink, type RequestFeed } from './outbox.js';

/** Told what comes of a call, in the turn in which it happens. An Observable's subscriber is one. */
export interface CallObserver<T> {
  next(value: T): void;
  /** The call has failed. Whoever cancels it is not told. */
  error(error: Error): void;
  /** The call has ended well; in the turn of the last message when they arrived together. */
  complete(): void;
}

/** What is asked of a server. */
export interface CallSpec {
  readonly rpc: string;
  readonly encoding: Encoding;
  /** The one message of the request. */
  readonly payload?: Payload;
  /** In its place: where the messages of a request stream come from. */
  readonly source?: RequestFeed;
  readonly metadata?: Readonly<Metadata>;
  /** In ms, from the start of the call: waiting for a connection counts. */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
}

/** What a call needs of its pool. */
export interface CallHost {
  readonly clock: Clock;
  /** How long calls pause that a server refused to start. */
  readonly refusalBackoff: BackoffOptions;
  /** Bytes that a source which can not wait may leave while its call is without connection. */
  readonly sendQueueSize: number;
  /** Opens the call on a connection, now or once there is one; refuses it where there will be none. */
  submit(call: Call): void;
  /** Keeps a call in mind that pauses before it is submitted again. */
  hold(call: Call): void;
  /** Forgets a call that pauses or waits for a connection. */
  withdraw(call: Call): void;
  /** What a call fails with whose time is up while it waits. */
  waitedTooLong(): DeadlineError;
}

/** So often a call is sent again that a server did not start, by a refusal or goaway. */
const MAX_REFUSALS = 10;
/** How long a server may take for what a call that is over has left to send, in ms. */
const LINGER_TIME = 30_000;

/**
 * One call from start to end, on whatever connection it runs. While the server provably never started it, it
 * may move to another; otherwise the end of its connection is its own.
 *
 *     start --> waits for a connection --> open on a stream --> ended, told once
 *                     ^                          |
 *                     +-- never sent, refused, --+
 *                         above a goaway
 *
 * The stream's events come here directly: no promise, closure or error is made on the way.
 */
export class Call implements StreamSink, RequestSink, LinkedCall {
  previous: LinkedCall | undefined;
  following: LinkedCall | undefined;

  readonly #host: CallHost;
  readonly #spec: CallSpec;
  readonly #observer: CallObserver<unknown>;
  /** Of a request stream. */
  readonly #outbox: Outbox | undefined;
  #stream: Stream | undefined;
  /** The connection that carries the stream, as long as the stream lives. */
  #link: Link | undefined;
  /** The connection that carried it last. */
  #lastLink: Link | undefined;
  #demand: number;
  /** When the call has to be over, by the clock. */
  #deadline = Infinity;
  /** Ends the waiting: for a connection at the deadline, after a refusal by a new attempt. */
  #timer: Timer | undefined;
  #refusals = 0;
  #hasMoved = false;
  #hasAnswer = false;
  #isDone = false;

  /** @param demand answers asked for; {@link request} asks for more. Default: all that come. */
  constructor(host: CallHost, spec: CallSpec, observer: CallObserver<unknown>, demand = Infinity) {
    this.#host = host;
    this.#spec = spec;
    this.#observer = observer;
    this.#demand = demand;
    if (spec.source) this.#outbox = new Outbox(host.sendQueueSize);
  }

  get rpc(): string {
    return this.#spec.rpc;
  }

  /** Whether the call has ended; nothing is told any more. */
  get isDone(): boolean {
    return this.#isDone;
  }

  get stream(): Stream | undefined {
    return this.#stream;
  }

  /** Whether it had a connection before, and has to take another. */
  get hasMoved(): boolean {
    return this.#hasMoved;
  }

  /** @internal */
  get hasRequestStream(): boolean {
    return this.#outbox !== undefined;
  }

  /**
   * Starts the call: where a connection has room, its request is written in this turn. What it fails for at once is
   * told in another turn: who tries again without a pause would never let the event loop go on.
   */
  start(): this {
    const { signal, timeout } = this.#spec;
    if (signal) {
      if (signal.aborted) return this.#refuseStart(abortCause(signal));
      shareSignal(signal);
      signal.addEventListener('abort', this);
    }
    if (timeout !== undefined) {
      if (timeout <= 0) return this.#refuseStart(new DeadlineError());
      this.#deadline = this.#host.clock.now() + timeout;
    }
    this.#host.submit(this);
    return this;
  }

  /** Asks for `count` more answers. */
  request(count: number): void {
    this.#demand += count;
    if (!this.#isDone) this.#stream?.request(count);
  }

  /** Gives the call up and tells the server if it may know of it. The observer hears nothing more. */
  cancel(cause?: Error): void {
    if (this.#isDone) return;
    this.#settle();
    const stream = this.#stream;
    if (!stream) return;
    stream.sendCancel(cause);
    stream.discard();
  }

  /** The teardown of an Observable; as {@link cancel}. */
  unsubscribe(): void {
    this.cancel();
  }

  /** Gives the call up as {@link cancel} does, and tells the observer why. */
  abort(cause: Error): void {
    if (this.#isDone) return;
    this.cancel(cause);
    this.#tellError(cause);
  }

  /** @internal The signal has aborted. */
  handleEvent(): void {
    this.abort(abortCause(this.#spec.signal!));
  }

  // ------------------------------------------------------------- RequestSink

  trySend(payload: Payload): boolean {
    const stream = this.#streamFor(payload);
    try {
      return stream !== undefined && stream.trySend(payload);
    } catch (error) {
      this.abort(DrpcError.from(error));
      return false;
    }
  }

  msgSend(payload: Payload): true | Promise<void> {
    const stream = this.#streamFor(payload);
    if (!stream) return this.#isDone ? true : this.#outbox!.attached();
    try {
      const sent = stream.msgSend(payload);
      // A stream that has ended tells its sink so.
      return sent === true || sent.catch(() => undefined);
    } catch (error) {
      this.abort(DrpcError.from(error));
      return true;
    }
  }

  closeSend(): void {
    if (this.#isDone) return;
    this.#outbox!.isClosed = true;
    this.#stream?.closeSend();
  }

  fail(error: Error): void {
    if (this.#isDone) return;
    this.#settle();
    const stream = this.#stream;
    if (stream) {
      // Ordered behind the messages that were sent.
      sendFailure(stream, error);
      // Not discarded: the end of the stream, which may have to wait for them, is told here and frees its place.
      stream.request(Infinity);
      this.#linger();
    }
    this.#tellError(error);
  }

  // ---------------------------------------------------------------- the pool's

  /** @internal Opens the call on `link`, which has room. */
  open(link: Link): void {
    const { rpc, payload, metadata } = this.#spec;
    const left = this.#timeLeft();
    if (left !== undefined && left <= 0) return this.refuseSoon(new DeadlineError());
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#link = link;
    this.#lastLink = link;
    link.add(this);
    try {
      this.#stream = this.#outbox
        ? link.conn.open(rpc, this, metadata, left)
        : link.conn.openUnary(rpc, payload!, this, metadata, left);
    } catch (error) {
      this.terminated();
      return this.refuseSoon(DrpcError.from(error));
    }
    this.#stream.request(this.#demand);
    if (this.#outbox) this.#feed(this.#outbox, this.#stream);
  }

  /** @internal No connection has room: the call ends by itself when its time is up. */
  wait(): void {
    const left = this.#timeLeft();
    if (left === undefined) return;
    this.#timer = this.#host.clock.after(Math.max(left, 0), () => this.#fail(this.#host.waitedTooLong()));
  }

  /** @internal There is no connection for this call, nor will there be. */
  refuse(error: Error): void {
    this.#fail(error);
  }

  /** @internal As {@link refuse}, for one that is being started. */
  refuseSoon(error: Error): void {
    this.#host.clock.yield(() => this.#fail(error));
  }

  moveOn(cause: Error): void {
    const stream = this.#stream;
    if (this.#isDone || !stream) return;
    // What was answered has begun, whatever the server says, and would be done twice.
    if (this.#outbox?.hasSent || stream.wasHeard) return void stream.cancel(cause);
    // Each time its request goes out once more, which costs the server nothing.
    if (!stream.isUnsent && ++this.#refusals > MAX_REFUSALS) return void stream.cancel(cause);
    stream.discard();
    stream.cancel(cause);
    this.terminated();
    this.#submitAgain();
  }

  // --------------------------------------------------------------- StreamSink

  /** @internal */
  message(bytes: Buffer, start: number, end: number, isLast: boolean): void {
    if (this.#isDone) return;
    let value: unknown;
    try {
      value = unmarshalMessage(this.#spec.encoding, this.#stream!, bytes, start, end);
    } catch (error) {
      return this.abort(undecodable('client', this.#spec.rpc, this.#spec.encoding.name, error));
    }
    this.#hasAnswer = true;
    if (!isLast) return this.#observer.next(value);
    // Finished first: who leaves with the last message is not one who gives up.
    this.#finish();
    this.#observer.next(value);
    this.#observer.complete();
  }

  /** @internal */
  end(cause: Error | undefined): void {
    if (this.#isDone) return;
    if (cause === undefined) {
      this.#finish();
      this.#observer.complete();
    } else if (this.#isUnsent(cause)) this.#submitAgain();
    else if (!isStreamRefused(cause)) this.#fail(cause);
    else {
      // A server that can not say goaway to us; the others of its calls are still being finished.
      if ((cause as DrpcError).code === DrpcCode.Unavailable) this.#lastLink?.drain();
      if (!this.#tryLater()) this.#fail(cause);
    }
  }

  /** @internal */
  terminated(): void {
    const link = this.#link;
    if (!link) return;
    this.#link = undefined;
    link.remove(this);
  }

  // ------------------------------------------------------------------- inside

  #refuseStart(error: Error): this {
    this.refuseSoon(error);
    return this;
  }

  #timeLeft(): number | undefined {
    return this.#deadline === Infinity ? undefined : this.#deadline - this.#host.clock.now();
  }

  /** The stream that takes the message; where there is none just now, the message is kept for the next. */
  #streamFor(payload: Payload): Stream | undefined {
    const outbox = this.#outbox!;
    if (this.#isDone || outbox.isClosed) return undefined;
    const stream = this.#stream;
    if (stream) {
      if (!stream.canSend) return undefined;
      outbox.hasSent = true;
      return stream;
    }
    try {
      outbox.keep(payload);
    } catch (error) {
      this.abort(error as DrpcError);
    }
    return undefined;
  }

  #feed(outbox: Outbox, stream: Stream): void {
    if (!outbox.isStarted) {
      outbox.isStarted = true;
      this.#spec.source!.start(this);
      return;
    }
    outbox.attach((payload) => this.trySend(payload));
    if (outbox.isClosed) stream.closeSend();
  }

  /** Whether the connection died before anything of the call was handed to its socket. */
  #isUnsent(cause: Error): boolean {
    const stream = this.#stream;
    // Without a stream it ended while it was being opened: a fault of the request.
    if (!stream || cause !== this.#lastLink?.conn.manager.cause) return false;
    return stream.isUnsent && !this.#outbox?.hasSent;
  }

  #submitAgain(): void {
    this.#stream = undefined;
    this.#hasMoved = true;
    this.#host.submit(this);
  }

  /** Tries a refused call again after a pause, as long as its timeout allows. */
  #tryLater(): boolean {
    if (this.#hasAnswer || this.#outbox?.hasSent || this.#refusals >= MAX_REFUSALS) return false;
    const pause = backoffDelay(++this.#refusals, this.#host.refusalBackoff);
    const left = this.#timeLeft();
    if (left !== undefined && left <= pause) return false;
    this.#stream = undefined;
    this.#hasMoved = true;
    this.#host.hold(this);
    this.#timer = this.#host.clock.after(pause, () => {
      this.#timer = undefined;
      this.#host.withdraw(this);
      this.#host.submit(this);
    });
    return true;
  }

  /** The server has answered all it will. */
  #finish(): void {
    this.#settle();
    // A request stream that the server did not read to its end.
    if (this.#outbox && !this.#outbox.isClosed) this.#stream?.close();
    this.#linger();
  }

  /**
   * Lets the stream of a call that is over send what waits, but not for ever: a server that never gives the credit would
   * keep it, and its place on the connection, as long as that lives.
   */
  #linger(): void {
    const stream = this.#stream;
    if (!stream || stream.queuedBytes === 0) return;
    stream.setDeadline(Math.min(LINGER_TIME, this.#timeLeft() ?? Infinity));
  }

  #fail(error: Error): void {
    if (this.#isDone) return;
    this.#settle();
    this.#tellError(error);
  }

  /** Does not throw: other calls wait for their turn behind this one. */
  #tellError(error: Error): void {
    try {
      this.#observer.error(error);
    } catch (fault) {
      process.emitWarning(`the observer of a call of "${escapeName(this.rpc)}" threw`, {
        type: 'DrpcWarning',
        detail: inspect(fault, { customInspect: false }),
      });
    }
  }

  /** Nothing of this call is told or sent from here on, and nothing else holds on to it. */
  #settle(): void {
    this.#isDone = true;
    this.#timer?.cancel();
    this.#spec.signal?.removeEventListener('abort', this);
    if (!this.#stream) this.#host.withdraw(this);
    if (this.#outbox) {
      this.#spec.source!.stop();
      this.#outbox.wake();
    }
  }
}

/** Tells the server that the request stream failed; the text of a foreign error stays here. */
function sendFailure(stream: Stream, error: Error): void {
  try {
    if (error instanceof DrpcError) return stream.sendError(error);
  } catch {
    // Details that are none, say.
  }
  stream.sendError(new DrpcError(DrpcCode.Unknown, 'the request stream failed'));
}
