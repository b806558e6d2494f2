import type { Clock } from '../clock/clock.js';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError, ProtocolError } from '../errors/drpc-error.js';
import { streamRefused } from '../errors/error-info.js';
import { escapeName } from '../errors/escape.js';
import { isReservedKey, type Metadata } from '../metadata/metadata.js';
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
}

export interface AdmissionLimits {
  readonly maxStreams: number;
  readonly maxMetadataSize: number;
  readonly maxNameSize: number;
}

/**
 * Decides which rpcs of a peer begin (a server's connection): puts their Invokes together and answers those with an
 * error that are too many, too large, or too late. What it admitted last stands in {@link rpc}, {@link metadata} and
 * {@link timeout}.
 */
export class Admission {
  rpc = '';
  /** Without what is the protocol's; `undefined`: none was sent. */
  metadata: Metadata | undefined;
  /** In ms. */
  timeout: number | undefined;

  readonly #host: AdmissionHost;
  readonly #limits: AdmissionLimits;
  readonly #pending: PendingInvokes;
  readonly #usedIds = new UsedIds();
  /** What new rpcs are answered with. */
  #stopError: DrpcError | undefined;
  #isStoppedSilently = false;
  #isWaitingForWriter = false;

  constructor(host: AdmissionHost, limits: AdmissionLimits) {
    this.#host = host;
    this.#limits = limits;
    this.#pending = new PendingInvokes(host.pool, limits.maxMetadataSize, limits.maxNameSize);
  }

  /** Invokes that are not complete; each takes a slot. */
  get pending(): number {
    return this.#pending.size;
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
  }

  clear(): void {
    this.#pending.clear();
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
      if (this.#stopError) return this.#refuse(header, this.#stopError);
      if (this.#host.slots >= this.#limits.maxStreams) return this.#refuse(header, this.#tooMany());
    }
    switch (pending.handle(header, bytes, start, end)) {
      case InvokeStep.Wait:
        return false;
      case InvokeStep.MetadataTooLarge:
        return this.#refuse(
          header,
          new DrpcError(
            DrpcCode.ResourceExhausted,
            `metadata of ${pending.refusedSize} bytes or more exceeds the limit of ${this.#limits.maxMetadataSize}`,
          ),
        );
      case InvokeStep.NameTooLong:
        return this.#refuse(
          header,
          new DrpcError(
            DrpcCode.InvalidArgument,
            `rpc name of ${pending.refusedSize} bytes or more exceeds the limit of ${this.#limits.maxNameSize}`,
          ),
        );
      case InvokeStep.Complete:
        return this.#admit(header);
    }
  }

  #admit(header: FrameHeader): boolean {
    const { rpc, metadata } = this.#pending;
    this.rpc = rpc;
    this.metadata = metadata;
    this.timeout = undefined;
    if (!metadata) return true;
    const compression = metadata[COMPRESSION_KEY];
    if (compression !== undefined && compression !== '') {
      return this.#refuse(
        header,
        new DrpcError(
          DrpcCode.Unimplemented,
          `compression "${escapeName(compression)}" is not supported: send messages without ${COMPRESSION_KEY}`,
        ),
      );
    }
    this.timeout = takeReserved(metadata);
    return true;
  }

  #tooMany(): DrpcError {
    return streamRefused(
      `too many concurrent streams: refused: at most ${this.#limits.maxStreams} concurrent streams`,
    );
  }

  /** Answers an Invoke with an error; a peer that floods waits for its answers. Always false. */
  #refuse(header: FrameHeader, error: DrpcError): false {
    this.#pending.refuse(header);
    const { writer, errorForm } = this.#host;
    const payload = marshalError(error, errorForm);
    writer.frame(ERROR, header.streamId, 1, payload, 0, payload.length);
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

/** Removes what is not the application's from metadata; answers the timeout in ms that stood there. */
function takeReserved(metadata: Metadata): number | undefined {
  const text = metadata[TIMEOUT_KEY];
  for (const key of Object.keys(metadata)) {
    if (isReservedKey(key)) delete metadata[key];
  }
  return text === undefined ? undefined : decodeTimeout(text);
}
