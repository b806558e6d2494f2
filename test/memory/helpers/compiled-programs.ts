import { fork, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../../..', import.meta.url));

const EMIT: ts.CompilerOptions = {
  module: ts.ModuleKind.ESNext,
  target: ts.ScriptTarget.ES2023,
  experimentalDecorators: true,
  emitDecoratorMetadata: true,
};

/** What a program of a test finds where `npm install` would have put it. */
const PACKAGE = {
  name: 'nestjs-drpc',
  type: 'module',
  exports: { '.': './lib/index.js', './core': './lib/core.js', './testing': './lib/testing.js' },
};

/**
 * Programs of the tests that run in processes of their own, written out with the library as JavaScript: file by
 * file, without looking at types, which takes a second.
 */
export class CompiledPrograms {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** @param programs paths from the root of the repository */
  static async make(...programs: string[]): Promise<CompiledPrograms> {
    const folder = await mkdtemp(join(tmpdir(), 'nestjs-drpc-programs-'));
    const lib = await readdir(join(root, 'lib'), { recursive: true });
    const files = lib.filter((file) => file.endsWith('.ts')).map((file) => join('lib', file));
    await Promise.all([...files, ...programs].map((file) => compile(file, folder)));
    await writeFile(join(folder, 'package.json'), JSON.stringify(PACKAGE));
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
    return new CompiledPrograms(folder);
  }

  /** Starts a program. What it prints is shown with the test's own output. */
  start(program: string, ...args: string[]): ChildProcess {
    return fork(join(this.#folder, program.replace(/\.ts$/, '.js')), args, {
      env: { ...process.env, NODE_ENV: 'production' },
      execArgv: [],
    });
  }

  async remove(): Promise<void> {
    await rm(this.#folder, { recursive: true });
  }
}

async function compile(file: string, folder: string): Promise<void> {
  const source = await readFile(join(root, file), 'utf8');
  const { outputText } = ts.transpileModule(source, { compilerOptions: EMIT, fileName: file });
  const out = join(folder, file.replace(/\.ts$/, '.js'));
  await mkdir(dirname(out), { recursive: true });
  await writeFile(out, outputText);
}
