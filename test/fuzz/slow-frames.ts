import { Random } from '../simulation/random.js';

/** A frame as {@link readSlowly} sees it; all numbers are bigints, for nothing can go wrong with them. */
export interface SlowFrame {
  kind: number;
  done: boolean;
  control: boolean;
  streamId: bigint;
  messageId: bigint;
  data: Buffer;
}

/** What {@link readSlowly} found. */
export interface SlowReading {
  frames: SlowFrame[];
  /** Why reading ended before the last byte. */
  fault: 'varint' | 'size' | undefined;
  /** Bytes behind the last frame. */
  rest: number;
}

/**
 * The twin of the frame reader: all bytes at once, one after the other, no short cuts, from the text of the
 * protocol alone (docs/protocol.md, frames). Slow and obvious.
 */
export function readSlowly(bytes: Buffer, largest: number): SlowReading {
  const frames: SlowFrame[] = [];
  let at = 0;
  for (;;) {
    const begin = at;
    const end = (fault?: SlowReading['fault']): SlowReading => ({
      frames,
      fault,
      rest: bytes.length - begin,
    });
    const first = bytes[at++];
    if (first === undefined) return end();
    const numbers: bigint[] = [];
    while (numbers.length < 3) {
      let value = 0n;
      let size = 0;
      for (;;) {
        const byte = bytes[at++];
        if (byte === undefined) return end();
        value += BigInt(byte % 128) * 128n ** BigInt(size);
        size++;
        if (byte < 128) break;
        if (size === 10) return end('varint');
      }
      numbers.push(value % 2n ** 64n);
    }
    const [streamId, messageId, length] = numbers as [bigint, bigint, bigint];
    if (length > BigInt(largest)) return end('size');
    if (BigInt(bytes.length - at) < length) return end();
    const data = bytes.subarray(at, at + Number(length));
    at += Number(length);
    const kind = Math.floor(first / 2) % 64;
    frames.push({ kind, done: first % 2 === 1, control: first >= 128, streamId, messageId, data });
  }
}

/** The shortest varint of `value`, or, where `padding` says so, a longer spelling of it. */
export function varint(value: bigint, padding = 0): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest /= 128n) {
    bytes.push(Number(rest % 128n) + 128);
    if (rest < 128n) break;
  }
  for (let i = 0; i < padding && bytes.length < 10; i++) bytes.push(128);
  bytes[bytes.length - 1]! -= 128;
  return Buffer.from(bytes);
}

/** A frame as bytes; `padding` makes its varints longer than they need to be. */
export function frameBytes(frame: SlowFrame, padding = 0): Buffer {
  const first = frame.kind * 2 + (frame.done ? 1 : 0) + (frame.control ? 128 : 0);
  return Buffer.concat([
    Buffer.of(first),
    varint(frame.streamId, padding),
    varint(frame.messageId, padding),
    varint(BigInt(frame.data.length), padding),
    frame.data,
  ]);
}

/** A number of the wire as peers send them, with all the borders of the encoding. */
export function wireNumber(random: Random): bigint {
  switch (random.int(0, 9)) {
    case 0:
      return random.pick([0n, 127n, 128n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]);
    case 1:
      return 2n ** BigInt(random.int(0, 63)) + BigInt(random.int(-1, 1));
    case 2:
      return BigInt(random.int(0, 300));
    default:
      return BigInt(random.int(0, 8));
  }
}

/** Changes bytes the way faults and attackers do: flips, cuts, repeats, moves and inserts. */
export function mutate(random: Random, bytes: Buffer): Buffer {
  let result = Buffer.from(bytes);
  for (let i = random.int(0, 4); i > 0 && result.length > 0; i--) {
    const at = random.int(0, result.length - 1);
    const end = Math.min(result.length, at + random.size(64));
    switch (random.int(0, 5)) {
      case 0:
        result[at] = result[at]! ^ (1 << random.int(0, 7));
        break;
      case 1:
        result[at] = random.pick([0, 1, 0x7f, 0x80, 0xff]);
        break;
      case 2:
        result = Buffer.concat([result.subarray(0, at), result.subarray(end)]);
        break;
      case 3:
        result = Buffer.concat([result.subarray(0, end), result.subarray(at)]);
        break;
      case 4:
        result = Buffer.concat([result.subarray(0, at), random.bytes(random.size(16)), result.subarray(at)]);
        break;
      default:
        result = result.subarray(0, at);
    }
  }
  return result;
}
