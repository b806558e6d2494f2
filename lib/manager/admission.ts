import type { Clock } from '../clock/clock.js';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError, ProtocolError } from '../errors/drpc-error.js';
import { streamRefused } from '../errors/error-info.js';
import { escapeName } from '../errors/escape.js';
import { withoutStack } from '../errors/without-stack.js';
import { ENTRY_OVERHEAD, isReservedKey, type Metadata } from '../metadata/metadata.js';
import { decodeTimeout, TIMEOUT_KEY } from '../metadata/timeout.js';
import type { BufferPool } from '../wire/buffer-pool.js';
import { marshalError, type ErrorForm } from '../wire/error-payload.js';
import { headerByte, type FrameHeader } from '../wire/frame.js';
import { Kind } from '../wire/kind.js';
import type { MuxWriter } from '../wire/mux-writer.js';
import type { Uint64 } from '../wire/varint.js';
import { InvokeStep, PendingInvokes } from './pending-invokes.js';
import { UsedIds } from './used-ids.js';

/** Metadata key by which a client says how it compresses messages. */
const COMPRESSION_KEY = 'drpc-compression';

const ERROR = headerByte(Kind.Error, true, false);

/** What the admission needs of its connection. */
export interface AdmissionHost {
  readonly clock: Clock;
  readonly pool: BufferPool;
  readonly writer: MuxWriter;
  readonly errorForm: ErrorForm;
  /** Slots taken of `maxStreams`, pending Invokes among them. */
  readonly slots: number;
  /** Lets no frame through until {@link resumeReading} was called as often. */
  pauseReading(): void;
  resumeReading(): void;
  /** An rpc did not begin, because there are too many. */
  overloaded(error: DrpcError): void;
  /** `delta` bytes more (or less) are held for Invokes that are not complete; may free some of them in here. */
  countPending(delta: number): void;
}

export interface AdmissionLimits {
  readonly maxStreams: number;
  readonly maxMetadataSize: number;
  readonly maxNameSize: number;
}

/**
 * Decides which rpcs of a peer begin (a server's connection): puts their Invokes together and answers those with an
 * error that are too many, too large, or too late. What it admitted last stands in {@link rpc}, {@link metadata},
 * {@link metadataSize} and {@link timeout}.
 */
export class Admission {
  rpc = '';
  /** Without what is the protocol's; `undefined`: none was sent. */
  metadata: Metadata | undefined;
  /** What the metadata count as; counted for the connection already, and the stream's from now on. */
  metadataSize = 0;
  /** In ms. */
  timeout: number | undefined;

  readonly #host: AdmissionHost;
  readonly #limits: AdmissionLimits;
  readonly #pending: PendingInvokes;
  readonly #usedIds = new UsedIds();
  /** What new rpcs are answered with. */
  #stopError: DrpcError | undefined;
  #tooManyError: DrpcError | undefined;
  #isStoppedSilently = false;
  #isWaitingForWriter = false;
  /** Bytes that the host counts for Invokes that are not complete. */
  #counted = 0;

  constructor(host: AdmissionHost, limits: AdmissionLimits) {
    this.#host = host;
    this.#limits = limits;
    this.#pending = new PendingInvokes(host.pool, limits.maxMetadataSize, limits.maxNameSize);
  }

  /** Invokes that are not complete; each takes a slot. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Bytes of the Invoke that holds most of those that are not complete. */
  get greatestPending(): number {
    return this.#pending.greatest?.heldBytes ?? 0;
  }

  /** The highest stream id seen. */
  get highestId(): Uint64 {
    return this.#usedIds.highest;
  }

  /** Admits nothing more: new rpcs are answered with `error`, or dropped without an answer if there is none. */
  stop(error: DrpcError | undefined): void {
    this.#stopError = error;
    this.#isStoppedSilently = error === undefined;
  }

  /** The peer has given `id` up. */
  drop(id: Uint64): void {
    this.#pending.drop(id);
    this.#count();
  }

  /**
   * Refuses the Invoke that holds most of those that are not complete.
   * @throws ProtocolError, which ends the connection.
   */
  evictGreatest(error: DrpcError): void {
    const { greatest } = this.#pending;
    if (greatest) this.#refuse(greatest.id, false, error);
  }

  clear(): void {
    this.#pending.clear();
    this.#count();
  }

  /**
   * Handles an Invoke or InvokeMetadata frame of an id without stream. True: its rpc is admitted, and begins now.
   * @throws ProtocolError, which ends the connection.
   */
  handle(header: FrameHeader, bytes: Buffer, start: number, end: number): boolean {
    const id = header.streamId;
    const pending = this.#pending;
    if (!pending.has(id)) {
      if (id === 0) throw new ProtocolError('invoke of stream 0: stream ids start at 1');
      if (this.#isStoppedSilently && id > this.#usedIds.highest) return false;
      if (!this.#usedIds.use(id)) {
        throw new ProtocolError(`invoke of stream ${id}: the id was used before, or is too old to tell`);
      }
      if (this.#stopError) return this.#refuseFrame(header, this.#stopError);
      if (this.#host.slots >= this.#limits.maxStreams) {
        this.#host.overloaded(this.#tooMany());
        return this.#refuseFrame(header, this.#tooMany());
      }
    }
    switch (pending.handle(header, bytes, start, end)) {
      case InvokeStep.Wait:
        this.#count();
        return false;
      case InvokeStep.MetadataTooLarge:
        return this.#refuseFrame(
          header,
          refusal(
            DrpcCode.ResourceExhausted,
            `metadata of ${pending.refusedSize} bytes or more exceeds the limit of ${this.#limits.maxMetadataSize}`,
          ),
        );
      case InvokeStep.TooManyEntries:
        return this.#refuseFrame(
          header,
          refusal(
            DrpcCode.ResourceExhausted,
            `metadata of ${pending.refusedSize} bytes, with ${ENTRY_OVERHEAD} for each entry, exceeds the limit of ${this.#limits.maxMetadataSize}`,
          ),
        );
      case InvokeStep.NameTooLong:
        return this.#refuseFrame(
          header,
          refusal(
            DrpcCode.InvalidArgument,
            `rpc name of ${pending.refusedSize} bytes or more exceeds the limit of ${this.#limits.maxNameSize}`,
          ),
        );
      case InvokeStep.Complete:
        return this.#admit(header);
    }
  }

  #admit(header: FrameHeader): boolean {
    const { rpc, metadata, metadataSize } = this.#pending;
    this.rpc = rpc;
    this.metadata = metadata;
    this.metadataSize = metadataSize;
    this.timeout = undefined;
    if (!metadata) {
      this.#count();
      return true;
    }
    const compression = metadata[COMPRESSION_KEY];
    if (compression !== undefined && compression !== '') {
      return this.#refuseFrame(
        header,
        refusal(
          DrpcCode.Unimplemented,
          `compression "${escapeName(compression)}" is not supported: send messages without ${COMPRESSION_KEY}`,
        ),
      );
    }
    this.timeout = takeReserved(metadata);
    this.#counted -= metadataSize;
    this.#count();
    return true;
  }

  #tooMany(): DrpcError {
    return (this.#tooManyError ??= streamRefused(
      `too many concurrent streams: refused: at most ${this.#limits.maxStreams} concurrent streams`,
    ));
  }

  /** Tells the host what changed. Nothing may be done after it that relies on what was there before. */
  #count(): void {
    const delta = this.#pending.heldBytes - this.#counted;
    if (delta === 0) return;
    this.#counted += delta;
    this.#host.countPending(delta);
  }

  #refuseFrame(header: FrameHeader, error: DrpcError): false {
    return this.#refuse(header.streamId, header.kind === Kind.Invoke && header.done, error);
  }

  /** Answers an Invoke with an error; a peer that floods waits for its answers. Always false. */
  #refuse(id: Uint64, isComplete: boolean, error: DrpcError): false {
    this.#pending.refuse(id, isComplete);
    this.#count();
    const { writer, errorForm } = this.#host;
    const payload = marshalError(error, errorForm);
    writer.frame(ERROR, id, 1, payload, 0, payload.length);
    if (writer.isFull && !this.#isWaitingForWriter) this.#waitForWriter();
    return false;
  }

  /** Reads on when its turn in the writer comes, not when all is written: streams that send without an end go on. */
  #waitForWriter(): void {
    const host = this.#host;
    this.#isWaitingForWriter = true;
    host.pauseReading();
    host.writer.enqueue({
      pump: () => {
        this.#isWaitingForWriter = false;
        host.clock.yield(() => host.resumeReading());
        return false;
      },
    });
  }
}

function refusal(code: DrpcCode, message: string): DrpcError {
  return withoutStack(() => new DrpcError(code, message));
}

/** Removes what is not the application's from metadata; answers the timeout in ms that stood there. */
function takeReserved(metadata: Metadata): number | undefined {
  const text = metadata[TIMEOUT_KEY];
  for (const key of Object.keys(metadata)) {
    if (isReservedKey(key)) delete metadata[key];
  }
  return text === undefined ? undefined : decodeTimeout(text);
}
