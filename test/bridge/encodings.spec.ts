import { describe, expect, it } from 'vitest';
import { resolveEncoding } from '../../lib/bridge/encodings.js';
import { bytesEncoding, jsonEncoding } from '../../lib/encoding/encoding.js';

describe('resolveEncoding', () => {
  it('knows json and bytes by name', () => {
    expect(resolveEncoding('json', 'x')).toBe(jsonEncoding);
    expect(resolveEncoding('bytes', 'x')).toBe(bytesEncoding);
  });

  it("takes the user's own", () => {
    const own = { name: 'own', marshal: String, unmarshal: String };
    expect(resolveEncoding(own, 'x')).toBe(own);
  });

  it.each([
    ['xml', '"xml"'],
    [undefined, 'undefined'],
    [null, 'null'],
    [{}, 'an Object'],
    [{ name: 'x', marshal: String }, 'an Object'],
    [{ marshal: String, unmarshal: String }, 'an Object'],
  ])('refuses %j', (value, shown) => {
    expect(() => resolveEncoding(value, 'encoding of "x"')).toThrow(
      `encoding of "x" is ${shown}: must be 'json', 'bytes' or an Encoding (name, marshal, unmarshal)`,
    );
  });
});
