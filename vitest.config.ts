import { fileURLToPath } from 'node:url';

import { defineConfig } from 'vitest/config';

const lib = fileURLToPath(new URL('./lib', import.meta.url));

export default defineConfig({
  test: {
    include: ['test/**/*.spec.ts'],
    setupFiles: ['test/setup.ts'],
    // Nothing here waits on time; these only end what hangs, also on a machine that is busy with other things.
    testTimeout: 30_000,
    hookTimeout: 120_000,
    coverage: { provider: 'v8', include: ['lib/**/*.ts'] },
  },
  resolve: {
    // Tests and samples import the package by its name; here that means the sources, not `dist/`.
    alias: [
      { find: /^nestjs-drpc$/, replacement: `${lib}/index.ts` },
      { find: /^nestjs-drpc\/(core|opentelemetry|protobuf|testing)$/, replacement: `${lib}/$1.ts` },
    ],
  },
});
