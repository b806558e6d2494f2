import { ProtocolError } from '../errors/drpc-error.js';
import { decodeMetadata, metadataSize, type Metadata } from '../metadata/metadata.js';
import type { BufferPool } from '../wire/buffer-pool.js';
import type { FrameHeader } from '../wire/frame.js';
import { Kind } from '../wire/kind.js';
import { PacketAssembler } from '../wire/packet-assembler.js';
import type { Uint64 } from '../wire/varint.js';
import { idKey } from './id-key.js';
import { RpcNames } from './rpc-names.js';

/** Refused ids whose Invoke is not complete; senders finish one Invoke before they begin many others. */
const MAX_REFUSED = 1000;

/** A stream that has begun and whose Invoke is not complete. */
class PendingInvoke {
  readonly id: Uint64;
  readonly assembler: PacketAssembler;
  metadata: Metadata | undefined;
  metadataSize = 0;
  /** What it holds: its metadata, and the packet that is not complete. */
  heldBytes = 0;
  /** Its error was sent; what still comes of its Invoke is swallowed. */
  isRefused = false;

  constructor(id: Uint64, pool: BufferPool) {
    this.id = id;
    this.assembler = new PacketAssembler(pool);
  }
}

/** What {@link PendingInvokes.handle} found. */
export enum InvokeStep {
  /** More frames are needed. */
  Wait,
  /** The Invoke is complete: {@link PendingInvokes.rpc} and {@link PendingInvokes.metadata} say of what. */
  Complete,
  /** The metadata is larger than allowed. */
  MetadataTooLarge,
  /** The metadata is larger than allowed with what its entries cost beside their bytes. */
  TooManyEntries,
  /** The name is longer than allowed. */
  NameTooLong,
}

/**
 * Metadata and Invokes that arrive in several frames, assembled per stream id, interleaved at will. An
 * entry leaves when its Invoke is complete, or on Cancel or Close of its id; entries take stream slots, so
 * the Manager bounds their number.
 */
export class PendingInvokes {
  /** The name of the completed Invoke. */
  rpc = '';
  /** The metadata of the completed Invoke. */
  metadata: Metadata | undefined;
  /** What they count as. */
  metadataSize = 0;
  /** Bytes that the metadata or name that was found too large count as, as far as they are known. */
  refusedSize = 0;

  readonly #names = new RpcNames();
  readonly #pool: BufferPool;
  readonly #maxMetadataSize: number;
  readonly #maxNameSize: number;
  readonly #entries = new Map<number | string, PendingInvoke>();
  #refused = 0;
  #heldBytes = 0;

  constructor(pool: BufferPool, maxMetadataSize: number, maxNameSize: number) {
    this.#pool = pool;
    this.#maxMetadataSize = maxMetadataSize;
    this.#maxNameSize = maxNameSize;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Bytes held by all of them. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** The id that holds most, and how much; `undefined` when none holds anything. */
  get greatest(): { id: Uint64; heldBytes: number } | undefined {
    let greatest: { id: Uint64; heldBytes: number } | undefined;
    for (const { id, heldBytes } of this.#entries.values()) {
      if (heldBytes > (greatest ? greatest.heldBytes : 0)) greatest = { id, heldBytes };
    }
    return greatest;
  }

  has(id: Uint64): boolean {
    return this.#entries.has(idKey(id));
  }

  /**
   * Handles an Invoke or InvokeMetadata frame, of a new or a pending id.
   * @throws ProtocolError for metadata that can not be decoded or ids that fall; ends the connection.
   */
  handle(header: FrameHeader, bytes: Buffer, start: number, end: number): InvokeStep {
    const isInvoke = header.kind === Kind.Invoke;
    let entry = this.#entries.get(idKey(header.streamId));
    if (!entry) {
      if (isInvoke && header.done && header.messageId !== 0) {
        // The usual case: no metadata, one frame. Nothing has to be remembered.
        if (header.length > this.#maxNameSize) {
          this.refusedSize = header.length;
          return InvokeStep.NameTooLong;
        }
        this.rpc = this.#names.decode(bytes, start, end);
        this.metadata = undefined;
        this.metadataSize = 0;
        return InvokeStep.Complete;
      }
      entry = new PendingInvoke(header.streamId, this.#pool);
      this.#entries.set(idKey(header.streamId), entry);
    }
    if (entry.isRefused) {
      if (isInvoke && header.done) this.drop(header.streamId);
      return InvokeStep.Wait;
    }
    const { assembler } = entry;
    assembler.check(header);
    const limit = isInvoke ? this.#maxNameSize : this.#maxMetadataSize;
    const size = assembler.length + header.length;
    if (size > limit) {
      this.refusedSize = size;
      return isInvoke ? InvokeStep.NameTooLong : InvokeStep.MetadataTooLarge;
    }
    if (!assembler.add(header, bytes, start, end)) {
      this.#hold(entry, entry.metadataSize + assembler.length);
      return InvokeStep.Wait;
    }
    if (isInvoke) {
      this.rpc = assembler.bytes.toString('utf8', assembler.start, assembler.end);
      this.metadata = entry.metadata;
      this.metadataSize = entry.metadataSize;
      this.drop(header.streamId);
      return InvokeStep.Complete;
    }
    const counted = metadataSize(assembler.bytes, assembler.start, assembler.end);
    if (counted > this.#maxMetadataSize) {
      this.refusedSize = counted;
      return InvokeStep.TooManyEntries;
    }
    entry.metadata = decodeMetadata(assembler.bytes, assembler.start, assembler.end);
    entry.metadataSize = counted;
    if (assembler.isPooled) assembler.release();
    this.#hold(entry, counted);
    return InvokeStep.Wait;
  }

  /**
   * Frees what an id holds, and remembers that it was refused while more of its Invoke is still to come.
   * @param isComplete whether nothing more of it will come
   * @throws ProtocolError when too many of them never end; ends the connection.
   */
  refuse(id: Uint64, isComplete: boolean): void {
    if (isComplete) return this.drop(id);
    let entry = this.#entries.get(idKey(id));
    if (!entry) this.#entries.set(idKey(id), (entry = new PendingInvoke(id, this.#pool)));
    entry.assembler.release();
    entry.metadata = undefined;
    this.#hold(entry, 0);
    if (entry.isRefused) return;
    entry.isRefused = true;
    if (++this.#refused > MAX_REFUSED) {
      throw new ProtocolError(
        `${this.#refused} invokes were refused and never completed: at most ${MAX_REFUSED} may be under way`,
      );
    }
  }

  /** Forgets `id`; harmless when it is not pending. */
  drop(id: Uint64): void {
    const entry = this.#entries.get(idKey(id));
    if (!entry) return;
    if (entry.isRefused) this.#refused--;
    entry.assembler.release();
    this.#hold(entry, 0);
    this.#entries.delete(idKey(id));
  }

  clear(): void {
    for (const { id } of [...this.#entries.values()]) this.drop(id);
  }

  #hold(entry: PendingInvoke, bytes: number): void {
    this.#heldBytes += bytes - entry.heldBytes;
    entry.heldBytes = bytes;
  }
}
