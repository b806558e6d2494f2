import { MappingContext } from '../bridge/unhandled-exception.js';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import type { Metadata } from '../metadata/metadata.js';
import type { Stream } from '../stream/stream.js';
import type { DrpcPeer } from './drpc-peer.js';

const NO_METADATA: Readonly<Metadata> = Object.freeze(Object.create(null) as Metadata);
const NO_ARGS: never[] = [];

/** What a handler can know and do about its call: `@Ctx() ctx: DrpcContext`. */
export class DrpcContext extends MappingContext {
  readonly #stream: Stream;
  readonly #peer: DrpcPeer;
  /** The end of the stream is not the end of the call: an event was accepted and runs on. */
  readonly #isDetached: boolean;
  #abort: AbortController | undefined;
  #cause: Error | undefined;
  /** What the call has ended with; {@link DrpcCode.Ok} also while nothing went wrong yet. */
  #code = DrpcCode.Ok;
  #isOver = false;

  /** @internal */
  constructor(stream: Stream, peer: DrpcPeer, isDetached: boolean) {
    super(NO_ARGS);
    this.#stream = stream;
    this.#peer = peer;
    this.#isDetached = isDetached;
  }

  /** The name of the rpc on the wire, which a pattern becomes. */
  get pattern(): string {
    return this.#stream.rpc;
  }

  /** What the client sent with its call, keys in lower case; a record without prototype. */
  get metadata(): Readonly<Metadata> {
    return this.#stream.metadata ?? NO_METADATA;
  }

  get peer(): DrpcPeer {
    return this.#peer;
  }

  /**
   * Aborts when the call ends before its handler: a Cancel, a deadline, the connection's end, a shutdown;
   * with that cause as reason. Made when first asked for.
   */
  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (!this.#isDetached && this.#stream.isTerminated) this.#cause ??= this.#stream.cause;
      if (this.#cause) this.#abort.abort(this.#cause);
    }
    return this.#abort.signal;
  }

  /**
   * What the call ended with, as its caller is told; `undefined` while it runs. 0: well; of an event, that all its
   * handlers ended well. For what watches calls: the processing end hook, an interceptor's `finalize`.
   */
  get code(): DrpcCode | undefined {
    if (!this.#isOver) return undefined;
    if (this.#code !== DrpcCode.Ok || this.#isDetached) return this.#code;
    const { cause } = this.#stream;
    return cause && !this.#stream.isEndedWell ? DrpcError.from(cause).code : DrpcCode.Ok;
  }

  /**
   * For sources that can not be held up: `undefined` while values may be sent, otherwise a Promise that
   * resolves when they may again, and also when the call has ended. Never rejects.
   */
  get drained(): Promise<void> | undefined {
    return this.#stream.queuedBytes === 0 ? undefined : this.#stream.drained().catch(() => undefined);
  }

  /** @see pattern */
  getPattern(): string {
    return this.pattern;
  }

  /** @see metadata */
  getMetadata(): Readonly<Metadata> {
    return this.metadata;
  }

  /** @see peer */
  getPeer(): DrpcPeer {
    return this.#peer;
  }

  /** @see signal */
  getSignal(): AbortSignal {
    return this.signal;
  }

  /** Pattern, metadata and peer. */
  override getArgs(): [pattern: string, metadata: Readonly<Metadata>, peer: DrpcPeer] {
    return [this.pattern, this.metadata, this.#peer];
  }

  /** One of {@link getArgs}. */
  override getArgByIndex(index: number): unknown {
    return this.getArgs()[index];
  }

  /**
   * Something went wrong, and this is what the caller is told; the first counts.
   * @internal
   */
  fail(code: DrpcCode): void {
    if (this.#code === DrpcCode.Ok) this.#code = code;
  }

  /**
   * The call is over, and its handler has ended.
   * @internal
   */
  settle(): void {
    this.#isOver = true;
  }

  /**
   * The call has ended before its time, by default for what ended its stream.
   * @internal
   */
  end(cause?: Error): void {
    if (this.#abort) this.#abort.abort(cause ?? this.#stream.cause);
    else this.#cause ??= cause;
  }
}
