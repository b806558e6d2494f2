/** A frame as the twin reads it; all numbers are bigints. */
export interface TwinFrame {
  first: number;
  streamId: bigint;
  messageId: bigint;
  data: string;
}

/** What the twin found: frames, and why it stopped before the end. */
export interface TwinReading {
  frames: TwinFrame[];
  fault: boolean;
}

const MASK = 2n ** 64n - 1n;

/** A varint at `at`; `undefined` while bytes are missing, `'fault'` when it has more than ten. */
function readNumber(bytes: Buffer, at: number): { value: bigint; end: number } | 'fault' | undefined {
  let value = 0n;
  for (let i = 0; i < 10; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) return undefined;
    value |= BigInt(byte & 0x7f) << BigInt(7 * i);
    if (byte < 0x80) return { value: value & MASK, end: at + i + 1 };
  }
  return 'fault';
}

/**
 * The twin of the FrameReader, slow and obvious: all bytes at once, one frame after the other, straight from
 * the layout in docs/protocol.md.
 */
export function readAllFrames(bytes: Buffer, largest: number): TwinReading {
  const frames: TwinFrame[] = [];
  let at = 0;
  for (;;) {
    // Fewer than four bytes are never a frame.
    if (bytes.length - at < 4) return { frames, fault: false };
    let end = at + 1;
    const numbers: bigint[] = [];
    for (let i = 0; i < 3; i++) {
      const number = readNumber(bytes, end);
      if (number === undefined) return { frames, fault: false };
      if (number === 'fault') return { frames, fault: true };
      numbers.push(number.value);
      end = number.end;
    }
    const [streamId, messageId, length] = numbers as [bigint, bigint, bigint];
    if (length > BigInt(largest)) return { frames, fault: true };
    const stop = end + Number(length);
    if (stop > bytes.length) return { frames, fault: false };
    frames.push({ first: bytes[at]!, streamId, messageId, data: bytes.toString('hex', end, stop) });
    at = stop;
  }
}
