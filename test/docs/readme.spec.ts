import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { optionsTable } from './options-table.js';

const root = new URL('../../', import.meta.url);
const path = new URL('README.md', root);
const readme = readFileSync(path, 'utf8');

/** Code of the samples and of tests, by file, without the white space that only lays it out. */
const sources = ['sample']
  .flatMap((folder) =>
    readdirSync(new URL(`${folder}/`, root), { recursive: true, encoding: 'utf8' }).map(
      (file) => `${folder}/${file}`,
    ),
  )
  .filter((file) => file.endsWith('.ts'))
  .map((file) => trimLines(readFileSync(new URL(file, root), 'utf8')));

function trimLines(code: string): string {
  return code
    .split('\n')
    .map((line) => line.trim())
    .join('\n');
}

const blocks = [...readme.matchAll(/```ts\n([^]*?)```/g)].map(([, code]) => trimLines(code!).trim());

describe('the README', () => {
  it('shows code', () => {
    expect(blocks.length).toBeGreaterThan(10);
  });

  it.each(blocks.map((code) => [code.split('\n')[0]!, code] as const))(
    'takes its code from what the tests run: %s',
    (_first, code) => {
      // A block may leave lines out between its paragraphs; each paragraph stands in a file as it is.
      for (const paragraph of code.split('\n\n')) {
        expect(sources.some((source) => source.includes(paragraph))).toBe(true);
      }
    },
  );

  it('begins with the two commands', () => {
    const screen = readme.split('\n').slice(0, 30).join('\n');
    expect(screen).toContain('npm ci && npm start');
    expect(screen).toContain('npm ci && npm test');
  });

  it('links to files that are there', () => {
    const links = [...readme.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, link]) => link!);
    expect(links.length).toBeGreaterThan(5);
    expect(links.filter((link) => !existsSync(new URL(link, root)))).toEqual([]);
  });

  it('has every option with its type and default, as the code has it', () => {
    const [, table] = /<!-- options -->\n([^]*?)<!-- \/options -->/.exec(readme) ?? [];
    const made = optionsTable();
    if (process.env['UPDATE_README'] === '1') {
      const [before, after] = readme.split(/<!-- options -->[^]*<!-- \/options -->/);
      writeFileSync(path, `${before}<!-- options -->\n\n${made}\n<!-- /options -->${after}`);
    }
    const cells = (text: string): string[][] =>
      text
        .split('\n')
        .filter((line) => line.startsWith('| `'))
        .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()));
    expect(cells(table ?? '')).toEqual(cells(made));
  });
});
