import { describe, expect, it } from 'vitest';

import { escapeName, escapeText } from '../../lib/errors/escape.js';

describe('escapeName', () => {
  it.each([
    ['', ''],
    ['/pkg.Service/Method', '/pkg.Service/Method'],
    ['{"cmd":"sum"}', '{"cmd":"sum"}'],
    ['größe 大小 🙂', 'größe 大小 🙂'],
    ['a\nb\r\tc', 'a\\nb\\r\\tc'],
    ['\x1b[31mred', '\\x1b[31mred'],
    ['\0\x7f\x85', '\\x00\\x7f\\x85'],
    ['a\\nb', 'a\\\\nb'],
    ['\u202egnp.exe', '\\u{202e}gnp.exe'],
    ['a\u2028b\u00a0c\u200bd\ufeff', 'a\\u{2028}b\\xa0c\\u{200b}d\\u{feff}'],
    ['half \ud83d here', 'half \\u{d83d} here'],
    ['\u{e0041}', '\\u{e0041}'],
  ])('shows %j as %s', (text, shown) => {
    expect(escapeName(text)).toBe(shown);
  });

  it('cuts at 256 bytes by default, the mark included', () => {
    expect(escapeName('x'.repeat(256))).toBe('x'.repeat(256));
    expect(escapeName('x'.repeat(257))).toBe(`${'x'.repeat(253)}...`);
  });

  it.each([
    ['äöü', 6, 'äöü'],
    ['äöüx', 6, 'ä...'],
    ['🙂🙂🙂', 11, '🙂🙂...'],
    ['\n\n\n\n', 7, '\\n\\n...'],
    ['abcdef', 3, '...'],
    ['abcdef', 2, '..'],
    ['abcdef', 0, ''],
  ])('cuts %j at %d bytes, between two characters, to %s', (text, max, shown) => {
    expect(escapeName(text, max)).toBe(shown);
  });

  it('never answers more than the limit, whatever the text', () => {
    const pieces = ['a', '\n', 'ä', '大', '🙂', '\ud800', '\\', '\u202e'];
    for (let max = 0; max < 40; max++) {
      for (let i = 0; i < pieces.length; i++) {
        const text = [...pieces.slice(i), ...pieces, ...pieces.slice(0, i)].join('');
        expect(Buffer.byteLength(escapeName(text, max))).toBeLessThanOrEqual(max);
      }
    }
  });

  it('does not look at the rest of a long text', () => {
    expect(escapeName('\n'.repeat(50_000_000), 16)).toBe('\\n\\n\\n\\n\\n\\n...');
  });
});

describe('escapeText', () => {
  it.each([
    ['', ''],
    ['two\n  lines', 'two\n  lines'],
    ['C:\\files', 'C:\\files'],
    ['a\rb\tc', 'a\\rb\\tc'],
    ['\x1b[31mred\n\0', '\\x1b[31mred\n\\x00'],
    ['\u202e\u2028\u00a0', '\\u{202e}\\u{2028}\\xa0'],
  ])('shows %j as %s', (text, shown) => {
    expect(escapeText(text, 100)).toBe(shown);
  });

  it('cuts as a name is cut', () => {
    expect(escapeText('abcdef\n', 7)).toBe('abcdef\n');
    expect(escapeText('abcdef\n\n', 7)).toBe('abcd...');
    expect(escapeText('a', 0)).toBe('');
  });
});
