import { ProtocolError } from '../../lib/errors/drpc-error.js';
import { FrameReader } from '../../lib/wire/frame-reader.js';
import type { FrameHeader } from '../../lib/wire/frame.js';
import { Random } from '../simulation/random.js';
import { frameBytes, mutate, readSlowly, wireNumber, type SlowFrame } from './slow-frames.js';
import { must, type Target } from './target.js';

/** Any bytes, cut anywhere, with the reader stopped at random: the frames are those of the slow twin. */
export const frameReaderTarget: Target = {
  name: 'frame-reader',
  run(random) {
    const largest = random.pick([0, 5, 4097, 10_000, 20_000, 200_000]);
    const bytes = inputFor(random, largest);
    const slow = readSlowly(bytes, largest);
    const fast = readInPieces(random, bytes, largest);
    must(
      fast.fault === (slow.fault !== undefined),
      () => `fault ${fast.fault} where the twin says ${slow.fault}`,
    );
    must(
      fast.frames.length === slow.frames.length,
      () => `${fast.frames.length} frames where the twin reads ${slow.frames.length}`,
    );
    for (const [i, frame] of slow.frames.entries()) {
      must(
        describe(frame) === describe(fast.frames[i]!),
        () => `frame ${i}: ${describe(fast.frames[i]!)} instead of ${describe(frame)}`,
      );
      must(frame.data.equals(fast.frames[i]!.data), `frame ${i} has other data`);
    }
    if (!slow.fault) {
      must(
        fast.isUnfinished === slow.rest > 0,
        `unfinished: ${fast.isUnfinished}, with ${slow.rest} bytes left`,
      );
    }
  },
};

function inputFor(random: Random, largest: number): Buffer {
  if (random.chance(0.1)) return random.bytes(random.size(300));
  const frames: Buffer[] = [];
  for (let i = random.int(1, 20); i > 0; i--) {
    const size = sizeFor(random, largest);
    const frame = {
      kind: random.chance(0.8) ? random.int(1, 8) : random.int(0, 63),
      done: random.chance(0.7),
      control: random.chance(0.2),
      streamId: wireNumber(random),
      messageId: wireNumber(random),
      data: Buffer.alloc(size, i),
    };
    frames.push(frameBytes(frame, random.chance(0.1) ? random.int(1, 9) : 0));
  }
  const bytes = Buffer.concat(frames);
  return random.chance(0.5) ? mutate(random, bytes) : bytes;
}

/** Mostly small; otherwise about where the reader begins to hand pieces on, or any size. */
function sizeFor(random: Random, largest: number): number {
  const size = random.chance(0.7)
    ? random.size(40)
    : random.chance(0.5)
      ? random.int(4090, 4130)
      : random.size(20_000);
  return random.chance(0.01) ? largest + random.int(0, 1) : Math.min(size, largest);
}

interface Reading {
  frames: SlowFrame[];
  fault: boolean;
  isUnfinished: boolean;
}

/** What the reader makes of `bytes` in pieces, each in memory that is overwritten as soon as it was read. */
function readInPieces(random: Random, bytes: Buffer, largest: number): Reading {
  const frames: SlowFrame[] = [];
  let begun: Buffer[] = [];
  const stops = random.chance(0.4);
  const sink = {
    handleFrame(header: FrameHeader, data: Buffer, start: number, end: number): void {
      // Looking at what follows must change nothing.
      reader.isNext(random.int(1, 8), header.streamId);
      begun.push(Buffer.from(data.subarray(start, end)));
      if (stops && random.chance(0.2)) reader.stop();
      if (header.length > end - start) {
        must(!header.done, 'a piece that is not the last says done');
        return;
      }
      const { kind, done, control, streamId, messageId } = header;
      must(
        typeof streamId === 'number' ? Number.isSafeInteger(streamId) : streamId > Number.MAX_SAFE_INTEGER,
        `stream id ${streamId} is a ${typeof streamId}`,
      );
      frames.push({
        kind,
        done,
        control,
        streamId: BigInt(streamId),
        messageId: BigInt(messageId),
        data: Buffer.concat(begun),
      });
      begun = [];
    },
  };
  const reader = new FrameReader(sink, { maximumBufferSize: largest });
  try {
    for (const piece of random.cut(bytes)) {
      const chunk = Buffer.from(piece);
      reader.receive(chunk);
      chunk.fill(0xaa);
      while (reader.isStopped && random.chance(0.8)) reader.resume();
    }
    while (reader.isStopped) reader.resume();
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return { frames, fault: true, isUnfinished: false };
  }
  return { frames, fault: false, isUnfinished: reader.isUnfinished };
}

function describe({ kind, done, control, streamId, messageId, data }: SlowFrame): string {
  return `kind ${kind}${done ? ' done' : ''}${control ? ' control' : ''} of ${streamId}/${messageId} with ${data.length} bytes`;
}
