import { readdirSync, readFileSync, writeSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { whyNoGo } from './helpers/go-programs.js';

const TESTS = new URL('../', import.meta.url);
const STDERR = 2;

/** The files whose tests need Go. */
function leftOut(): string[] {
  return readdirSync(TESTS, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.spec.ts'))
    .filter((name) => /^import .*\/with-go\.js';$/m.test(readFileSync(new URL(name, TESTS), 'utf8')))
    .map((name) => name.replace('.spec.ts', ''))
    .sort();
}

describe('Go', () => {
  it('is there, or one line says which tests were left out', () => {
    expect(leftOut()).toContain('interop/go-client');
    // Past the runner, which would put a headline over it.
    if (whyNoGo) writeSync(STDERR, `tests left out: ${leftOut().join(', ')}; ${whyNoGo}\n`);
  });

  it('is there where it is required (DRPC_REQUIRE_GO=1)', () => {
    expect(process.env['DRPC_REQUIRE_GO'] === '1' ? whyNoGo : undefined).toBeUndefined();
  });
});
