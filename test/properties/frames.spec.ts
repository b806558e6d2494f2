import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { FrameReader } from '../../lib/wire/frame-reader.js';
import { encodeFrame, type Frame } from '../../lib/wire/frame.js';
import { uint64 } from '../../lib/wire/varint.js';

const id = fc.oneof(fc.nat(300), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(uint64));
const frame: fc.Arbitrary<Frame> = fc.record({
  kind: fc.nat(63),
  done: fc.boolean(),
  control: fc.boolean(),
  streamId: id,
  messageId: id,
  data: fc.oneof(
    { weight: 4, arbitrary: fc.uint8Array({ maxLength: 200 }) },
    // Beyond what is held until it is whole: these are handed on in pieces.
    {
      weight: 1,
      arbitrary: fc.integer({ min: 4000, max: 20_000 }).map((size) => new Uint8Array(size).fill(size & 0xff)),
    },
  ),
});

/** What a reader tells of chunks, the pieces of a frame joined again. */
function read(chunks: readonly Buffer[]): string[] {
  const frames: string[] = [];
  let pieces: Buffer[] = [];
  const reader = new FrameReader({
    handleFrame(header, bytes, start, end) {
      pieces.push(Buffer.from(bytes.subarray(start, end)));
      if (header.length > end - start) return;
      const { kind, done, control, streamId, messageId } = header;
      frames.push(show({ kind, done, control, streamId, messageId, data: Buffer.concat(pieces) }));
      pieces = [];
    },
  });
  for (const chunk of chunks) reader.receive(chunk);
  expect(reader.isUnfinished).toBe(false);
  return frames;
}

function show({ kind, done, control, streamId, messageId, data }: Frame): string {
  const hash = createHash('sha1').update(data).digest('hex');
  return [kind, done, control, typeof streamId, streamId, messageId, data.length, hash].join(' ');
}

it('any cut of any frames gives the same frames', () => {
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 12 }),
      fc.array(fc.nat(), { maxLength: 40 }),
      (frames, places) => {
        const bytes = Buffer.concat(frames.map(encodeFrame));
        const cuts = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
        const chunks = [...cuts, bytes.length].map((end, i) => bytes.subarray(cuts[i - 1] ?? 0, end));
        expect(read(chunks)).toEqual(frames.map(show));
      },
    ),
    {
      numRuns: Number(process.env['PROPERTY_RUNS'] ?? 300),
      ...(process.env['PROPERTY_SEED'] === undefined ? {} : { seed: Number(process.env['PROPERTY_SEED']) }),
    },
  );
});
