import { describe, expect, it } from 'vitest';
import { callSpec, outgoingCall } from '../../lib/client/outgoing-call.js';
import { jsonEncoding } from '../../lib/encoding/encoding.js';

const DEFAULTS = { encoding: jsonEncoding, encodings: new Map(), metadata: undefined, timeout: undefined };

function payloadOf(data: unknown) {
  return callSpec(outgoingCall(DEFAULTS, 'send', 'rpc', data, {}, undefined)).payload;
}

describe('callSpec', () => {
  it('keeps a short message as text, which is written where it is sent from', () => {
    expect(payloadOf('x'.repeat(4094))).toBe(`"${'x'.repeat(4094)}"`);
  });

  it('keeps a long message as bytes, which the garbage collector leaves where they are', () => {
    const payload = payloadOf('ü'.repeat(4095));
    expect(payload).toEqual(Buffer.from(`"${'ü'.repeat(4095)}"`));
  });
});
