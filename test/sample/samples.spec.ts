import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { easterSunday, easterTable } from '../../sample/main-job/make-data.js';
import { BuiltSamples } from './built-samples.js';

const folder = new URL('../../sample/', import.meta.url);
const names = readdirSync(folder).filter((name) => /^\d\d-/.test(name));
/** Needs Go; test/service runs it. */
const withGo = names.filter((name) => name.endsWith('go-interop'));

/** The lines of one side, in their order; how the sides mix is not certain. */
function linesOf(side: string, text: string): string[] {
  return text.split('\n').filter((line) => line.startsWith(`${side} | `));
}

/** The block of the README that shows what is printed. */
function shownOutput(name: string): string {
  const readme = readFileSync(new URL(`${name}/README.md`, folder), 'utf8');
  const [, block] = /```text\n([^]*?)```/.exec(readme) ?? [];
  if (block === undefined) throw new Error(`the README of sample ${name} shows no output`);
  return block;
}

describe('the samples', () => {
  let samples: BuiltSamples;

  beforeAll(async () => {
    samples = await BuiltSamples.make();
  }, 120_000);

  afterAll(() => samples.remove());

  it('are numbered by reading order', () => {
    expect(names.map((name) => Number(name.slice(0, 2)))).toEqual(names.map((_, i) => i + 1));
  });

  it.each(names.filter((name) => !withGo.includes(name)))(
    '%s prints what its README shows',
    async (name) => {
      const { code, stdout } = await samples.run('run.js', name);
      const shown = shownOutput(name);
      expect(linesOf('client', stdout)).toEqual(linesOf('client', shown));
      expect(linesOf('server', stdout)).toEqual(linesOf('server', shown));
      expect(code).toBe(0);
    },
    30_000,
  );

  it('tell which sample there is not', async () => {
    const { code, stderr } = await samples.run('run.js', '99-nothing');
    expect(stderr).toContain('no sample is named "99-nothing"');
    expect(code).toBe(2);
  });

  it('tell the main job in causal order, and end with 0', async () => {
    const { code, stdout } = await samples.run('main-job/main.js');
    const lines = stdout.split('\n');
    const story = [
      /^service \| listening on drpc:\/\/127\.0\.0\.1:\d+$/,
      /^service \| sum\(1, 2, 3\)$/,
      /^client {2}\| one answer: 1 \+ 2 \+ 3 = 6$/,
      /^service \| sent 1417 rows, checksum [0-9a-f]{12}$/,
      /^client {2}\| got {2}1417 rows, checksum [0-9a-f]{12}$/,
      /a hundred calls at once on one connection: all answered right$/,
      /^client {2}\| got the endless ticks 0, 1, 2 and leaves$/,
      /^service \| the endless Observable was torn down$/,
      /^client {2}\| an error with its code: 5 \(NotFound\), there is no door number 9$/,
      /^6 of 6 steps went right$/,
    ].map((like) => lines.findIndex((line) => like.test(line)));
    expect(story).not.toContain(-1);
    expect(story).toEqual([...story].sort((a, b) => a - b));
    expect(lines).toContain('service | event: order 7, one lemon tree');
    expect(code).toBe(0);
  }, 30_000);
});

describe('the data of the main job', () => {
  it('is what the calendar says', () => {
    expect(readFileSync(new URL('main-job/easter.csv', folder), 'utf8')).toBe(easterTable());
  });

  it.each([
    [1818, '03-22'],
    [1943, '04-25'],
    [1954, '04-18'],
    [1981, '04-19'],
    [2000, '04-23'],
    [2024, '03-31'],
    [2025, '04-20'],
  ])('has Easter of %i on %s', (year, date) => {
    expect(easterSunday(year)).toBe(date);
  });
});
