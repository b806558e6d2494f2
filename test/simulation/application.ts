import type { Conn } from '../../lib/conn/conn.js';
import { DrpcCode } from '../../lib/errors/codes.js';
import {
  CanceledError,
  DeadlineError,
  DrpcError,
  EofError,
  MessageSizeError,
} from '../../lib/errors/drpc-error.js';
import { isStreamRefused } from '../../lib/errors/error-info.js';
import type { Manager } from '../../lib/manager/manager.js';
import type { Stream, StreamSink } from '../../lib/stream/stream.js';
import { contentOf, type CallPlan, type Reading, type Sending } from './call-plan.js';
import { Random } from './random.js';
import type { VirtualClock } from './virtual-clock.js';
import type { WireRules } from './wire-rules.js';

/** What both ends of a simulated call share. */
export interface World {
  readonly clock: VirtualClock;
  readonly rules: WireRules;
  readonly seed: number;
  /** Whether a caller that has its answer closes its requests, however many are still to come. */
  readonly closesAnswered: boolean;
  /** Remembers what happened, for who looks into a seed. */
  log(what: string): void;
}

function must(claim: boolean, what: () => string): asserts claim {
  if (!claim) throw new Error(what());
}

/** One end of a call: sends and takes messages as planned, and sees to it that they are the right ones. */
abstract class End implements StreamSink {
  readonly plan: CallPlan;
  stream: Stream | undefined;
  hasEnded = false;
  endCause: Error | undefined;
  isTerminated = false;
  received = 0;
  sent = 0;
  hasSentAll = false;

  protected readonly world: World;
  protected readonly random: Random;
  readonly #outgoing: 'up' | 'down';
  readonly #sending: Sending;
  readonly #reading: Reading;
  #demand = 0;
  #isLastSeen = false;

  constructor(world: World, plan: CallPlan, outgoing: 'up' | 'down') {
    this.world = world;
    this.plan = plan;
    this.#outgoing = outgoing;
    this.random = new Random(world.seed, plan.id * 2 + (outgoing === 'up' ? 0 : 1));
    this.#sending = outgoing === 'up' ? plan.requests : plan.responses;
    this.#reading = outgoing === 'up' ? plan.clientReads : plan.serverReads;
  }

  abstract readonly manager: Manager;

  /** Whether nothing more happens here. */
  get isOver(): boolean {
    return this.isTerminated && this.hasEnded;
  }

  get name(): string {
    return `${this.#outgoing === 'up' ? 'client' : 'server'} of call ${this.plan.id}`;
  }

  /** Whether it ended the stream itself while it took a message. */
  protected abstract get hasLeft(): boolean;

  protected startReading(): void {
    if (this.#reading.mode === 'push') this.request(Infinity);
    else if (this.#reading.mode === 'pull') this.request(1);
  }

  protected request(count: number): void {
    this.#demand += count;
    this.stream!.request(count);
  }

  /** Sends the planned messages from where it stood; calls {@link sentAll} behind the last. */
  protected goOn(): void {
    const { sizes, waits, pause, isText } = this.#sending;
    const stream = this.stream!;
    while (this.sent < sizes.length) {
      if (!stream.canSend) return;
      const content = contentOf(this.plan, this.#outgoing, this.sent++);
      let isRoom: boolean;
      try {
        isRoom = stream.trySend(isText ? content.toString() : content);
      } catch (error) {
        must(error instanceof MessageSizeError, () => `${this.name}: sending throws ${String(error)}`);
        return this.tooLarge(error);
      }
      if (pause > 0) {
        this.world.clock.after(this.random.int(0, pause), () => this.goOn());
        return;
      }
      if (!isRoom && waits) {
        stream.drained().then(
          () => this.goOn(),
          () => undefined,
        );
        return;
      }
    }
    if (this.hasSentAll || !stream.canSend) return;
    this.hasSentAll = true;
    this.sentAll();
  }

  /** A message is larger than the peer, or this end, allows. */
  protected abstract tooLarge(error: MessageSizeError): void;
  protected abstract sentAll(): void;
  protected abstract ended(): void;
  protected abstract streamTerminated(): void;

  message(bytes: Buffer, start: number, end: number, isLast: boolean): void {
    must(!this.hasEnded, () => `${this.name}: a message after the end`);
    must(!this.#isLastSeen, () => `${this.name}: a message after the last one`);
    must(this.#demand > 0, () => `${this.name}: a message that was not asked for`);
    this.#demand--;
    const incoming = this.#outgoing === 'up' ? 'down' : 'up';
    const expected = contentOf(this.plan, incoming, this.received);
    must(
      expected.equals(bytes.subarray(start, end)),
      () =>
        `${this.name}: message ${this.received} of ${end - start} bytes is not the one of ${expected.length} sent`,
    );
    this.received++;
    this.#isLastSeen = isLast;
    this.took();
    if (this.#reading.mode === 'pull' && !isLast) {
      const { pause } = this.#reading;
      if (pause === 0) this.request(1);
      else {
        this.world.clock.after(this.random.int(0, pause), () => {
          if (!this.hasEnded) this.request(1);
        });
      }
    }
  }

  /** A message was taken. */
  protected took(): void {}

  end(cause: Error | undefined): void {
    must(!this.hasEnded, () => `${this.name}: ended twice`);
    must(
      !this.#isLastSeen || !cause || this.hasLeft,
      () => `${this.name}: the last message was followed by ${String(cause)}`,
    );
    this.hasEnded = true;
    this.endCause = cause;
    this.world.log(`${this.name}: end ${cause ? String(cause) : ''}`);
    this.ended();
  }

  terminated(): void {
    must(!this.isTerminated, () => `${this.name}: terminated twice`);
    this.isTerminated = true;
    const { stream, manager } = this;
    // A stream that ends while it is opened is not known here yet, and has no id.
    if (stream && stream.id !== 0) {
      this.world.rules.ended(this.#outgoing, BigInt(stream.id), manager.writer.appended);
    }
    this.world.log(`${this.name}: terminated ${stream?.cause ? String(stream.cause) : ''}`);
    this.streamTerminated();
  }
}

/** The caller. */
export class ClientCall extends End {
  readonly #conn: Conn;
  /** Its own cause, when it gave up. */
  cancelCause: Error | undefined;
  /** It could not even begin. */
  openError: Error | undefined;
  /** The connection's end found it with nothing sent. */
  wasUnsent = false;
  /** The server said that it will not run it, and it went elsewhere. */
  wasMoved = false;
  /** The connection was no longer to be used. */
  isSkipped = false;
  startedAt = 0;
  readonly #onOver: () => void;
  #isOverTold = false;

  constructor(world: World, plan: CallPlan, conn: Conn, onOver: () => void) {
    super(world, plan, 'up');
    this.#conn = conn;
    this.#onOver = onOver;
  }

  get manager(): Manager {
    return this.#conn.manager;
  }

  override get isOver(): boolean {
    return this.openError !== undefined || super.isOver;
  }

  start(): void {
    const { plan, world } = this;
    this.startedAt = world.clock.now();
    world.log(`${this.name}: start`);
    const rpc = `/call/${plan.id}`;
    const metadata = plan.metadata ? { caller: `number ${plan.id}` } : undefined;
    try {
      if (plan.isUnary) {
        const content = contentOf(plan, 'up', 0);
        const payload = plan.requests.isText ? content.toString() : content;
        this.stream = this.#conn.openUnary(rpc, payload, this, metadata, plan.timeout);
        this.sent = 1;
        this.hasSentAll = true;
      } else this.stream = this.#conn.open(rpc, this, metadata, plan.timeout);
    } catch (error) {
      this.openError = error as Error;
      world.log(`${this.name}: not opened, ${String(error)}`);
      return this.#onOver();
    }
    if (plan.cancelAfter === 0 || plan.cancelAt === 0) return this.cancel();
    if (plan.cancelAfter !== undefined) world.clock.after(plan.cancelAfter, () => this.cancel());
    this.startReading();
    if (!plan.isUnary) this.goOn();
  }

  cancel(cause: Error = new CanceledError(`call ${this.plan.id} given up`)): void {
    if (this.isOver) return;
    const { stream } = this;
    this.world.log(`${this.name}: gives up`);
    if (!stream!.isTerminated) this.cancelCause = cause;
    stream!.sendCancel(cause);
    if (this.plan.clientReads.mode === 'none') {
      stream!.discard();
      this.#leave();
    }
  }

  /** What the call came to. @throws when that is not one of the allowed ends. */
  outcome(server: ServerCall | undefined, mayExhaust: boolean): string {
    const { plan, endCause: cause, stream } = this;
    if (this.isSkipped) return 'not begun';
    if (this.openError) {
      must(
        this.openError === this.manager.cause || this.openError instanceof MessageSizeError,
        () => `${this.name}: not opened, ${String(this.openError)}`,
      );
      return 'not opened';
    }
    must(this.isOver, () => `${this.name}: no end`);
    if (!cause) {
      // An early leaver is told nothing.
      if (plan.clientReads.mode === 'none') return 'left';
      must(server !== undefined, () => `${this.name}: an answer, but no handler ran`);
      must(
        server.finish === 'ok' || server.finish === 'close',
        () => `${this.name}: an ordinary end, but the handler has ${server.finish}`,
      );
      must(
        this.received === plan.responses.sizes.length,
        () => `${this.name}: ${this.received} answers of ${plan.responses.sizes.length}`,
      );
      return 'ok';
    }
    if (cause === this.cancelCause) return 'canceled';
    if (cause === this.manager.cause) return 'connection lost';
    must(cause instanceof DrpcError, () => `${this.name}: ended with a foreign ${String(cause)}`);
    if (cause instanceof EofError) {
      must(plan.clientEnd !== 'closeSend' && this.hasSentAll, () => `${this.name}: ${String(cause)}`);
      return 'closed';
    }
    if (cause instanceof DeadlineError || cause.code === DrpcCode.DeadlineExceeded) {
      must(plan.timeout !== undefined, () => `${this.name}: ${String(cause)} without a deadline`);
      return 'deadline';
    }
    // Plain peers read the text of a refusal; its mark needs the status form.
    if (isStreamRefused(cause) || /^(too many concurrent streams|drain$)/.test(cause.message)) {
      must(server === undefined, () => `${this.name}: refused, but it ran`);
      return 'refused';
    }
    if (cause.code === DrpcCode.ResourceExhausted) {
      must(mayExhaust, () => `${this.name}: ${String(cause)}`);
      return 'exhausted';
    }
    must(server !== undefined, () => `${this.name}: ${String(cause)}, but no handler ran`);
    const { finish } = server;
    const isExplained =
      (finish === 'cancel' && cause instanceof CanceledError && stream!.isCanceled) ||
      ((finish === 'error' || finish === 'fail') && cause.message === server.error.message) ||
      (finish === 'throw' && cause.code === DrpcCode.Unknown);
    must(isExplained, () => `${this.name}: ${String(cause)}, but the handler has ${finish}`);
    return `handler: ${finish}`;
  }

  protected get hasLeft(): boolean {
    return this.cancelCause !== undefined;
  }

  protected override took(): void {
    if (this.received === this.plan.cancelAt) this.cancel();
  }

  protected tooLarge(error: MessageSizeError): void {
    this.cancel(error);
  }

  protected sentAll(): void {
    const { clientEnd } = this.plan;
    if (clientEnd === 'close') this.stream!.close();
    else if (clientEnd === 'error')
      this.stream!.sendError(new DrpcError(DrpcCode.Aborted, 'the caller broke'));
    else this.stream!.closeSend();
  }

  protected ended(): void {
    this.#tellIfOver();
  }

  protected streamTerminated(): void {
    // While the connection lives, what was appended still goes out.
    this.wasUnsent = this.manager.isTerminated && this.stream !== undefined && this.stream.isUnsent;
    // One that ends while it is opened is told its end as well.
    if (this.plan.clientReads.mode === 'none' && this.stream) this.#leave();
    else this.#tellIfOver();
  }

  /** Nobody reads: what waits is dropped, and the end with it. */
  #leave(): void {
    this.stream?.discard();
    this.hasEnded = true;
    this.#tellIfOver();
  }

  #tellIfOver(): void {
    if (!super.isOver || this.#isOverTold) return;
    this.#isOverTold = true;
    this.#onOver();
  }
}

/** The handler. */
export class ServerCall extends End {
  readonly manager: Manager;
  readonly error: DrpcError;
  /** How it ended its rpc, by itself. */
  finish: string = 'not finished';
  hasHandlerEnded = false;
  #isEnding = false;

  constructor(world: World, plan: CallPlan, manager: Manager, stream: Stream) {
    super(world, plan, 'down');
    this.manager = manager;
    this.stream = stream;
    this.error = new DrpcError(this.random.pick([3, 5, 9, 13]), `handler ${plan.id} says no`);
    stream.sink = this;
    world.log(`${this.name}: run`);
    const caller = stream.metadata?.caller;
    must(
      caller === (plan.metadata ? `number ${plan.id}` : undefined),
      () => `${this.name}: metadata ${caller}`,
    );
    must(stream.metadata?.['grpc-timeout'] === undefined, () => `${this.name}: reserved metadata`);
    if (plan.guard === 0) this.#begin();
    else world.clock.after(plan.guard, () => this.#begin());
  }

  override get isOver(): boolean {
    return this.stream!.isTerminated && this.hasHandlerEnded;
  }

  #begin(): void {
    if (this.#isEnding) return;
    this.startReading();
    if (!this.plan.waitsForRequests) this.goOn();
  }

  protected get hasLeft(): boolean {
    return this.plan.handlerEnd === 'throw';
  }

  protected override took(): void {
    if (this.plan.handlerEnd !== 'throw') return;
    // An end that still waits behind messages is dropped with them.
    if (!this.hasSentAll || this.stream!.queuedBytes > 0) this.finish = 'throw';
    throw new Error('handler bug');
  }

  protected ended(): void {
    const { plan, endCause } = this;
    if (endCause) return;
    must(
      this.received === plan.requests.sizes.length ||
        plan.clientEnd === 'error' ||
        (this.hasSentAll && this.world.closesAnswered),
      () => `${this.name}: ${this.received} requests of ${plan.requests.sizes.length}`,
    );
    if (plan.waitsForRequests && !this.#isEnding) this.goOn();
  }

  protected tooLarge(error: MessageSizeError): void {
    this.finish = 'too large';
    this.stream!.sendError(error);
    this.#end();
  }

  protected sentAll(): void {
    const { handlerEnd } = this.plan;
    const stream = this.stream!;
    this.finish = handlerEnd === 'throw' ? 'ok' : handlerEnd;
    this.world.log(`${this.name}: finish ${this.finish}`);
    switch (handlerEnd) {
      case 'ok':
      case 'throw':
        stream.closeSend();
        break;
      case 'error':
        stream.sendError(this.error);
        break;
      case 'close':
        stream.close();
        break;
      case 'cancel':
        stream.sendCancel();
        break;
      default:
        stream.fail(this.error);
    }
    this.#end();
  }

  protected streamTerminated(): void {
    this.#end();
  }

  /** The handler is over, whatever comes; it needs its time for that. */
  #end(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    const { cleanup } = this.plan;
    if (cleanup === 0) this.#handlerEnded();
    else this.world.clock.after(cleanup, () => this.#handlerEnded());
  }

  #handlerEnded(): void {
    this.hasHandlerEnded = true;
    this.stream!.discard();
    this.stream!.handlerEnded();
  }
}
