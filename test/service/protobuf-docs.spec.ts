import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

import { GreetingApp } from './helpers/greeting-app.js';
import * as fromDescriptors from './docs/from-descriptors.js';
import * as fromProto from './docs/from-proto.js';

const page = new URL('../../docs/protobuf.md', import.meta.url);
const text = readFileSync(page, 'utf8');
const sources = ['from-descriptors.ts', 'from-proto.ts'].map((name) => read(`./docs/${name}`));

/** Without the white space that only lays it out: the page may show a part of a method. */
function read(path: string): string {
  return trimLines(readFileSync(new URL(path, import.meta.url), 'utf8'));
}

function trimLines(code: string): string {
  return code
    .split('\n')
    .map((line) => line.trim())
    .join('\n');
}

function blocks(language: string): string[] {
  return [...text.matchAll(new RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``, 'g'))].map(([, code]) =>
    trimLines(code!).trim(),
  );
}

describe('docs/protobuf.md', () => {
  it.each(blocks('ts'))('takes its code from what the tests run: %s', (code) => {
    // A block may leave lines out between its paragraphs.
    const missing = code.split('\n\n').filter((part) => !sources.some((source) => source.includes(part)));
    expect(missing).toEqual([]);
  });

  it('shows the service that the code speaks of', () => {
    const [proto] = blocks('proto');
    expect(read('./docs/books.proto')).toContain(proto);
  });

  it('links to files that are there', () => {
    const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, link]) => link!);
    expect(links.length).toBeGreaterThan(1);
    expect(links.filter((link) => !existsSync(new URL(link, page)))).toEqual([]);
  });

  it('speaks of code from .proto files that runs', async () => {
    const app = await GreetingApp.start([fromProto.BooksController], fromProto.proto);
    expect(await fromProto.callFromProto(app.port)).toEqual([{ id: '7', title: 'fr: book 7' }, { count: 2 }]);
  });

  it('speaks of code from protoc-gen-es that runs', async () => {
    const app = await GreetingApp.start([fromDescriptors.BooksController]);
    expect(await fromDescriptors.callFromDescriptors(app.port)).toEqual([
      'book 7',
      ['first of poetry', 'last of poetry'],
      2,
      'more like 7',
      ['NEGATIVE_ID', 'id'],
    ]);
  });
});
