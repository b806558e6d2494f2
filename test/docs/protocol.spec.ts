import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { describeFrames } from '../helpers/frames.js';

const root = new URL('../../', import.meta.url);
const doc = readFileSync(new URL('docs/protocol.md', root), 'utf8');
/** Each test file that a cell of the tables names, with each test of it that stands in quotes behind it. */
const references = [...doc.matchAll(/`(test\/[\w./-]+)`(?:: ((?:"[^"]+"(?:, )?)+))?/g)].flatMap(
  ([, file, titles]) =>
    [...(titles ?? '""').matchAll(/"([^"]*)"/g)].map(([, title]) => [file!, title!] as const),
);

describe('docs/protocol.md', () => {
  it('names tests', () => {
    expect(references.length).toBeGreaterThan(120);
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
      ['InvokeMetadata s1 m1 <10 bytes>'],
      ['Message s1 m2 hello'],
      ['Message s1 m2'],
      ['Message+ s1 m2 abcde', 'Message s1 m2 fg'],
      ['CloseSend s1 m3'],
      ['Close s1 m4'],
      ['Cancel! s1 m3'],
      ['Error s1 m1 (5) no'],
      ['Error s1 m1 <7 bytes>'],
      ['WindowUpdate! s7 m0 +131072'],
      ['Message s9007199254740992 m1 x'],
    ]);
    expect(lines.map(([, says]) => /^[\w+]+/.exec(says)![0])).toEqual(
      read.map(([frame]) => /^\w+\+?/.exec(frame!)![0]),
    );
  });
});
