import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it, onTestFinished } from 'vitest';
import { GoProcess } from './helpers/go-process.js';
import { GO_DIRECTORY } from './helpers/go-programs.js';
import { InteropService } from './helpers/interop-service.js';
import { LibraryController, readBooks } from './helpers/library.js';
import { describeWithGo } from './helpers/with-go.js';

const page = readFileSync(new URL('../../docs/go-interop.md', import.meta.url), 'utf8');

const EXAMPLE = `${GO_DIRECTORY}/storj/cmd/example`;
const SOURCES: Record<string, string[]> = {
  go: readdirSync(EXAMPLE).map((name) => trimmed(readFileSync(`${EXAMPLE}/${name}`, 'utf8'))),
  ts: [trimmed(readFileSync(new URL('helpers/library.ts', import.meta.url), 'utf8'))],
};

/** What client and Go client print alike. */
const LINES = ['Flatland 1884', '5 no book is called Nothing', 'Flatland', 'Frankenstein', 'Middlemarch'];

/** Code without the white space that only lays it out. */
function trimmed(code: string): string {
  return code
    .split('\n')
    .map((line) => line.trim())
    .join('\n');
}

describe('docs/go-interop.md', () => {
  const paragraphs = [...page.matchAll(/```(go|ts)\n([^]*?)```/g)].flatMap(([, language, code]) =>
    trimmed(code!)
      .trim()
      .split('\n\n')
      .map((paragraph) => [language!, paragraph.split('\n')[0]!, paragraph] as const),
  );

  it('shows code of both sides', () => {
    expect(new Set(paragraphs.map(([language]) => language))).toEqual(new Set(['go', 'ts']));
  });

  it.each(paragraphs)('takes its code from what runs here: %s, %s', (language, _, paragraph) => {
    expect(SOURCES[language]!.some((source) => source.includes(paragraph))).toBe(true);
  });

  it('names files and folders that are there', () => {
    const paths = [...page.matchAll(/\b(?:test|sample|docs)\/[\w./-]+(?![\w./*-])/g)].map(([path]) => path);
    expect(paths).toContain('test/interop/go/storj/cmd/example');
    expect(paths.filter((path) => !existsSync(new URL(`../../${path}`, import.meta.url)))).toEqual([]);
  });
});

describeWithGo('the code of docs/go-interop.md', () => {
  it('calls a Nest service from Go', async () => {
    const service = await InteropService.start({}, [LibraryController]);
    onTestFinished(() => service.close());

    const client = await GoProcess.start('storj', 'example', ['call', `127.0.0.1:${service.port}`]);

    const lines: (string | undefined)[] = [];
    for (let i = 0; i < LINES.length; i++) lines.push(await client.line());
    expect(lines).toEqual(LINES);
    expect(await client.exited).toBe(0);
    expect(service.get(LibraryController).readers).toEqual(['Ada', 'Ada']);
    expect(service.get(LibraryController).returned).toEqual(['Flatland']);
  });

  it('calls a Go service from Nest', async () => {
    const server = await GoProcess.start('storj', 'example', ['serve', '127.0.0.1:0']);
    onTestFinished(() => server.close());
    const [, address] = (await server.line())!.split(' ');

    expect(await readBooks(`drpc://${address}`)).toEqual(LINES);
  });
});
