import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { describeFrames } from '../helpers/frames.js';

const root = new URL('../../', import.meta.url);
const doc = readFileSync(new URL('docs/protocol.md', root), 'utf8');
/** Each test file that a cell of the table names, with the test behind it where one is meant. */
const references = [...doc.matchAll(/`(test\/[\w./-]+)`(?:: ([^|`]+))?/g)].map(
  ([, file, title]) => [file!, (title ?? '').trim()] as const,
);

describe('docs/protocol.md', () => {
  it('names tests', () => {
    expect(references.length).toBeGreaterThan(40);
  });

  it.each(references)('%s has the test: %s', (file, title) => {
    const path = new URL(file, root);
    expect(existsSync(path)).toBe(true);
    expect(readFileSync(path, 'utf8')).toContain(title);
  });

  it('shows frames that are what it says', () => {
    const [, block] = /```hex\n([^]*?)```/.exec(doc)!;
    const lines = block!
      .trim()
      .split('\n')
      .map((line) => line.split(/ {3,}/) as [string, string]);
    const read = lines.map(([hex]) => describeFrames(Buffer.from(hex.replace(/ /g, ''), 'hex')));
    expect(read).toEqual([
      ['Invoke s1 m1 /a/b'],
      ['Message s1 m2 hello'],
      ['CloseSend s1 m3'],
      ['Cancel! s1 m3'],
      ['WindowUpdate! s7 m0 +131072'],
    ]);
    expect(lines.map(([, says]) => says.split(' ')[0])).toEqual(
      read.map(([frame]) => /^\w+/.exec(frame!)![0]),
    );
  });
});
