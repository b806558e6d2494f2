import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RpcNames } from '../../lib/manager/rpc-names.js';

/** `bytes` in the middle of a chunk that is used again afterwards. */
function decodeLent(names: RpcNames, bytes: Buffer): string {
  const chunk = Buffer.concat([Buffer.from('<'), bytes, Buffer.from('>')]);
  const text = names.decode(chunk, 1, chunk.length - 1);
  chunk.fill(0x78);
  return text;
}

describe('RpcNames', () => {
  it.each([
    ['no name', ''],
    ['a name', '/math.Math/Sum'],
    ['a name that is not ASCII', 'größe:\u{1f600}'],
    ['a name as long as is kept', 'n'.repeat(128)],
    ['a longer one', 'n'.repeat(129)],
  ])('reads %s, again and again', (_what, name) => {
    const names = new RpcNames();
    for (let i = 0; i < 3; i++) expect(decodeLent(names, Buffer.from(name))).toBe(name);
  });

  it('tells names apart that differ in one character, and those that take turns', () => {
    const names = new RpcNames();
    for (const name of ['aXb', 'aYb', 'aXb', 'aYb', 'Xab', 'aXb']) {
      expect(decodeLent(names, Buffer.from(name))).toBe(name);
    }
  });

  it('reads bytes as Node does, whatever was read before', () => {
    const names = new RpcNames();
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 12 }),
      fc.array(fc.constantFrom(0x61, 0x62, 0xff), { maxLength: 4 }).map((list) => Uint8Array.from(list)),
    );
    fc.assert(
      fc.property(anything, (array) => {
        const bytes = Buffer.from(array);
        expect(decodeLent(names, bytes)).toBe(bytes.toString('utf8'));
      }),
      { numRuns: 2000 },
    );
  });
});
