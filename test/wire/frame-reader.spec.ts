import { describe, expect, it, vi } from 'vitest';
import { ProtocolError } from '../../lib/errors/drpc-error.js';
import { FrameReader, type FrameSink } from '../../lib/wire/frame-reader.js';
import { encodeFrame, type Frame, type FrameHeader } from '../../lib/wire/frame.js';
import { Kind } from '../../lib/wire/kind.js';
import { uint64 } from '../../lib/wire/varint.js';
import { closeSend, describeFrame, frame, message, part } from '../helpers/frames.js';
import { Prng } from '../helpers/prng.js';
import { vectorsNamed } from '../helpers/vectors.js';

/** Puts pieces of large frames together again and keeps the frames. */
class Collector implements FrameSink {
  readonly frames: Frame[] = [];
  /** Called with each piece. */
  onPiece: (header: FrameHeader) => void = () => undefined;
  pieces = 0;
  #data: Buffer[] = [];

  handleFrame(header: FrameHeader, bytes: Buffer, start: number, end: number): void {
    this.pieces++;
    // Borrowed: a copy is kept.
    this.#data.push(Buffer.from(bytes.subarray(start, end)));
    if (header.length === end - start) {
      const { kind, done, control, streamId, messageId } = header;
      this.frames.push({ kind, done, control, streamId, messageId, data: Buffer.concat(this.#data) });
      this.#data = [];
    }
    this.onPiece(header);
  }

  get lines(): string[] {
    return this.frames.map(describeFrame);
  }
}

/** The frames that a reader finds in `chunks`, and the message of the error it throws. */
function readAll(chunks: Buffer[], maximumBufferSize?: number): { lines: string[]; error?: string } {
  const collector = new Collector();
  const reader = new FrameReader(collector, { maximumBufferSize });
  try {
    for (const chunk of chunks) reader.receive(chunk);
  } catch (error) {
    return { lines: collector.lines, error: String(error) };
  }
  return { lines: collector.lines };
}

/** `bytes` in two, at every place; and byte by byte. */
function allCuts(bytes: Buffer): Buffer[][] {
  const cuts = [Array.from(bytes, (_byte, at) => bytes.subarray(at, at + 1))];
  for (let at = 0; at <= bytes.length; at++) cuts.push([bytes.subarray(0, at), bytes.subarray(at)]);
  return cuts;
}

const sequences = vectorsNamed<{ frames: unknown[] }>('').filter(({ decoded }) => decoded.frames);

describe('FrameReader', () => {
  it.each(sequences.map(({ name, hex, decoded }) => [name, hex, decoded.frames.length] as const))(
    'finds the same frames in %s however it is cut',
    (_name, hex, count) => {
      const bytes = Buffer.from(hex, 'hex');
      const whole = readAll([bytes]);
      expect(whole.lines).toHaveLength(count);
      expect(whole.error).toBeUndefined();
      for (const chunks of allCuts(bytes)) expect(readAll(chunks)).toEqual(whole);
    },
  );

  it('refuses bytes that can not be a frame, however they are cut', () => {
    const bytes = Buffer.from(vectorsNamed('bad_frame_varint_too_long')[0]!.hex, 'hex');
    for (const chunks of allCuts(bytes)) expect(readAll(chunks).error).toContain('varint too long');
  });

  it('finds random frames in chunks of random sizes', () => {
    const random = new Prng(4);
    const frames = Array.from({ length: 1000 }, () => ({
      kind: random.int(64),
      done: random.once(2),
      control: random.once(4),
      streamId: uint64(random.bytes(8).readBigUInt64LE() >> BigInt(random.int(64))),
      messageId: uint64(random.bytes(8).readBigUInt64LE() >> BigInt(random.int(64))),
      data: random.bytes(random.once(50) ? random.int(9000) : random.int(100)),
    }));
    const bytes = Buffer.concat(frames.map(encodeFrame));
    const collector = new Collector();
    const reader = new FrameReader(collector);
    for (let at = 0; at < bytes.length;) {
      const size = 1 + random.int(random.once(5) ? 10_000 : 200);
      // The same memory each time, as a socket that reads into one buffer does.
      reader.receive(Buffer.from(bytes.subarray(at, at + size)));
      at += size;
    }
    expect(collector.frames).toEqual(frames);
    expect(reader.isUnfinished).toBe(false);
  });

  it('copies what it needs later: the chunk may be used again', () => {
    const collector = new Collector();
    const reader = new FrameReader(collector);
    const chunk = Buffer.alloc(6);
    message(1, 1, 'hello').copy(chunk, 0, 0, 6);
    reader.receive(chunk);
    chunk.fill(0xff);
    reader.receive(message(1, 1, 'hello').subarray(6));
    expect(collector.lines).toEqual(['Message s1 m1 hello']);
  });

  it('does no assembly and keeps no order: ids may fall and repeat', () => {
    const frames = [message(3, 9, 'a'), message(1, 4, 'b'), message(1, 4, 'c'), part(Kind.Error, 1, 0, 'd')];
    expect(readAll([Buffer.concat(frames)]).lines).toEqual([
      'Message s3 m9 a',
      'Message s1 m4 b',
      'Message s1 m4 c',
      'Error+ s1 m0 d',
    ]);
  });

  it('says nothing about an end in the middle of a frame', () => {
    const collector = new Collector();
    const reader = new FrameReader(collector);
    reader.receive(Buffer.concat([message(1, 1), Buffer.from('0501', 'hex')]));
    expect(collector.lines).toEqual(['Message s1 m1']);
    expect(reader.isUnfinished).toBe(true);
  });

  describe('its limit', () => {
    it('takes a frame of exactly maximumBufferSize and refuses one byte more', () => {
      expect(readAll([message(1, 1, Buffer.alloc(1000))], 1000).lines).toEqual([
        'Message s1 m1 <1000 bytes>',
      ]);
      expect(readAll([message(1, 1, Buffer.alloc(1001))], 1000).error).toContain(
        'frame of 1001 bytes exceeds maximumBufferSize 1000',
      );
    });

    it('is 4 MiB by default', () => {
      const size = 4 * 1024 * 1024;
      expect(readAll([message(1, 1, Buffer.alloc(size))]).lines).toHaveLength(1);
      expect(readAll([message(1, 1, Buffer.alloc(size + 1))]).error).toContain(`${size + 1} bytes exceeds`);
    });

    it('is checked on the announced size, before anything is buffered', () => {
      expect(readAll([message(1, 1, Buffer.alloc(1001)).subarray(0, 5)], 1000).error).toContain('1001 bytes');
    });

    it('refuses a length beyond 2^53', () => {
      const bytes = Buffer.from('050101ffffffffffffffffff01', 'hex');
      expect(readAll([bytes]).error).toContain('frame of Infinity bytes');
    });

    // The reference counts all bytes at hand and fails here; see docs/protocol.md.
    it('counts each frame by itself: many small ones in one chunk pass', () => {
      const frames = Array.from({ length: 500 }, (_, i) => message(1, i + 1, 'small'));
      expect(readAll([Buffer.concat(frames)], 100).lines).toHaveLength(500);
    });
  });

  describe('a large frame', () => {
    const data = new Prng(5).bytes(20_000);
    const bytes = message(7, 3, data);

    it('comes in pieces that are frames by themselves, of which the last alone is done', () => {
      const collector = new Collector();
      const seen: [boolean, number][] = [];
      collector.onPiece = ({ done, length }) => seen.push([done, length]);
      const reader = new FrameReader(collector);
      const cuts = [6, 5006, 12_006, bytes.length];
      let at = 0;
      for (const end of cuts) {
        reader.receive(bytes.subarray(at, end));
        at = end;
      }
      expect(seen).toEqual([
        [false, 20_000],
        [false, 15_000],
        [true, bytes.length - 12_006],
      ]);
      expect(collector.frames).toEqual([
        { kind: 2, done: true, control: false, streamId: 7, messageId: 3, data },
      ]);
    });

    it('comes the same way when the cut goes through its header', () => {
      for (let cut = 1; cut <= 8; cut++) {
        const collector = new Collector();
        const reader = new FrameReader(collector);
        reader.receive(bytes.subarray(0, cut));
        reader.receive(bytes.subarray(cut, 10_000));
        reader.receive(Buffer.concat([bytes.subarray(10_000), message(7, 4, 'next')]));
        expect(collector.frames.map(({ data: { length } }) => length)).toEqual([20_000, 4]);
        expect(collector.frames[0]!.data).toEqual(data);
      }
    });

    it('is never done before its end when it is not the last of its packet', () => {
      const collector = new Collector();
      const dones: boolean[] = [];
      collector.onPiece = ({ done }) => dones.push(done);
      const reader = new FrameReader(collector);
      const unfinished = part(Kind.Message, 7, 3, data);
      reader.receive(unfinished.subarray(0, 9000));
      reader.receive(unfinished.subarray(9000));
      expect(dones).toEqual([false, false]);
    });

    it('is one frame in the count of frames', () => {
      const reader = new FrameReader(new Collector());
      reader.receive(bytes.subarray(0, 9000));
      expect([reader.isUnfinished, reader.framesEnded]).toEqual([true, 0]);
      reader.receive(bytes.subarray(9000, 15_000));
      expect([reader.isUnfinished, reader.framesEnded]).toEqual([true, 0]);
      reader.receive(bytes.subarray(15_000));
      expect([reader.isUnfinished, reader.framesEnded]).toEqual([false, 1]);
    });
  });

  describe('stop', () => {
    it('keeps the rest of the chunk, and what arrives meanwhile, until resume', () => {
      const collector = new Collector();
      const reader = new FrameReader(collector);
      collector.onPiece = () => reader.stop();
      reader.receive(Buffer.concat([message(1, 1, 'a'), message(1, 2, 'b')]));
      reader.receive(message(1, 3, 'c'));
      expect(collector.lines).toEqual(['Message s1 m1 a']);
      expect(reader.isStopped).toBe(true);
      expect(reader.backlog).toBe(10);
      reader.resume();
      expect(collector.lines).toEqual(['Message s1 m1 a', 'Message s1 m2 b']);
      collector.onPiece = () => undefined;
      reader.resume();
      expect(collector.lines).toEqual(['Message s1 m1 a', 'Message s1 m2 b', 'Message s1 m3 c']);
      expect(reader.backlog).toBe(0);
    });

    it('holds back a piece of a large frame as well', () => {
      const collector = new Collector();
      const reader = new FrameReader(collector);
      const bytes = message(1, 1, Buffer.alloc(10_000));
      reader.receive(bytes.subarray(0, 6000));
      reader.stop();
      reader.receive(bytes.subarray(6000));
      expect([collector.pieces, collector.frames.length]).toEqual([1, 0]);
      reader.resume();
      expect(collector.lines).toEqual(['Message s1 m1 <10000 bytes>']);
    });

    it('copies the rest of a chunk once, however often it is stopped', () => {
      const collector = new Collector();
      const reader = new FrameReader(collector);
      let frames = 0;
      collector.onPiece = () => {
        frames++;
        reader.stop();
      };
      const chunk = Buffer.concat(Array.from({ length: 500 }, (_, i) => message(1, i + 1, 'x')));
      const copy = vi.spyOn(Buffer, 'from');
      reader.receive(chunk);
      const others = copy.mock.calls.length;
      while (reader.backlog > 0) reader.resume();
      // The collector copies one piece of each frame, too.
      expect([frames, copy.mock.calls.length - others]).toEqual([500, 499]);
      copy.mockRestore();
    });

    it('in the middle of a held frame loses nothing', () => {
      const bytes = Buffer.concat([message(1, 1, 'abc'), message(1, 2, 'def'), message(1, 3, 'ghi')]);
      for (let cut = 0; cut <= bytes.length; cut++) {
        const collector = new Collector();
        const reader = new FrameReader(collector);
        collector.onPiece = () => reader.stop();
        reader.receive(bytes.subarray(0, cut));
        reader.receive(bytes.subarray(cut));
        for (let i = 0; i < 4; i++) reader.resume();
        expect(collector.lines).toEqual(['Message s1 m1 abc', 'Message s1 m2 def', 'Message s1 m3 ghi']);
      }
    });
  });

  describe('close', () => {
    it('reads nothing more, not even the rest of the chunk at hand', () => {
      const collector = new Collector();
      const reader = new FrameReader(collector);
      collector.onPiece = () => reader.close();
      reader.receive(Buffer.concat([message(1, 1), message(1, 2)]));
      reader.receive(message(1, 3));
      reader.resume();
      expect(collector.lines).toEqual(['Message s1 m1']);
      expect([reader.backlog, reader.isUnfinished]).toEqual([0, false]);
    });
  });

  describe('isNext', () => {
    /** What isNext answers while the first of `bytes` is handled. */
    function ask(chunks: Buffer[], kind: number, streamId: number | bigint): boolean | undefined {
      const collector = new Collector();
      const reader = new FrameReader(collector);
      let answer: boolean | undefined;
      collector.onPiece = () => {
        answer = reader.isNext(kind, streamId);
        reader.close();
      };
      for (const chunk of chunks) reader.receive(chunk);
      return answer;
    }
    const first = message(5, 1, 'answer');

    it.each([
      ['the very frame', closeSend(5, 2), true],
      ['another stream', closeSend(6, 2), false],
      ['another kind', frame(Kind.Close, 5, 2), false],
      ['one with data', frame(Kind.CloseSend, 5, 2, 'x'), false],
      ['one that is not the last of its packet', part(Kind.CloseSend, 5, 2, ''), false],
      ['half of it', closeSend(5, 2).subarray(0, 3), false],
      ['what can not be a frame', Buffer.concat([Buffer.of(0x0d), Buffer.alloc(11, 0xff)]), false],
      ['nothing', Buffer.alloc(0), false],
    ])('sees %s behind the frame being handled', (_what, next, expected) => {
      expect(ask([Buffer.concat([first, next])], Kind.CloseSend, 5)).toBe(expected);
    });

    it('sees it also behind a frame that was cut', () => {
      const both = Buffer.concat([first, closeSend(5, 2)]);
      expect(ask([both.subarray(0, 5), both.subarray(5)], Kind.CloseSend, 5)).toBe(true);
    });

    it('knows stream ids beyond 2^53', () => {
      const id = 2n ** 60n + 1n;
      expect(ask([Buffer.concat([message(id, 1), closeSend(id, 2)])], Kind.CloseSend, id)).toBe(true);
      expect(ask([Buffer.concat([message(id, 1), closeSend(id + 1n, 2)])], Kind.CloseSend, id)).toBe(false);
    });

    it('sees nothing when no frame is being handled', () => {
      const reader = new FrameReader(new Collector());
      expect(reader.isNext(Kind.CloseSend, 1)).toBe(false);
      reader.receive(message(1, 1));
      expect(reader.isNext(Kind.CloseSend, 1)).toBe(false);
    });
  });

  it('throws ProtocolErrors only', () => {
    expect(() => new FrameReader(new Collector()).receive(Buffer.alloc(12, 0xff))).toThrow(ProtocolError);
  });
});
