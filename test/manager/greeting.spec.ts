import { describe, expect, it } from 'vitest';
import { ProtocolError } from '../../lib/errors/drpc-error.js';
import { Greeting, PREAMBLE, type PreambleMode } from '../../lib/manager/greeting.js';
import { Kind } from '../../lib/wire/kind.js';
import { cancel, frame, invoke, message } from '../helpers/frames.js';
import { thrownBy } from '../helpers/recorder.js';
import { vectorsNamed } from '../helpers/vectors.js';

/** What a greeting skips of `bytes`, given in pieces of `size`; or the message of the error. */
function examine(mode: PreambleMode, bytes: Buffer, size = bytes.length): number | string {
  const greeting = new Greeting(mode);
  try {
    for (let at = 0; at < bytes.length; at += size) {
      const skip = greeting.examine(bytes.subarray(at, at + size));
      if (skip >= 0) return at + skip;
    }
  } catch (error) {
    return (error as Error).message;
  }
  return -1;
}

const first = invoke(1, '/service.Service/Method1');
const glued = Buffer.from(vectorsNamed('migrate_preamble_plus_invoke')[0]!.hex, 'hex');

describe('Greeting', () => {
  it('knows the preamble of drpcmigrate', () => {
    expect(PREAMBLE.toString('hex')).toBe(vectorsNamed('migrate_preamble')[0]!.hex);
    expect(glued).toEqual(Buffer.concat([PREAMBLE, first]));
  });

  it.each<[PreambleMode, string, Buffer, number | string]>([
    ['accept', 'frames', first, 0],
    ['accept', 'the preamble and frames', glued, 8],
    ['accept', 'metadata first', frame(Kind.InvokeMetadata, 1, 1), 0],
    ['accept', 'the Cancel of a call that was never invoked', cancel(1, 1), 0],
    ['require', 'the preamble and frames', glued, 8],
    ['require', 'the preamble and such a Cancel', Buffer.concat([PREAMBLE, cancel(1, 1)]), 8],
    ['off', 'frames', first, 0],
  ])('with %s lets %s through, however cut', (mode, _what, bytes, expected) => {
    for (let size = 1; size <= bytes.length; size++) expect(examine(mode, bytes, size)).toBe(expected);
  });

  it('waits while the preamble may still become whole', () => {
    for (let size = 0; size < 8; size++) expect(examine('accept', PREAMBLE.subarray(0, size), 1)).toBe(-1);
    expect(examine('accept', PREAMBLE)).toBe(-1);
  });

  it.each<[PreambleMode, string, Buffer, string]>([
    ['require', 'frames without it', first, 'must begin with the preamble DRPC!!!1'],
    ['require', 'half of it', Buffer.from('DRPC!!!2'), 'a DRPC preamble on a DRPC port: "DRPC!!!2"'],
    [
      'accept',
      'half of it',
      Buffer.concat([PREAMBLE.subarray(0, 5), first]),
      'a DRPC preamble on a DRPC port',
    ],
    ['off', 'the preamble', glued, 'a DRPC preamble on a DRPC port'],
    ['accept', 'another kind first', message(1, 1), 'an unknown protocol on a DRPC port'],
    [
      'accept',
      'a Cancel without control first',
      frame(Kind.Cancel, 1, 1, '', { control: false }),
      'must begin with an Invoke or InvokeMetadata frame',
    ],
    [
      'accept',
      'another kind behind the preamble',
      Buffer.concat([PREAMBLE, message(1, 1)]),
      'must begin with',
    ],
    [
      'accept',
      'HTTP',
      Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n'),
      'HTTP on a DRPC port: "GET / HTTP/1.1\\r\\n',
    ],
    ['accept', 'HTTP of a form', Buffer.from('POST /x HTTP/1.1\r\n'), 'HTTP on a DRPC port: "POST'],
    ['accept', 'HTTP/2', Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), 'HTTP/2 on a DRPC port: "PRI'],
    ['accept', 'TLS', Buffer.from('16030100f8010000f40303', 'hex'), 'TLS on a DRPC port'],
    ['require', 'TLS', Buffer.from('16030100f8010000f40303', 'hex'), 'TLS on a DRPC port'],
    ['off', 'HTTP', Buffer.from('DELETE /x HTTP/1.1\r\n'), 'HTTP on a DRPC port'],
  ])('with %s refuses %s and says what it saw', (mode, _what, bytes, expected) => {
    expect(examine(mode, bytes)).toContain(expected);
    expect(thrownBy(() => new Greeting(mode).examine(bytes))).toBeInstanceOf(ProtocolError);
  });

  it('shows no more than a few bytes, and no control characters', () => {
    const text = examine('accept', Buffer.from(`GET /\x00\x1b[31m${'x'.repeat(5000)}`)) as string;
    expect(text.length).toBeLessThan(200);
    expect(text).toMatch(/^[\x20-\x7e]*$/);
  });
});
