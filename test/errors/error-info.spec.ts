import { describe, expect, it } from 'vitest';

import { DrpcCode } from '../../lib/errors/codes.js';
import { DrpcError } from '../../lib/errors/drpc-error.js';
import {
  decodeErrorInfo,
  encodeErrorInfo,
  isStreamRefused,
  streamRefused,
} from '../../lib/errors/error-info.js';

const URL = 'type.googleapis.com/google.rpc.ErrorInfo';

describe('encodeErrorInfo', () => {
  it('writes google.rpc.ErrorInfo', () => {
    const { typeUrl, value } = encodeErrorInfo({ reason: 'R', domain: 'd', metadata: { k: 'v' } });
    expect(typeUrl).toBe(URL);
    expect(Buffer.from(value).toString('hex')).toBe('0a0152120164' + '1a060a016b120176');
  });

  it('comes back as it was', () => {
    const info = { reason: 'STOCK', domain: 'shop.example', metadata: { left: '0', '': '', größe: 'ü' } };
    expect(decodeErrorInfo(encodeErrorInfo(info))).toEqual(info);
    expect(decodeErrorInfo(encodeErrorInfo({ reason: '', domain: '' }))).toEqual({
      reason: '',
      domain: '',
      metadata: {},
    });
  });
});

describe('decodeErrorInfo', () => {
  it('knows the type by what stands behind the last slash', () => {
    const { value } = encodeErrorInfo({ reason: 'R', domain: 'd' });
    expect(decodeErrorInfo({ typeUrl: 'example.org/a/google.rpc.ErrorInfo', value })?.reason).toBe('R');
    expect(decodeErrorInfo({ typeUrl: 'google.rpc.ErrorInfo', value })?.reason).toBe('R');
    expect(decodeErrorInfo({ typeUrl: 'type.googleapis.com/google.rpc.Help', value })).toBeUndefined();
    expect(decodeErrorInfo({ typeUrl: 'x/notgoogle.rpc.ErrorInfo', value })).toBeUndefined();
    expect(decodeErrorInfo({ typeUrl: '', value })).toBeUndefined();
  });

  it('skips fields it does not know', () => {
    const value = Buffer.from('2a0178' + '0a0152' + '3001', 'hex');
    expect(decodeErrorInfo({ typeUrl: URL, value })).toEqual({ reason: 'R', domain: '', metadata: {} });
  });

  it('gives a key of a peer no power over prototypes', () => {
    const detail = encodeErrorInfo({ reason: 'R', domain: 'd', metadata: { ['__proto__']: 'x' } });
    const metadata = decodeErrorInfo(detail)!.metadata!;
    expect(Object.getPrototypeOf(metadata)).toBeNull();
    expect(Object.keys(metadata)).toEqual(['__proto__']);
  });
});

describe('streamRefused', () => {
  it('is ResourceExhausted unless it says Unavailable', () => {
    expect(streamRefused('at most 1000 streams')).toMatchObject({ code: 8, message: 'at most 1000 streams' });
    expect(streamRefused('shutting down', DrpcCode.Unavailable).code).toBe(14);
  });

  it('has no stack trace: it is made for a peer, by the thousand where one floods', () => {
    expect(streamRefused('full').stack).not.toContain('\n');
  });

  it('is recognized by isStreamRefused', () => {
    expect(isStreamRefused(streamRefused('full'))).toBe(true);
    expect(isStreamRefused(streamRefused('draining', DrpcCode.Unavailable))).toBe(true);
  });
});

describe('isStreamRefused', () => {
  const withDetail = (reason: string, domain: string, metadata: Record<string, string> = {}) =>
    new DrpcError(DrpcCode.ResourceExhausted, 'x', {
      details: [encodeErrorInfo({ reason, domain, metadata })],
    });

  it('finds the mark with facts beside it', () => {
    expect(isStreamRefused(withDetail('STREAM_REFUSED', 'drpc', { limit: '100' }))).toBe(true);
  });

  it('finds the mark among other details', () => {
    const mark = encodeErrorInfo({ reason: 'STREAM_REFUSED', domain: 'drpc' });
    const other = { typeUrl: 'x/y.Z', value: Uint8Array.of(0xff) };
    expect(isStreamRefused(new DrpcError(8, 'x', { details: [other, mark] }))).toBe(true);
  });

  it.each([
    ['an application code 8', new DrpcError(DrpcCode.ResourceExhausted, 'STREAM_REFUSED')],
    ['another reason', withDetail('QUOTA', 'drpc')],
    ['another domain', withDetail('STREAM_REFUSED', 'shop.example')],
    [
      'a garbled detail',
      new DrpcError(8, 'x', { details: [{ typeUrl: URL, value: Uint8Array.of(0x0a, 0xff) }] }),
    ],
    ['an error of another class', Object.assign(new Error('x'), { details: streamRefused('x').details })],
    ['a mark above 4 KiB', withDetail('STREAM_REFUSED', 'drpc', { filler: 'x'.repeat(4096) })],
    ['nothing', undefined],
  ])('says no to %s', (_what, error) => {
    expect(isStreamRefused(error)).toBe(false);
  });
});
