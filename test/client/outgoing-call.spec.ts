import { describe, expect, it } from 'vitest';
import { callSpec, outgoingCall } from '../../lib/client/outgoing-call.js';
import { DrpcRecord } from '../../lib/client/drpc.record.js';
import { jsonEncoding } from '../../lib/encoding/encoding.js';

const DEFAULTS = { encoding: jsonEncoding, encodings: new Map(), metadata: undefined, timeout: undefined };

function payloadOf(data: unknown) {
  return callSpec(outgoingCall(DEFAULTS, 'send', 'rpc', data, {}, undefined)).payload;
}

describe('outgoingCall', () => {
  const timout = { timout: 500 } as object;
  it.each([
    ['the options', 1, timout],
    ['a record', new DrpcRecord(1, timout), {}],
  ])('refuses a name in %s that is not known, and says which was meant', (_what, data, options) => {
    expect(() => outgoingCall(DEFAULTS, 'call', 'rpc', data, options, undefined)).toThrow(
      new TypeError(
        'call option timout is not known, did you mean timeout? There are encoding, metadata, signal, timeout',
      ),
    );
  });
});

describe('callSpec', () => {
  it('keeps a short message as text, which is written where it is sent from', () => {
    expect(payloadOf('x'.repeat(4094))).toBe(`"${'x'.repeat(4094)}"`);
  });

  it('keeps a long message as bytes, which the garbage collector leaves where they are', () => {
    const payload = payloadOf('ü'.repeat(4095));
    expect(payload).toEqual(Buffer.from(`"${'ü'.repeat(4095)}"`));
  });
});
