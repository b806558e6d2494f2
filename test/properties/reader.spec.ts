import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ProtocolError } from '../../lib/errors/drpc-error.js';
import { FrameReader } from '../../lib/wire/frame-reader.js';
import { headerByte } from '../../lib/wire/frame.js';
import { check } from '../helpers/properties.js';
import { readAllFrames, type TwinReading } from './twin-reader.js';

const LARGEST = 20_000;

/** What the reader makes of `bytes` when they come in pieces that end at `cuts`, stopped at some of them. */
function read(bytes: Buffer, cuts: number[], stops: Set<number>): TwinReading {
  const reading: TwinReading = { frames: [], fault: false };
  let data: Buffer[] = [];
  let count = 0;
  const reader = new FrameReader(
    {
      handleFrame(header, chunk, start, end) {
        data.push(Buffer.from(chunk.subarray(start, end)));
        if (header.length === end - start) {
          const { kind, done, control, streamId, messageId } = header;
          reading.frames.push({
            first: headerByte(kind, done, control),
            streamId: BigInt(streamId),
            messageId: BigInt(messageId),
            data: Buffer.concat(data).toString('hex'),
          });
          data = [];
        }
        if (stops.has(count++)) reader.stop();
      },
    },
    { maximumBufferSize: LARGEST },
  );
  let at = 0;
  try {
    for (const cut of [...cuts, bytes.length]) {
      // The same memory each time, overwritten afterwards, as a socket that reads into one buffer does.
      const chunk = Buffer.from(bytes.subarray(at, cut));
      reader.receive(chunk);
      chunk.fill(0xee);
      at = cut;
    }
    while (reader.isStopped) reader.resume();
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    reading.fault = true;
  }
  return reading;
}

/** A varint, sometimes longer than needed. */
const varint = fc
  .tuple(
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    fc.integer({ min: 0, max: 63 }),
    fc.integer({ min: 0, max: 3 }),
  )
  .map(([value, shift, padding]) => {
    const bytes: number[] = [];
    let rest = value >> BigInt(shift);
    do {
      bytes.push(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    } while (rest > 0n);
    for (let i = 0; i < padding && bytes.length < 10; i++) bytes.push(0x80);
    bytes[bytes.length - 1]! &= 0x7f;
    return Buffer.from(bytes);
  });

const length = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 200 }) },
  { weight: 2, arbitrary: fc.integer({ min: 4000, max: 4200 }) },
  { weight: 1, arbitrary: fc.integer({ min: 5000, max: LARGEST + 5 }) },
);

const frame = fc
  .tuple(fc.integer({ min: 0, max: 255 }), varint, varint, length)
  .map(([first, stream, message, size]) => {
    const sizeBytes: number[] = [];
    let rest = size;
    for (; rest >= 0x80; rest >>= 7) sizeBytes.push((rest & 0x7f) | 0x80);
    sizeBytes.push(rest);
    return Buffer.concat([
      Buffer.of(first),
      stream,
      message,
      Buffer.from(sizeBytes),
      Buffer.alloc(size, first),
    ]);
  });

const noise = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes));

const input = fc
  .array(fc.oneof({ weight: 12, arbitrary: frame }, { weight: 1, arbitrary: noise }), { maxLength: 12 })
  .map((parts) => Buffer.concat(parts));

const places = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 });
const stops = fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 4 });

describe('FrameReader', () => {
  it('finds what its slow twin finds, however the bytes are cut and wherever it is stopped', () => {
    check(
      fc.property(input, places, stops, (bytes, where, halts) => {
        const cuts = where.map((place) => Math.floor(place * bytes.length)).toSorted((a, b) => a - b);
        expect(read(bytes, cuts, new Set(halts))).toEqual(readAllFrames(bytes, LARGEST));
      }),
      300,
    );
  });

  it('finds the same byte by byte', () => {
    check(
      fc.property(fc.array(frame, { maxLength: 3 }), (parts) => {
        const bytes = Buffer.concat(parts);
        const cuts = Array.from(bytes, (_byte, at) => at);
        expect(read(bytes, cuts, new Set())).toEqual(readAllFrames(bytes, LARGEST));
      }),
      60,
    );
  });

  it('makes of arbitrary bytes what its slow twin makes of them', () => {
    check(
      fc.property(fc.uint8Array({ maxLength: 200 }), places, (array, where) => {
        const bytes = Buffer.from(array);
        const cuts = where.map((place) => Math.floor(place * bytes.length)).toSorted((a, b) => a - b);
        expect(read(bytes, cuts, new Set())).toEqual(readAllFrames(bytes, LARGEST));
      }),
      300,
    );
  });
});
