import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { LIBRARY, VERSION } from '../../lib/control/version.js';

it('says on the wire what package.json says', () => {
  const manifest = JSON.parse(
    readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
  ) as unknown;
  expect(manifest).toMatchObject({ name: LIBRARY, version: VERSION });
});
