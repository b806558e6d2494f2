import { DrpcError } from '../../lib/errors/drpc-error.js';
import { encodeMetadata } from '../../lib/metadata/metadata.js';
import { marshalError } from '../../lib/wire/error-payload.js';
import type { Random } from '../simulation/random.js';
import { mutate, varint, wireNumber, type SlowFrame } from './slow-frames.js';

/** Where a generated peer stands on one stream. */
interface Hand {
  next: bigint;
  unfinished: number | undefined;
  hasInvoked: boolean;
}

/**
 * Frames as a peer might send them: mostly in order, so that they get far, and now and then against each of
 * the rules.
 */
export class FrameProgram {
  readonly #random: Random;
  readonly #isClient: boolean;
  readonly #hands = new Map<bigint, Hand>();
  #lastId = 0n;

  /** @param isClient which end sends the frames */
  constructor(random: Random, isClient: boolean) {
    this.#random = random;
    this.#isClient = isClient;
  }

  /** The next frames: one, or a run that belongs together. */
  next(): SlowFrame[] {
    const random = this.#random;
    if (random.chance(0.03)) return [this.#wild()];
    if (random.chance(0.25) || this.#hands.size === 0) return this.#begin();
    const ids = [...this.#hands.keys()];
    const id = random.chance(0.7) ? ids[ids.length - 1]! : random.pick(ids);
    return [this.#goOn(id, this.#hands.get(id)!)];
  }

  #begin(): SlowFrame[] {
    const random = this.#random;
    const id = random.chance(0.9)
      ? this.#lastId + 1n
      : random.chance(0.8)
        ? wireNumber(random)
        : this.#lastId + BigInt(random.int(1, 5000));
    if (id > this.#lastId && id < 2n ** 62n) this.#lastId = id;
    const hand: Hand = { next: 1n, unfinished: undefined, hasInvoked: !this.#isClient };
    this.#hands.set(id, hand);
    if (!this.#isClient) return [this.#goOn(id, hand)];
    const frames = random.chance(0.3) ? this.#packet(id, hand, 7, this.#metadata()) : [];
    if (random.chance(0.05)) return frames;
    const name = random.chance(0.9) ? `/service/${random.int(0, 9)}` : 'x'.repeat(random.int(0, 120));
    return [...frames, ...this.#packet(id, hand, 1, Buffer.from(name))];
  }

  #goOn(id: bigint, hand: Hand): SlowFrame {
    const random = this.#random;
    const kind = hand.unfinished ?? random.pick([2, 2, 2, 2, 2, 2, 6, 6, 5, 4, 3, 8, random.int(9, 63)]);
    const done = random.chance(0.8);
    const messageId = kind === 8 && random.chance(0.8) ? 0n : hand.next;
    hand.unfinished = done || kind === 8 ? undefined : kind;
    if (done && kind !== 8) hand.next += random.chance(0.95) ? 1n : BigInt(random.int(1, 4));
    else if (random.chance(0.03)) {
      hand.next++;
      hand.unfinished = undefined;
    }
    const control = kind > 8 ? random.chance(0.9) : kind === 8 || random.chance(0.1);
    return { kind, done, control, streamId: id, messageId, data: this.#data(kind) };
  }

  /** A packet in one frame, or in several. */
  #packet(id: bigint, hand: Hand, kind: number, data: Buffer): SlowFrame[] {
    const random = this.#random;
    const pieces = random.chance(0.8) ? [data] : [...random.cut(data), Buffer.alloc(0)];
    const messageId = hand.next++;
    return pieces.map((piece, i) => ({
      kind,
      done: i === pieces.length - 1,
      control: random.chance(0.02),
      streamId: id,
      messageId,
      data: piece,
    }));
  }

  #data(kind: number): Buffer {
    const random = this.#random;
    if (kind === 8) return random.chance(0.8) ? varint(wireNumber(random)) : random.bytes(random.size(12));
    if (kind === 3 && random.chance(0.8)) {
      return marshalError(new DrpcError(random.int(0, 17), 'no'), random.pick(['storj', 'status']));
    }
    if (kind === 2) return Buffer.alloc(random.size(random.chance(0.1) ? 3000 : 300), random.int(0, 255));
    return random.chance(0.9) ? Buffer.alloc(0) : random.bytes(random.size(100));
  }

  #metadata(): Buffer {
    const random = this.#random;
    const metadata: Record<string, string> = { a: 'b' };
    if (random.chance(0.1)) metadata['drpc-compression'] = random.pick(['', 'snappy']);
    if (random.chance(0.2)) metadata['grpc-timeout'] = random.pick(['1S', '0m', '99999999H', 'x']);
    if (random.chance(0.2)) metadata['long'] = 'x'.repeat(random.int(0, 300));
    const bytes = encodeMetadata(metadata);
    return random.chance(0.05) ? mutate(random, bytes) : bytes;
  }

  #wild(): SlowFrame {
    const random = this.#random;
    return {
      kind: random.chance(0.7) ? random.int(0, 9) : random.int(0, 63),
      done: random.chance(0.7),
      control: random.chance(0.3),
      streamId: random.chance(0.5) ? BigInt(random.int(0, 6)) : wireNumber(random),
      messageId: wireNumber(random),
      data: random.bytes(random.size(random.chance(0.1) ? 5000 : 50)),
    };
  }
}
