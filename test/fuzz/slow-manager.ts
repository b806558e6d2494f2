import { decodeMetadata, metadataSize } from '../../lib/metadata/metadata.js';
import type { SlowFrame } from './slow-frames.js';

/** The limits under which {@link SlowManager} and the Manager run, in bytes where nothing else is said. */
export interface Limits {
  maximumBufferSize: number;
  maxReceiveSize: number;
  maxMetadataSize: number;
  maxNameSize: number;
  maxStreams: number;
}

interface Packet {
  kind: number;
  messageId: bigint;
  data: Buffer;
}

/** What one stream has received; the rules of its ids. */
class Incoming {
  floor = 1n;
  unfinished: Packet | undefined;

  /** The packet that `frame` completes, `undefined` while it is not complete, or what is wrong. */
  add(frame: SlowFrame, limit: (kind: number) => number): Packet | 'fatal' | 'size' | undefined {
    const { kind, messageId, data, done } = frame;
    let packet = this.unfinished;
    if (packet?.messageId === messageId) {
      if (packet.kind !== kind) return 'fatal';
    } else {
      if (messageId < this.floor) return 'fatal';
      packet = { kind, messageId, data: Buffer.alloc(0) };
    }
    this.unfinished = packet;
    this.floor = messageId;
    if (packet.data.length + data.length > limit(kind)) return 'size';
    packet.data = Buffer.concat([packet.data, data]);
    if (!done) return undefined;
    this.unfinished = undefined;
    this.floor = messageId + 1n;
    return packet;
  }
}

class Pending extends Incoming {
  metadata: Record<string, string> | undefined;
  isRefused = false;
}

class Live extends Incoming {}

/**
 * The twin of a receiving Manager: whole frames in, what its owner is told and what it refuses out, written
 * down from docs/protocol.md alone. Its owner takes every message at once, half-closes when the peer does
 * (a server) or has half-closed before (a client), and ends a handler with its stream.
 */
export class SlowManager {
  /** What the owner was told, in order. */
  readonly events: string[] = [];
  /** Ids whose Invoke was answered with an error, each with its code. */
  readonly refusals: string[] = [];
  isDead = false;

  readonly #limits: Limits;
  readonly #isServer: boolean;
  readonly #live = new Map<bigint, Live>();
  readonly #pending = new Map<bigint, Pending>();
  readonly #used = new Set<bigint>();
  #highest = 0n;
  #isFirst = true;

  /** @param opened streams that this client has open */
  constructor(limits: Limits, opened?: readonly bigint[]) {
    this.#limits = limits;
    this.#isServer = opened === undefined;
    for (const id of opened ?? []) this.#live.set(id, new Live());
  }

  /** Streams that are open, and Invokes that have begun. */
  get slots(): number {
    return this.#live.size + this.#pending.size;
  }

  get open(): number {
    return this.#live.size;
  }

  handle(frame: SlowFrame): void {
    if (this.isDead) return;
    if (!this.#isValid(frame)) this.die();
  }

  /** The connection ends: all streams do, in the order of their ids. */
  die(): void {
    this.isDead = true;
    const ids = [...this.#live.keys()].sort((a, b) => (a < b ? -1 : 1));
    for (const id of ids) this.#end(id, 'connection');
    this.#live.clear();
    this.#pending.clear();
  }

  #isValid(frame: SlowFrame): boolean {
    const { kind, streamId, control, done } = frame;
    const isInvoke = kind === 1 || kind === 7;
    const mayBegin = isInvoke || (kind === 4 && control && done);
    if (this.#isServer && this.#isFirst && !mayBegin) return false;
    this.#isFirst = false;
    if (frame.data.length > this.#limits.maximumBufferSize) return false;
    const live = this.#live.get(streamId);
    if (live) return kind === 8 || (!isInvoke && this.#handleLive(live, frame));
    if (isInvoke) return this.#isServer && this.#handleInvoke(frame);
    if (kind === 0 || kind > 8) return frame.control;
    if (kind === 4 || kind === 5) this.#pending.delete(streamId);
    return true;
  }

  #handleLive(live: Live, frame: SlowFrame): boolean {
    const { streamId: id } = frame;
    const packet = live.add(frame, () => this.#limits.maxReceiveSize);
    if (packet === 'fatal') return false;
    if (packet === 'size') this.#end(id, 'error 8');
    if (packet === 'size' || packet === undefined) return true;
    switch (packet.kind) {
      case 2:
        this.events.push(`message ${id} ${packet.data.toString('hex')}`);
        return true;
      case 3:
        this.#end(id, 'peer error');
        return true;
      case 4:
        this.#end(id, 'canceled');
        return true;
      case 5:
      case 6:
        this.#end(id, 'ordinary');
        return true;
      default:
        return frame.control;
    }
  }

  #handleInvoke(frame: SlowFrame): boolean {
    const { streamId: id, kind, messageId, done } = frame;
    let pending = this.#pending.get(id);
    if (!pending) {
      if (id === 0n || this.#used.has(id) || id <= this.#highest - 4096n) return false;
      this.#used.add(id);
      if (id > this.#highest) this.#highest = id;
      pending = new Pending();
      if (this.slots >= this.#limits.maxStreams) {
        this.#refuse(frame, pending, 8);
        return true;
      }
      this.#pending.set(id, pending);
    }
    if (pending.isRefused) {
      if (kind === 1 && done) this.#pending.delete(id);
      return true;
    }
    const limit = (of: number): number =>
      of === 1 ? this.#limits.maxNameSize : this.#limits.maxMetadataSize;
    const packet = pending.add(frame, limit);
    if (packet === 'fatal') return false;
    if (packet === 'size') this.#refuse(frame, pending, kind === 1 ? 3 : 8);
    if (packet === 'size' || packet === undefined) return true;
    if (kind === 7) {
      try {
        if (metadataSize(packet.data) > this.#limits.maxMetadataSize) {
          this.#refuse(frame, pending, 8);
          return true;
        }
        pending.metadata = decodeMetadata(packet.data);
      } catch {
        return false;
      }
      return true;
    }
    this.#pending.delete(id);
    const { metadata } = pending;
    if (metadata?.['drpc-compression']) {
      this.#refuse(frame, pending, 12);
      return true;
    }
    for (const key of Object.keys(metadata ?? {})) {
      if (key.toLowerCase() === 'grpc-timeout' || key.toLowerCase().startsWith('drpc-'))
        delete metadata![key];
    }
    const live = new Live();
    live.floor = messageId + 1n;
    this.#live.set(id, live);
    this.events.push(`accept ${id} ${packet.data.toString()} ${JSON.stringify(metadata)}`);
    return true;
  }

  #refuse(frame: SlowFrame, pending: Pending, code: number): void {
    const { streamId: id } = frame;
    this.refusals.push(`${id} ${code}`);
    if (frame.kind === 1 && frame.done) this.#pending.delete(id);
    else {
      pending.isRefused = true;
      this.#pending.set(id, pending);
    }
  }

  #end(id: bigint, why: string): void {
    this.events.push(`end ${id} ${why}`);
    this.#live.delete(id);
  }
}
