import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

/** What a program printed, and how it ended. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The samples, built with the package from the sources as they are, in a folder of their own. */
export class BuiltSamples {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async make(): Promise<BuiltSamples> {
    const folder = await mkdtemp(join(tmpdir(), 'nestjs-drpc-samples-'));
    await cp(join(root, 'package.json'), join(folder, 'package.json'));
    await cp(join(root, 'sample'), join(folder, 'sample'), { recursive: true });
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    // Types are checked by `npm run typecheck`; here the samples are only written.
    const build = (config: string, out: string): Promise<unknown> =>
      run(process.execPath, [tsc, '-p', join(root, config), '--noCheck', '--outDir', join(folder, out)]);
    await Promise.all([build('tsconfig.build.json', 'dist'), build('tsconfig.sample.json', 'dist-sample')]);
    return new BuiltSamples(folder);
  }

  /** Runs a program of the samples, such as `run.js`. */
  run(file: string, ...args: string[]): Promise<Outcome> {
    const path = join(this.#folder, 'dist-sample/sample', file);
    return run(process.execPath, [path, ...args], { cwd: this.#folder }).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      ({ code, stdout, stderr }: Outcome) => ({ code, stdout, stderr }),
    );
  }

  async remove(): Promise<void> {
    await rm(this.#folder, { recursive: true });
  }
}
