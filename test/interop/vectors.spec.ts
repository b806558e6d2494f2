import { describe, expect, it } from 'vitest';
import { DrpcError, ProtocolError } from '../../lib/errors/drpc-error.js';
import { decodeMetadata, encodeMetadata } from '../../lib/metadata/metadata.js';
import { BufferPool } from '../../lib/wire/buffer-pool.js';
import { marshalError, unmarshalError } from '../../lib/wire/error-payload.js';
import { FrameReader } from '../../lib/wire/frame-reader.js';
import { encodeFrame, parseFrame } from '../../lib/wire/frame.js';
import { PacketAssembler } from '../../lib/wire/packet-assembler.js';
import { appendVarint, MAX_VARINT_SIZE, uint64, VarintReader } from '../../lib/wire/varint.js';
import { RawPeer } from '../helpers/raw-peer.js';
import {
  cockroachVectors,
  standInVectors,
  storjVectors,
  type ErrorVector,
  type Packet,
} from './helpers/go-vectors.js';
import { patternBytes } from './helpers/peers.js';

/** A table of tests that is never empty, each row by its name. */
function named<T extends { readonly name: string }>(vectors: readonly T[]): [string, T][] {
  if (vectors.length === 0) throw new Error('no vectors: the table would be empty');
  return vectors.map((vector) => [vector.name, vector]);
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytesOf = (text: string): Buffer => Buffer.from(text, 'hex');

describe('Varints as Go writes and reads them', () => {
  const { varints } = storjVectors;

  it.each(named(varints.filter(({ value }) => value !== undefined)))('%s', (_, vector) => {
    const reader = new VarintReader();
    const bytes = bytesOf(vector.hex);

    expect(reader.read(bytes, 0, bytes.length)).toBe(bytes.length);
    expect(String(reader.value)).toBe(vector.value);
  });

  it.each(named(varints.filter(({ minimal }) => minimal)))('%s, written', (_, { value, hex: wanted }) => {
    const bytes = Buffer.alloc(MAX_VARINT_SIZE);
    const end = appendVarint(bytes, 0, uint64(BigInt(value!)));

    expect(hex(bytes.subarray(0, end))).toBe(wanted);
  });

  it.each(named(varints.filter(({ more }) => more)))('%s: more is needed', (_, vector) => {
    const bytes = bytesOf(vector.hex);
    expect(new VarintReader().read(bytes, 0, bytes.length)).toBe(-1);
  });

  it.each(named(varints.filter(({ error }) => error)))('%s: an error', (_, vector) => {
    const bytes = bytesOf(vector.hex);
    expect(() => new VarintReader().read(bytes, 0, bytes.length)).toThrow(ProtocolError);
  });
});

describe('Frames as Go writes and reads them', () => {
  const { frames } = storjVectors;
  const whole = frames.filter(({ more, error }) => !more && !error);

  it.each(named(whole))('%s', (_, { hex: bytes, kind, stream, message, done, control, data, rest = '' }) => {
    const { frame, end } = parseFrame(bytesOf(bytes), 0)!;

    expect({ ...frame, streamId: String(frame.streamId), messageId: String(frame.messageId) }).toEqual({
      ...{ kind, done, control, streamId: stream, messageId: message },
      data: bytesOf(data),
    });
    expect(hex(bytesOf(bytes).subarray(end))).toBe(rest);
  });

  // The one with needless bytes in its numbers was written by hand.
  it.each(named(whole.filter(({ name, rest }) => !rest && name !== 'numbers longer than they need be')))(
    '%s, written',
    (_, { hex: wanted, kind, stream, message, done, control, data }) => {
      const streamId = uint64(BigInt(stream));
      const messageId = uint64(BigInt(message));
      expect(hex(encodeFrame({ kind, done, control, streamId, messageId, data: bytesOf(data) }))).toBe(
        wanted,
      );
    },
  );

  it.each(named(frames.filter(({ more }) => more)))('%s: more is needed', (_, vector) => {
    expect(parseFrame(bytesOf(vector.hex), 0)).toBeUndefined();
  });

  it.each(named(frames.filter(({ error }) => error)))('%s: an error', (_, vector) => {
    expect(() => parseFrame(bytesOf(vector.hex), 0)).toThrow(ProtocolError);
  });
});

describe('Packets as Go splits them', () => {
  const { packets, largePackets } = storjVectors;

  /** What a stream writes for a message of pattern bytes. */
  function written(length: number, splitSize: number): Buffer {
    const peer = RawPeer.ofClient({ splitSize });
    const { stream } = peer.open();
    peer.sentBytes();
    stream.trySend(patternBytes(0, length));
    return peer.sentBytes();
  }

  it.each(named(packets))('%s', (_, { length, split, frames }) => {
    expect(hex(written(length, split))).toBe(frames.join(''));
  });

  it.each(named(largePackets))('%s', (_, { length, split, headers, lengths }) => {
    const bytes = written(length, split);
    const found = { headers: [] as string[], lengths: [] as number[] };
    for (let at = 0; at < bytes.length;) {
      const { frame, end } = parseFrame(bytes, at)!;
      found.headers.push(hex(bytes.subarray(at, end - frame.data.length)));
      found.lengths.push(frame.data.length);
      at = end;
    }

    expect(found).toEqual({ headers, lengths });
  });
});

describe('Metadata as Go writes and reads it', () => {
  const { metadata } = storjVectors;
  // A key or value that is left out is empty to us, as protobuf libraries write it.
  const forgiven: Record<string, Record<string, string>> = {
    'value left out': { a: '' },
    'key left out': { '': 'k' },
  };

  it.each(named(metadata.filter(({ error }) => !error)))('%s', (_, vector) => {
    expect({ ...decodeMetadata(bytesOf(vector.hex)) }).toEqual(vector.entries);
  });

  it.each(named(metadata.filter(({ written }) => written)))('%s, written', (_, vector) => {
    expect(hex(encodeMetadata(vector.entries))).toBe(vector.hex);
  });

  it.each(named(metadata.filter(({ error, name }) => error && !(name in forgiven))))(
    '%s: an error',
    (_, vector) => {
      expect(() => decodeMetadata(bytesOf(vector.hex))).toThrow(ProtocolError);
    },
  );

  it.each(named(metadata.filter(({ name }) => name in forgiven)))('%s: not to us', (name, vector) => {
    expect({ ...decodeMetadata(bytesOf(vector.hex)) }).toEqual(forgiven[name]);
  });
});

describe('Errors of code and text as Go writes and reads them', () => {
  // Who the peer is need not be known to read an error: 1 in front is the other form, and what is too short for a
  // code may be a version of that.
  const ours: Record<string, { code: string; message: string | RegExp }> = {
    'first byte 1': { code: '2', message: /^drpcwire: failed to unmarshal error: / },
    nothing: { code: '2', message: 'drpcwire: empty error data' },
    'seven bytes': { code: '2', message: 'drpcwire: unsupported error version: 0' },
    'text without a code': { code: '2', message: 'boom (drpcwire note: invalid error data)' },
  };
  const { errors } = storjVectors;

  it.each(named(errors.filter(({ name }) => !(name in ours))))('%s', (_, vector) => {
    expect(reading(vector)).toEqual({ code: vector.code, message: vector.message, details: [] });
  });

  it.each(named(errors.filter(({ name }) => name in ours)))(
    '%s, which we read differently',
    (name, vector) => {
      const { code, message } = reading(vector);
      expect(code).toBe(ours[name]!.code);
      expect(message).toMatch(ours[name]!.message);
    },
  );

  it.each(named(errors.filter(({ written }) => written)))(
    '%s, written',
    (_, { code, message, hex: wanted }) => {
      const error = new DrpcError(Number(code), message, { rawCode: BigInt(code) });
      expect(hex(marshalError(error, 'storj'))).toBe(wanted);
    },
  );
});

describe('Errors of google.rpc.Status as Go writes and reads them', () => {
  // Go's text goes on with words of its protobuf library.
  const cutShort = 'cut short';
  const { errors } = cockroachVectors;

  it.each(named(errors.filter(({ name }) => name !== cutShort)))('%s', (_, vector) => {
    const { code, message, details = [] } = vector;
    expect(reading(vector)).toEqual({ code: String(code), message, details });
  });

  it.each(named(errors.filter(({ name }) => name === cutShort)))('%s', (_, vector) => {
    expect(reading(vector).message).toMatch(/^drpcwire: failed to unmarshal error: /);
  });

  it.each(named(errors.filter(({ written }) => written)))('%s, written', (_, vector) => {
    const { code, message, details = [] } = vector;
    const error = new DrpcError(code, message, {
      details: details.map(({ typeUrl, value }) => ({ typeUrl, value: Buffer.from(value, 'base64') })),
    });
    expect(hex(marshalError(error, 'status'))).toBe(vector.hex);
  });
});

describe('The stand-in', () => {
  const recorded = ({ name }: { name: string }): boolean =>
    standInVectors.transcripts.some((transcript) => transcript.name === name);

  it('writes and reads the errors of cockroachdb/drpc', () => {
    expect(standInVectors.errors).toEqual(cockroachVectors.errors);
  });

  it('makes each call frame for frame as cockroachdb/drpc does, and sees the same', () => {
    expect(standInVectors.transcripts).toEqual(cockroachVectors.transcripts.filter(recorded));
    expect(cockroachVectors.transcripts.filter((each) => !recorded(each)).map(({ name }) => name)).toEqual([
      'a message too large',
      'compressed',
    ]);
  });
});

describe('Bytes as the Go reader makes packets of them', () => {
  const LIMITED = ['a packet at the limit', 'a packet above the limit'];
  // Go reads one stream after the other and knows none of them; we read many at once, each by its own rules.
  const ours: Record<string, { packets?: string[]; error?: string }> = {
    'stream 0': { packets: ['2 s0 m1 '] },
    'message 0 of a higher stream': { packets: ['2 s1 m1 '], error: 'ids must grow from 1' },
    'a lower stream': { packets: ['2 s2 m1 a', '2 s1 m2 b'] },
  };
  const { readings } = storjVectors;
  const plain = readings.filter(({ name }) => !LIMITED.includes(name) && !(name in ours));

  it.each(named(plain))('%s', (_, { hex: bytes, limit, packets, error }) => {
    const read = readByteByByte(bytesOf(bytes), limit);

    expect(read.packets).toEqual(packets.map(shown));
    expect(read.error === undefined).toBe(error === undefined);
  });

  it.each(named(readings.filter(({ name }) => name in ours)))(
    '%s, which we read differently',
    (name, vector) => {
      const read = readByteByByte(bytesOf(vector.hex), undefined);

      expect(read.packets).toEqual(ours[name]!.packets);
      expect(read.error?.message ?? '').toContain(ours[name]!.error ?? '');
      expect(read.error === undefined).toBe(ours[name]!.error === undefined);
    },
  );

  // Of a packet over the limit only its stream dies here.
  it.each(named(readings.filter(({ name }) => LIMITED.includes(name))))('%s, on its stream', (_, vector) => {
    const { hex: bytes, limit, packets } = vector;
    const peer = RawPeer.ofClient({ maxReceiveSize: limit, maximumBufferSize: limit });
    const { sink } = peer.open();

    for (const byte of bytesOf(bytes)) peer.send(Buffer.of(byte));

    expect(sink.events.filter((event) => event.startsWith('message'))).toHaveLength(packets.length);
    expect(sink.events.join()).toMatch(packets.length > 0 ? /^message/ : /MessageSizeError/);
    expect(peer.cause).toBeUndefined();
  });
});

/** What our reader makes of an error payload. */
function reading({ hex: payload }: ErrorVector<unknown>) {
  const bytes = bytesOf(payload);
  const { code, rawCode, message, details } = unmarshalError(bytes, 0, bytes.length);
  return {
    code: String(rawCode ?? code),
    message,
    details: details.map(({ typeUrl, value }) => ({
      typeUrl,
      value: Buffer.from(value).toString('base64'),
    })),
  };
}

function shown({ kind, stream, message, data }: Packet): string {
  return `${kind} s${stream} m${message} ${bytesOf(data).toString('latin1')}`;
}

/** The packets in `bytes`, and the error that ended the reading. */
function readByteByByte(bytes: Buffer, maximumBufferSize: number | undefined) {
  const pool = new BufferPool();
  const assemblers = new Map<unknown, PacketAssembler>();
  const packets: string[] = [];
  const reader = new FrameReader(
    {
      handleFrame(header, data, start, end) {
        const { streamId, messageId, kind } = header;
        const assembler = assemblers.get(streamId) ?? new PacketAssembler(pool);
        assemblers.set(streamId, assembler);
        assembler.check(header);
        if (!assembler.add(header, data, start, end)) return;
        const text = assembler.bytes.toString('latin1', assembler.start, assembler.end);
        packets.push(`${kind} s${streamId} m${messageId} ${text}`);
      },
    },
    { maximumBufferSize },
  );
  try {
    for (const byte of bytes) reader.receive(Buffer.of(byte));
  } catch (error) {
    return { packets, error: error as Error };
  }
  return { packets, error: undefined };
}
