import { describe, expect, it } from 'vitest';
import { ProtocolError } from '../../lib/errors/drpc-error.js';
import { BufferPool } from '../../lib/wire/buffer-pool.js';
import { FrameReader } from '../../lib/wire/frame-reader.js';
import { FrameHeader } from '../../lib/wire/frame.js';
import { Kind } from '../../lib/wire/kind.js';
import { PacketAssembler } from '../../lib/wire/packet-assembler.js';
import type { Uint64 } from '../../lib/wire/varint.js';
import { frame, message, part } from '../helpers/frames.js';
import { thrownBy } from '../helpers/recorder.js';
import { vectorsNamed } from '../helpers/vectors.js';

/** Adds an encoded frame; answers the text of the packet it completed, `undefined` while that is unfinished. */
function add(assembler: PacketAssembler, encoded: Buffer): string | undefined {
  const header = new FrameHeader();
  const start = header.parse(encoded, 0, encoded.length);
  assembler.check(header);
  if (!assembler.add(header, encoded, start, encoded.length)) return undefined;
  return assembler.bytes.toString('latin1', assembler.start, assembler.end);
}

function addAll(assembler: PacketAssembler, ...frames: Buffer[]): (string | undefined)[] {
  return frames.map((encoded) => {
    const text = add(assembler, encoded);
    if (assembler.isPooled) assembler.release();
    return text;
  });
}

describe('PacketAssembler', () => {
  it('takes message id 1 or a higher one as the first', () => {
    expect(add(new PacketAssembler(new BufferPool()), message(1, 1, 'a'))).toBe('a');
    expect(add(new PacketAssembler(new BufferPool()), message(1, 2, 'b'))).toBe('b');
  });

  it('begins behind the message id it is given', () => {
    const assembler = new PacketAssembler(new BufferPool(), 3);
    expect(thrownBy(() => add(assembler, message(1, 3)))).toBeInstanceOf(ProtocolError);
    expect(add(assembler, message(1, 4, 'd'))).toBe('d');
  });

  it('puts the frames of a message together', () => {
    const assembler = new PacketAssembler(new BufferPool());
    expect(
      addAll(
        assembler,
        part(2, 1, 1, 'hello'),
        part(2, 1, 1, ''),
        part(2, 1, 1, ' '),
        message(1, 1, 'world'),
        message(1, 2, 'next'),
      ),
    ).toEqual([undefined, undefined, undefined, 'hello world', 'next']);
  });

  it('refuses message id 0, and ids that fall', () => {
    expect(() => add(new PacketAssembler(new BufferPool()), message(1, 0))).toThrow(
      'message id 0 on stream 1 where 1 is the least allowed',
    );
    const assembler = new PacketAssembler(new BufferPool());
    addAll(assembler, message(1, 5));
    expect(() => add(assembler, message(1, 4))).toThrow('message id 4 on stream 1 where 6 is the least');
  });

  it('refuses to go on with a finished message', () => {
    const assembler = new PacketAssembler(new BufferPool());
    addAll(assembler, part(2, 1, 1, 'a'), message(1, 1, 'b'));
    expect(() => add(assembler, message(1, 1))).toThrow(ProtocolError);
  });

  it('lets message ids skip', () => {
    const assembler = new PacketAssembler(new BufferPool());
    expect(addAll(assembler, message(1, 1, 'a'), part(2, 1, 7, 'b'), message(1, 7, 'c'))).toEqual([
      'a',
      undefined,
      'bc',
    ]);
  });

  it('drops an unfinished message that a higher id overtakes', () => {
    const assembler = new PacketAssembler(new BufferPool());
    expect(addAll(assembler, part(2, 1, 1, 'lost'), part(2, 1, 4, 'ke'), message(1, 4, 'pt'))).toEqual([
      undefined,
      undefined,
      'kept',
    ]);
    expect(() => add(assembler, message(1, 3))).toThrow(ProtocolError);
  });

  it('refuses another kind within a message, and takes it in the next', () => {
    const assembler = new PacketAssembler(new BufferPool());
    addAll(assembler, part(Kind.Message, 1, 1, 'a'));
    expect(() => add(assembler, frame(Kind.Close, 1, 1))).toThrow(
      'frame kind 5 after kind 2 in message 1 on stream 1',
    );
    const other = new PacketAssembler(new BufferPool());
    expect(addAll(other, message(1, 1), frame(Kind.CloseSend, 1, 2))).toEqual(['', '']);
  });

  it('knows ids beyond 2^53', () => {
    const big = 2n ** 53n;
    const assembler = new PacketAssembler(new BufferPool());
    expect(addAll(assembler, message(1, Number.MAX_SAFE_INTEGER, 'a'))).toEqual(['a']);
    expect(addAll(assembler, part(2, 1, big, 'b'), message(1, big, 'c'))).toEqual([undefined, 'bc']);
    expect(() => add(assembler, message(1, big))).toThrow(`where ${big + 1n} is the least allowed`);
    const last = 2n ** 64n - 1n;
    expect(addAll(assembler, message(1, last, 'last'))).toEqual(['last']);
    expect(() => add(assembler, message(1, last))).toThrow(ProtocolError);
  });

  describe('its memory', () => {
    it('does not copy a message of one frame', () => {
      const pool = new BufferPool();
      const assembler = new PacketAssembler(pool);
      const encoded = message(1, 1, 'hello');
      add(assembler, encoded);
      expect(assembler.bytes).toBe(encoded);
      expect(assembler.isPooled).toBe(false);
      expect(pool.usage).toMatchObject({ made: 0, lent: 0 });
    });

    it('keeps a message of several frames in a pooled buffer, which can be taken over', () => {
      const pool = new BufferPool();
      const assembler = new PacketAssembler(pool);
      add(assembler, part(2, 1, 1, 'ab'));
      expect(assembler.length).toBe(2);
      add(assembler, message(1, 1, 'cd'));
      expect([assembler.isPooled, assembler.length]).toEqual([true, 0]);
      const taken = assembler.take();
      expect(taken.toString('latin1', 0, 4)).toBe('abcd');
      expect(assembler.isPooled).toBe(false);
      // What was taken is not written to again.
      add(assembler, part(2, 1, 2, 'xx'));
      expect(taken.toString('latin1', 0, 4)).toBe('abcd');
      assembler.release();
      pool.put(taken);
      expect(pool.usage.lent).toBe(0);
    });

    it('holds what has arrived, not what was announced', () => {
      const pool = new BufferPool();
      const assembler = new PacketAssembler(pool);
      const header = new FrameHeader();
      const bytes = frame(Kind.Message, 1, 1, Buffer.alloc(1_000_000), { done: false });
      const start = header.parse(bytes, 0, bytes.length);
      assembler.check(header);
      header.done = false;
      assembler.add(header, bytes, start, start + 10);
      expect(assembler.length).toBe(10);
      assembler.release();
      expect(pool.usage.kept).toBeLessThanOrEqual(64);
    });

    it.each<[string, (assembler: PacketAssembler) => void]>([
      ['a message of one frame', (assembler) => void add(assembler, message(1, 2))],
      ['the end', (assembler) => void add(assembler, frame(Kind.CloseSend, 1, 2))],
      ['an empty part', (assembler) => void add(assembler, part(2, 1, 2, ''))],
    ])('returns the buffer of a message that is overtaken by %s', (_what, overtake) => {
      const pool = new BufferPool();
      const assembler = new PacketAssembler(pool);
      add(assembler, part(2, 1, 1, 'unfinished'));
      expect(pool.usage.lent).toBe(1);
      overtake(assembler);
      expect([pool.usage.lent, assembler.length]).toEqual([0, 0]);
    });

    it('grows without losing anything, and returns what became too small', () => {
      const pool = new BufferPool();
      const assembler = new PacketAssembler(pool);
      const pieces = Array.from({ length: 100 }, (_, i) => `${i}`.repeat(i));
      for (const piece of pieces) add(assembler, part(2, 1, 1, piece));
      expect(add(assembler, message(1, 1, '!'))).toBe(`${pieces.join('')}!`);
      expect(pool.usage.lent).toBe(1);
      assembler.release();
      expect(pool.usage.lent).toBe(0);
    });

    it('lets go of the chunk once the packet was handled', () => {
      const assembler = new PacketAssembler(new BufferPool());
      add(assembler, message(1, 1, 'hello'));
      assembler.release();
      expect(assembler.bytes.length).toBe(0);
    });
  });
});

/** What a multiplexing receiver makes of `bytes`: an assembler for each stream, none for stream 0. */
function receive(bytes: Buffer): { packets: string[]; error: string | undefined } {
  const assemblers = new Map<Uint64, PacketAssembler>();
  const packets: string[] = [];
  const reader = new FrameReader({
    handleFrame(header, data, start, end) {
      const { streamId, messageId, kind, control } = header;
      if (kind === Kind.WindowUpdate || streamId === 0) return;
      let assembler = assemblers.get(streamId);
      if (!assembler) assemblers.set(streamId, (assembler = new PacketAssembler(new BufferPool())));
      assembler.check(header);
      if (!assembler.add(header, data, start, end)) return;
      const text = assembler.bytes.toString('hex', assembler.start, assembler.end);
      packets.push(`${Kind[kind]}${control ? '!' : ''} s${streamId} m${messageId} ${text}`.trim());
    },
  });
  try {
    reader.receive(bytes);
  } catch (error) {
    return { packets, error: String(error) };
  }
  return { packets, error: undefined };
}

describe('the reader sequences of storj', () => {
  const sequences = vectorsNamed<{ result: { packets: { dataHex?: string }[]; end: string } }>('read_storj_');

  // Those that only the single-stream generation finds wrong, and what a multiplexing receiver makes of them.
  const singleStreamOnly: Record<string, string[]> = {
    read_storj_stream_id_0_fatal: [],
    read_storj_interleaved_streams_fatal: [
      'Invoke s1 m1 2f732e532f41',
      'Invoke s2 m1 2f732e532f42',
      'Message s1 m2 78',
    ],
    read_storj_window_update_after_frame_fatal: ['Invoke s1 m1 2f732e532f41'],
  };
  // The same for everybody; a fault is what it says, an end of the input is none.
  const common: Record<string, [packets: string[], error: string | undefined]> = {
    read_storj_three_frames_one_packet: [['Message s1 m1 68656c6c6f20776f726c64'], undefined],
    read_storj_higher_id_discards_partial: [['Close s1 m2'], undefined],
    read_storj_id_reuse_fatal: [['Message s1 m1 31'], 'ids must grow'],
    read_storj_kind_change_fatal: [[], 'a packet keeps its kind'],
    read_storj_message_id_0_fatal: [[], 'ids must grow'],
    read_storj_window_update_first_on_stream_tolerated: [['Invoke s1 m1 2f732e532f41'], undefined],
    read_storj_message_ids_may_skip: [['Message s1 m1 61', 'Message s1 m5 62'], undefined],
    read_storj_truncated_tail_is_eof: [['Message s1 m1 61'], undefined],
  };
  // The single-stream reader keeps the control bit of any frame; with many streams the last frame's counts.
  const controlOfTheLastFrame = 'read_storj_control_sticky';

  it('are all listed here', () => {
    const listed = [...Object.keys(singleStreamOnly), ...Object.keys(common), controlOfTheLastFrame];
    expect(listed.toSorted()).toEqual(sequences.map(({ name }) => name).toSorted());
  });

  it.each(
    sequences.filter(({ name }) => name in singleStreamOnly).map((vector) => [vector.name, vector] as const),
  )('%s: fatal only with a single stream, ordinary here', (name, { hex, decoded }) => {
    expect(decoded.result.end).toBe('id monotonicity violation');
    expect(receive(Buffer.from(hex, 'hex'))).toEqual({ packets: singleStreamOnly[name], error: undefined });
  });

  it.each(sequences.filter(({ name }) => name in common).map((vector) => [vector.name, vector] as const))(
    '%s: the same here',
    (name, { hex }) => {
      const [packets, error] = common[name]!;
      const received = receive(Buffer.from(hex, 'hex'));
      expect(received.packets).toEqual(packets);
      expect(received.error ?? 'no error').toContain(error ?? 'no error');
    },
  );

  it(`${controlOfTheLastFrame}: the last frame's bit counts here`, () => {
    const { hex } = sequences.find(({ name }) => name === controlOfTheLastFrame)!;
    expect(receive(Buffer.from(hex, 'hex'))).toEqual({ packets: ['Message s1 m3 6162'], error: undefined });
  });
});
