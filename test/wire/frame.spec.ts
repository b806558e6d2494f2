import { describe, expect, it } from 'vitest';
import { ProtocolError } from '../../lib/errors/drpc-error.js';
import {
  appendHeader,
  encodeFrame,
  FrameHeader,
  headerByte,
  MAX_HEADER_SIZE,
  parseFrame,
  type Frame,
} from '../../lib/wire/frame.js';
import { uint64 } from '../../lib/wire/varint.js';
import { parseFrames } from '../helpers/frames.js';
import { Prng } from '../helpers/prng.js';
import { vectorsNamed, type Vector } from '../helpers/vectors.js';

interface DecodedFrame {
  kind: number;
  done: boolean;
  control: boolean;
  stream: string;
  message: string;
  dataHex: string;
}

function ofVector({ kind, done, control, stream, message, dataHex }: DecodedFrame): Frame {
  return {
    kind,
    done,
    control,
    streamId: uint64(BigInt(stream)),
    messageId: uint64(BigInt(message)),
    data: Buffer.from(dataHex, 'hex'),
  };
}

function ofType<T>(type: string): [string, Vector<T>][] {
  const found = vectorsNamed<T>('').filter(({ decoded }) => decoded.type === type);
  return found.map((vector) => [vector.name, vector]);
}

const frameVectors = ofType<{ frames: DecodedFrame[] }>('frames');
const readerVectors = ofType<{ frames: DecodedFrame[] }>('storjReader');

describe('parseFrame', () => {
  it.each(frameVectors)('reads %s', (_name, { hex, decoded }) => {
    expect(parseFrames(Buffer.from(hex, 'hex'))).toEqual(decoded.frames.map(ofVector));
  });

  it.each(frameVectors)('waits for the rest of %s, cut at every byte', (_name, { hex, decoded }) => {
    const bytes = Buffer.from(hex, 'hex');
    const ends: number[] = [];
    for (let at = 0; at < bytes.length;) ends.push((at = parseFrame(bytes, at)!.end));
    for (let size = 0; size <= bytes.length; size++) {
      const whole: Frame[] = [];
      let at = 0;
      for (let parsed = parseFrame(bytes.subarray(0, size), at); parsed;) {
        whole.push(parsed.frame);
        at = parsed.end;
        parsed = parseFrame(bytes.subarray(0, size), at);
      }
      const arrived = ends.filter((end) => end <= size).length;
      expect(whole).toEqual(decoded.frames.slice(0, arrived).map(ofVector));
    }
  });

  it.each(ofType('incomplete').filter(([name]) => name.startsWith('partial_frame')))(
    'waits for more after %s',
    (_name, { hex }) => {
      expect(parseFrame(Buffer.from(hex, 'hex'))).toBeUndefined();
    },
  );

  it('refuses what no further byte could make a frame', () => {
    const [bad] = vectorsNamed('bad_frame_varint_too_long');
    expect(() => parseFrame(Buffer.from(bad!.hex, 'hex'))).toThrow(ProtocolError);
  });

  it('waits for ever for a length beyond 2^53: the reader has a limit, the codec none', () => {
    const bytes = Buffer.concat([Buffer.from('050101', 'hex'), Buffer.from('ffffffffffffffffff01', 'hex')]);
    const header = new FrameHeader();
    expect(header.parse(bytes, 0, bytes.length)).toBe(bytes.length);
    expect(header.length).toBe(Infinity);
    expect(parseFrame(bytes)).toBeUndefined();
  });

  it('reads whatever random frame was encoded, at whatever offset', () => {
    const random = new Prng(2);
    for (let i = 0; i < 1000; i++) {
      const frame: Frame = {
        kind: random.int(64),
        done: random.once(2),
        control: random.once(2),
        streamId: uint64(random.bytes(8).readBigUInt64LE() >> BigInt(random.int(64))),
        messageId: uint64(random.bytes(8).readBigUInt64LE() >> BigInt(random.int(64))),
        data: random.bytes(random.int(300)),
      };
      const offset = random.int(5);
      const bytes = Buffer.concat([random.bytes(offset), encodeFrame(frame), random.bytes(random.int(5))]);
      expect(parseFrame(bytes, offset)!.frame).toEqual(frame);
    }
  });

  it('throws nothing but ProtocolErrors, and what it reads encodes to the same frame', () => {
    const random = new Prng(3);
    const classes = new Set<unknown>();
    const frames: Frame[] = [];
    for (let i = 0; i < 3000; i++) {
      try {
        const parsed = parseFrame(random.bytes(random.int(40)));
        if (parsed) frames.push(parsed.frame);
      } catch (error) {
        classes.add((error as Error).constructor);
      }
    }
    expect([...classes].filter((found) => found !== ProtocolError)).toEqual([]);
    expect(frames.length).toBeGreaterThan(100);
    expect(frames.map((frame) => parseFrame(encodeFrame(frame))!.frame)).toEqual(frames);
  });
});

describe('encodeFrame', () => {
  const longSpelling = 'noncanonical_varint_accepted';

  it.each([...frameVectors.filter(([name]) => name !== longSpelling), ...readerVectors.slice(0, -1)])(
    'writes %s',
    (_name, { hex, decoded }) => {
      const bytes = Buffer.concat(decoded.frames.map((frame) => encodeFrame(ofVector(frame))));
      expect(bytes.toString('hex')).toBe(hex);
    },
  );

  it('writes a varint that came in a long spelling in the shortest', () => {
    const [vector] = vectorsNamed<{ frames: DecodedFrame[] }>(longSpelling);
    expect(encodeFrame(ofVector(vector!.decoded.frames[0]!)).toString('hex')).toBe('05010200');
  });

  it('takes at most 31 bytes for a header', () => {
    const most = { kind: 63, done: true, control: true, streamId: 2n ** 64n - 1n, messageId: 2n ** 64n - 1n };
    const bytes = encodeFrame({ ...most, data: new Uint8Array(0) });
    expect(bytes.length).toBe(1 + 10 + 10 + 1);
    expect(MAX_HEADER_SIZE).toBe(31);
    expect(parseFrame(bytes)!.frame).toEqual({ ...most, data: Buffer.alloc(0) });
  });
});

describe('FrameHeader', () => {
  it.each(
    ofType<{
      kind: number;
      done: boolean;
      control: boolean;
      stream: string;
      message: string;
      length: number;
    }>('frameHeader'),
  )('reads %s and writes it again', (_name, { hex, decoded }) => {
    const bytes = Buffer.from(hex, 'hex');
    const header = new FrameHeader();
    expect(header.parse(bytes, 0, bytes.length)).toBe(bytes.length);
    expect(header).toMatchObject({
      kind: decoded.kind,
      done: decoded.done,
      control: decoded.control,
      streamId: Number(decoded.stream),
      messageId: Number(decoded.message),
      length: decoded.length,
    });
    const out = Buffer.alloc(MAX_HEADER_SIZE);
    const first = headerByte(decoded.kind, decoded.done, decoded.control);
    const end = appendHeader(out, 0, first, header.streamId, header.messageId, header.length);
    expect(out.subarray(0, end).toString('hex')).toBe(hex);
  });
});

describe('headerByte', () => {
  // Spec 1.3: kind, not done, done, done and control.
  it.each([
    [1, 0x02, 0x03, 0x83],
    [2, 0x04, 0x05, 0x85],
    [3, 0x06, 0x07, 0x87],
    [4, 0x08, 0x09, 0x89],
    [5, 0x0a, 0x0b, 0x8b],
    [6, 0x0c, 0x0d, 0x8d],
    [7, 0x0e, 0x0f, 0x8f],
    [8, 0x10, 0x11, 0x91],
    [63, 0x7e, 0x7f, 0xff],
  ])('says kind %i with its bits', (kind, plain, done, control) => {
    expect(headerByte(kind, false, false)).toBe(plain);
    expect(headerByte(kind, true, false)).toBe(done);
    expect(headerByte(kind, true, true)).toBe(control);
  });
});
