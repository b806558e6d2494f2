import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const root = new URL('../../', import.meta.url);

/** Code without the white space that only lays it out. */
function trimLines(code: string): string {
  return code
    .split('\n')
    .map((line) => line.trim())
    .join('\n');
}

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(page: string): string[] {
  return [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\w -]/g, '')
      .replace(/ /g, '-'),
  );
}

/**
 * Checks what a page of `docs/` shows: its code stands in the test that runs it, and its links lead somewhere.
 * @param name of the page, and of the spec beside this file that has its code
 */
export function describePage(name: string): void {
  const url = new URL(`docs/${name}.md`, root);
  const page = readFileSync(url, 'utf8');
  const code = trimLines(readFileSync(new URL(`${name}.spec.ts`, import.meta.url), 'utf8'));
  const paragraphs = [...page.matchAll(/```ts\n([^]*?)```/g)].flatMap(([, block]) =>
    trimLines(block!).trim().split('\n\n'),
  );
  const links = [...page.matchAll(/\]\((?!https?:)([^)]+)\)/g)].map(([, link]) => link!.split('#'));

  describe(`docs/${name}.md`, () => {
    it.each(paragraphs.map((paragraph) => [paragraph.split('\n')[0]!, paragraph]))(
      'takes its code from what runs here: %s',
      (_first, paragraph) => {
        expect(code).toContain(paragraph);
      },
    );

    it('links to pages and headings that are there', () => {
      expect(links.length).toBeGreaterThan(0);
      for (const [file, anchor] of links) {
        const target = file ? new URL(file, url) : url;
        expect([file, existsSync(target)]).toEqual([file, true]);
        const anchors = anchor === undefined ? [anchor] : anchorsOf(readFileSync(target, 'utf8'));
        expect(anchors).toContain(anchor);
      }
    });
  });
}
