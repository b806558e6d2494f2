import { beforeAll, describe, vi, type SuiteAPI } from 'vitest';
import { BUILD_TIMEOUT, goPrograms, hasGo } from './go-programs.js';

/** Programs are started and machines may be busy: in ms. */
vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

beforeAll(async () => {
  if (hasGo) await goPrograms();
}, BUILD_TIMEOUT);

/** `describe` for tests that need Go: left out where there is none, which go.spec.ts says. */
export const describeWithGo = (hasGo ? describe : describe.skip) as SuiteAPI;
