import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { DrpcCode } from '../../lib/errors/codes.js';
import { DrpcError } from '../../lib/errors/drpc-error.js';
import { isStreamRefused, streamRefused } from '../../lib/errors/error-info.js';
import { type ErrorForm, marshalError, unmarshalError } from '../../lib/wire/error-payload.js';
import { type Vector, vectorsNamed } from '../helpers/vectors.js';

const KIB_64 = 65536;

function unmarshal(payload: Buffer): DrpcError {
  return unmarshalError(payload, 0, payload.length);
}

function unmarshalHex(hex: string): DrpcError {
  return unmarshal(Buffer.from(hex, 'hex'));
}

describe('golden vectors of errors', () => {
  type Coded = Vector<{ code: string | number; message: string }>;
  const isCoded = ({ decoded }: Coded): boolean => decoded.type !== 'error';
  // Bytes too short for a code: no error marshals to them.
  const isTooShort = ({ name }: Coded): boolean => name === 'error_storj_short_data';
  const vectors: Coded[] = vectorsNamed('error_');
  const storj = vectors.filter((vector) => vector.decoded.type === 'errorStorj' && !isTooShort(vector));
  const status = vectors.filter(({ decoded }) => decoded.type === 'errorCockroach');
  // A prefix stands for texts that go on with what the protobuf library said.
  const broken = vectorsNamed<{ error: string }>('error_').filter(({ decoded }) => decoded.type === 'error');

  it('are all in one of the tables below', () => {
    expect([storj.length, status.length, broken.length]).toEqual([4, 3, 3]);
    expect(vectors.filter(isCoded).filter(isTooShort)).toHaveLength(1);
  });

  it.each(storj)('$name is read', ({ hex, decoded }) => {
    const known = Number(decoded.code) >= 1 && Number(decoded.code) <= 16;
    expect(unmarshalHex(hex)).toMatchObject({
      code: known ? Number(decoded.code) : DrpcCode.Unknown,
      rawCode: known ? undefined : BigInt(decoded.code),
      message: decoded.message,
    });
  });

  it.each(storj)('$name is written', ({ hex, decoded }) => {
    const error = new DrpcError(DrpcCode.Unknown, decoded.message, { rawCode: BigInt(decoded.code) });
    expect(marshalError(error, 'storj').toString('hex')).toBe(hex);
  });

  it.each(status)('$name is read', ({ hex, decoded }) => {
    expect(unmarshalHex(hex)).toMatchObject({ code: decoded.code, message: decoded.message, details: [] });
  });

  it.each(status)('$name is written', ({ hex, decoded }) => {
    const error = new DrpcError(Number(decoded.code), decoded.message);
    expect(marshalError(error, 'status').toString('hex')).toBe(hex);
  });

  it('error_storj_short_data is read', () => {
    const [{ hex, decoded }] = vectorsNamed<{ message: string }>('error_storj_short_data') as [
      Vector<{ message: string }>,
    ];
    expect(unmarshalHex(hex)).toMatchObject({ code: DrpcCode.Unknown, message: decoded.message });
  });

  it.each(broken)('$name is an error about the payload', ({ hex, decoded }) => {
    const error = unmarshalHex(hex);
    expect(error.code).toBe(DrpcCode.Unknown);
    expect(error.message.startsWith(decoded.error.replace(' (prefix)', ''))).toBe(true);
  });
});

describe('unmarshalError', () => {
  it('reads only between its bounds', () => {
    const payload = marshalError(new DrpcError(DrpcCode.NotFound, 'gone'), 'storj');
    const bytes = Buffer.concat([Buffer.from('ff01'), payload, Buffer.from('tail')]);
    const start = Buffer.from('ff01').length;
    expect(unmarshalError(bytes, start, start + payload.length)).toMatchObject({ code: 5, message: 'gone' });
  });

  it('has no stack trace: it would show the reader', () => {
    expect(unmarshalHex('010805120178').stack).not.toContain('\n');
  });

  it('borrows nothing', () => {
    const detail = { typeUrl: 'x/y.Z', value: Uint8Array.of(1, 2) };
    const payload = marshalError(new DrpcError(DrpcCode.NotFound, 'gone', { details: [detail] }), 'status');
    const error = unmarshal(payload);
    payload.fill(0xff);
    expect(error.message).toBe('gone');
    expect(error.details).toEqual([detail]);
  });

  it.each([
    ['0', '0000000000000000', 0n],
    ['17', '0000000000000011', 17n],
    ['2^53', '0020000000000000', 1n << 53n],
    ['2^57', '0200000000000000', 1n << 57n],
  ])('makes the storj code %s Unknown with a rawCode', (_what, hex, rawCode) => {
    expect(unmarshalHex(hex)).toMatchObject({ code: DrpcCode.Unknown, rawCode, message: '' });
  });

  it.each([
    ['0, which says OK', '0108001201 78', 0n],
    ['none', '011201 78', 0n],
    ['17', '0108111201 78', 17n],
    ['-1', '0108ffffffffffffffffff011201 78', -1n],
  ])('makes the status code %s Unknown with a rawCode', (_what, hex, rawCode) => {
    expect(unmarshalHex(hex.replace(' ', ''))).toMatchObject({
      code: DrpcCode.Unknown,
      rawCode,
      message: 'x',
    });
  });

  it('reads a status with nothing in it', () => {
    expect(unmarshalHex('01')).toMatchObject({ code: DrpcCode.Unknown, message: '', details: [] });
  });

  it('skips fields of a status that it does not know', () => {
    expect(unmarshalHex('01' + '2a0161' + '0805' + '3001')).toMatchObject({ code: 5, message: '' });
  });

  it('keeps the reason why a status cannot be read as cause', () => {
    const error = unmarshalHex('010805ff');
    expect(error.message).toBe('drpcwire: failed to unmarshal error: protobuf message cut short');
    expect(error.cause).toBeInstanceOf(DrpcError);
  });

  it('keeps at most 64 details', () => {
    const payload = Buffer.concat([Buffer.from('010805', 'hex'), Buffer.alloc(2 * 1000, '1a00', 'hex')]);
    expect(unmarshal(payload).details).toHaveLength(64);
  });

  it.each(['00', '00ff', '00000000000000'])('calls the short payload %s an unsupported version', (hex) => {
    expect(unmarshalHex(hex)).toMatchObject({ code: 2, message: 'drpcwire: unsupported error version: 0' });
  });

  it('never throws and never answers with code 0', () => {
    const anyPayload = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.uint8Array({ maxLength: 40 }).map((rest) => Uint8Array.of(1, ...rest)),
    );
    fc.assert(
      fc.property(anyPayload, (payload) => {
        const error = unmarshal(Buffer.from(payload));
        expect(error.code).toBeGreaterThanOrEqual(1);
        expect(error.code).toBeLessThanOrEqual(16);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('marshalError', () => {
  it.each(['storj', 'status'] as const)('comes back as it was in the %s form', (form) => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 16 }), fc.string({ unit: 'binary' }), (code, message) => {
        const error = unmarshal(marshalError(new DrpcError(code, message), form));
        expect(error).toMatchObject({ code, message });
        expect(error.rawCode).toBeUndefined();
      }),
    );
  });

  it('carries details in the status form and drops them in the storj form', () => {
    const details = [
      { typeUrl: 'type.googleapis.com/google.rpc.Help', value: Uint8Array.of(1, 2, 3) },
      { typeUrl: '', value: new Uint8Array(0) },
    ];
    const error = new DrpcError(DrpcCode.Aborted, 'again', { details });
    expect(unmarshal(marshalError(error, 'status')).details).toEqual(details);
    expect(unmarshal(marshalError(error, 'storj')).details).toEqual([]);
  });

  it('carries the mark of a refused stream', () => {
    expect(isStreamRefused(unmarshal(marshalError(streamRefused('full'), 'status')))).toBe(true);
  });

  it.each<[ErrorForm, bigint, bigint | undefined]>([
    ['storj', 0n, 0n],
    ['storj', 1000n, 1000n],
    ['storj', 2n ** 64n - 1n, 2n ** 64n - 1n],
    ['storj', 2n ** 64n, undefined],
    ['storj', -1n, undefined],
    ['status', 1000n, 1000n],
    ['status', 2n ** 31n - 1n, 2n ** 31n - 1n],
    ['status', 2n ** 31n, undefined],
    ['status', 0n, undefined],
    ['status', -1n, undefined],
  ])('sends in the %s form a rawCode %d as %s, or else code 2', (form, rawCode, seen) => {
    const error = unmarshal(marshalError(new DrpcError(DrpcCode.Unknown, 'x', { rawCode }), form));
    expect(error).toMatchObject({ code: DrpcCode.Unknown, rawCode: seen });
  });

  it.each(['storj', 'status'] as const)(
    'cuts the message in the %s form to 64 KiB, at a character',
    (form) => {
      for (const char of ['x', 'ä', '大', '🙂']) {
        for (const pad of ['', 'p', 'pp', 'ppp']) {
          const payload = marshalError(new DrpcError(DrpcCode.Internal, pad + char.repeat(KIB_64)), form);
          expect(payload.length).toBeLessThanOrEqual(KIB_64);
          expect(payload.length).toBeGreaterThan(KIB_64 - 16);
          const { message } = unmarshal(payload);
          expect(message).toBe(pad + char.repeat((message.length - pad.length - 3) / char.length) + '...');
        }
      }
    },
  );

  it('leaves a message that just fits as it is', () => {
    const message = 'x'.repeat(KIB_64 - 8);
    const payload = marshalError(new DrpcError(DrpcCode.Internal, message), 'storj');
    expect(payload.length).toBe(KIB_64);
    expect(unmarshal(payload).message).toBe(message);
  });

  it('leaves out the last details when they do not fit, and the message keeps 1 KiB', () => {
    const detail = (size: number) => ({ typeUrl: 'x/y.Z', value: new Uint8Array(size) });
    const details = [detail(10), detail(60_000), detail(10_000), detail(10)];
    const error = new DrpcError(DrpcCode.Internal, 'm'.repeat(KIB_64), { details });
    const payload = marshalError(error, 'status');
    expect(payload.length).toBeLessThanOrEqual(KIB_64);
    const seen = unmarshal(payload);
    expect(seen.details).toEqual(details.slice(0, 2));
    expect(seen.message.length).toBeGreaterThan(1000);
  });

  it('writes half a surrogate pair as the replacement character', () => {
    const error = new DrpcError(DrpcCode.Internal, 'a\ud83d');
    expect(unmarshal(marshalError(error, 'storj')).message).toBe('a\ufffd');
    expect(unmarshal(marshalError(error, 'status')).message).toBe('a\ufffd');
  });
});
