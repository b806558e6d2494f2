import fc from 'fast-check';

/**
 * Checks a property with `runs` random inputs. A failure prints the smallest input found, with the seed and the
 * path that lead to it:
 *
 *     PROPERTY_SEED=… PROPERTY_PATH=… npx vitest run test/properties -t "the name of the test"
 *
 * `PROPERTY_RUNS` replaces the number of runs.
 */
export function check<T>(property: fc.IProperty<T>, runs: number): void {
  const { PROPERTY_SEED: seed, PROPERTY_PATH: path, PROPERTY_RUNS: wanted } = process.env;
  fc.assert(property, {
    numRuns: wanted === undefined ? runs : Number(wanted),
    ...(seed === undefined ? {} : { seed: Number(seed) }),
    ...(path === undefined ? {} : { path }),
  });
}
