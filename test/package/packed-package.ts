import { execFile, spawn, type ChildProcessWithoutNullStreams, type StdioOptions } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

interface Manifest {
  bin: Record<string, string>;
}

/** The package as `npm publish` would send it, built from the sources as they are; `dist/` is left alone. */
export class PackedPackage {
  /** Paths of the files in it. */
  readonly files: readonly string[];
  readonly #scratch: string;
  readonly #tarball: string;

  private constructor(scratch: string, tarball: string, files: readonly string[]) {
    this.#scratch = scratch;
    this.#tarball = tarball;
    this.files = files;
  }

  static async make(): Promise<PackedPackage> {
    const scratch = await mkdtemp(join(tmpdir(), 'nestjs-drpc-'));
    const folder = join(scratch, 'package');
    await mkdir(folder);
    for (const file of ['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md', 'docs'])
      await cp(join(root, file), join(folder, file), { recursive: true });
    // Types are checked by `npm run typecheck`; here they are only written.
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    const build = ['-p', join(root, 'tsconfig.build.json'), '--noCheck', '--outDir', join(folder, 'dist')];
    await run(process.execPath, [tsc, ...build]);
    const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts'], { cwd: folder });
    const [packed] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
    const files = packed.files.map(({ path }) => path);
    return new PackedPackage(scratch, join(folder, packed.filename), files);
  }

  /** A folder in which the package is installed beside `peers`, taken from our own dependencies. */
  async install(name: string, peers: readonly string[]): Promise<InstalledPackage> {
    const folder = join(this.#scratch, name);
    const target = join(folder, 'node_modules/nestjs-drpc');
    await mkdir(target, { recursive: true });
    await run('tar', ['-xzf', this.#tarball, '-C', target, '--strip-components=1']);
    for (const peer of peers) {
      await symlink(join(root, 'node_modules', peer), join(folder, 'node_modules', peer));
    }
    return new InstalledPackage(folder);
  }

  async remove(): Promise<void> {
    await rm(this.#scratch, { recursive: true });
  }
}

/** An application folder with the package in its `node_modules`. */
export class InstalledPackage {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  async write(file: string, code: string): Promise<void> {
    await writeFile(join(this.folder, file), code);
  }

  /** Runs a file of code in a process of its own, a CommonJS one unless its name says otherwise; its output as JSON. */
  async evaluate(file: string, code: string): Promise<unknown> {
    await this.write(file, code);
    const { stdout } = await run(process.execPath, [file], { cwd: this.folder });
    return JSON.parse(stdout);
  }

  /** Starts a command that the package brings along; where `stdio` has no pipe, the process has no stream. */
  command(
    name: string,
    args: readonly string[],
    stdio: StdioOptions = 'pipe',
  ): ChildProcessWithoutNullStreams {
    const folder = join(this.folder, 'node_modules/nestjs-drpc');
    const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
    const command = [join(folder, bin[name]!), ...args];
    return spawn(process.execPath, command, { cwd: this.folder, stdio }) as ChildProcessWithoutNullStreams;
  }

  /** Type-checks files of code against the declarations of the package, `more` flags on; what tsc has to say. */
  async typeCheck(sources: Readonly<Record<string, string>>, ...more: string[]): Promise<string> {
    for (const [file, code] of Object.entries(sources)) await this.write(file, code);
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    const flags = ['--noEmit', '--strict', '--target', 'es2023', '--module', 'nodenext', '--types', 'node'];
    const types = ['--typeRoots', join(root, 'node_modules/@types')];
    const args = [tsc, ...flags, ...more, ...types, '--ignoreConfig', ...Object.keys(sources)];
    return run(process.execPath, args, { cwd: this.folder }).then(
      ({ stdout }) => stdout,
      ({ stdout, stderr }: { stdout: string; stderr: string }) => stdout + stderr,
    );
  }
}
