import { readdirSync, readFileSync, writeSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { hasCockroach, hasGo, whyNoGo } from './helpers/go-programs.js';
import { PEERS } from './helpers/peers.js';

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

  it('has the multiplexing fork beside it, or one line says that its tests were left out', () => {
    const names = PEERS.map(([name]) => name);
    expect(names.includes('cockroach')).toBe(hasCockroach);
    expect(names).toContain('muxstandin');
    if (hasGo && !hasCockroach) {
      writeSync(
        STDERR,
        'tests left out: those with github.com/cockroachdb/drpc itself; DRPC_COCKROACH names no checkout of it\n',
      );
    }
  });

  it('is there where it is required (DRPC_REQUIRE_GO=1)', () => {
    expect(process.env['DRPC_REQUIRE_GO'] === '1' ? whyNoGo : undefined).toBeUndefined();
  });
});
