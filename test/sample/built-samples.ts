import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

/** Where a sample listens, or finds its other side. */
const PORT = /(?<=127\.0\.0\.1:|\b(?:listen|connect)\()\d+/g;

/** What a program printed, and how it ended. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * The samples, built with the package from the sources as they are, in a folder of their own and with ports of their own:
 * those that they show to readers may be in use, by another run of these tests for example.
 */
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
    await takeFreePorts([join(folder, 'sample'), join(folder, 'dist-sample')]);
    return new BuiltSamples(folder);
  }

  /** Where the sources of a sample lie, with the ports that are used here. */
  sourceOf(name: string): string {
    return join(this.#folder, 'sample', name);
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

/** Writes free ports into all programs of these folders, the same one for the same. */
async function takeFreePorts(folders: readonly string[]): Promise<void> {
  const found = await Promise.all(
    folders.map(async (folder) =>
      (await readdir(folder, { recursive: true })).map((name) => join(folder, name)),
    ),
  );
  const files = found.flat().filter((name) => /\.(js|go)$/.test(name));
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  const shown = [...new Set(texts.flatMap((text) => text.match(PORT) ?? []))];
  const free = await freePorts(shown.length);
  const portFor = new Map(shown.map((port, i) => [port, String(free[i])]));
  await Promise.all(
    texts.map((text, i) =>
      writeFile(
        files[i]!,
        text.replace(PORT, (port) => portFor.get(port)!),
      ),
    ),
  );
}

async function freePorts(count: number): Promise<number[]> {
  // All are open before the first is closed: no two are the same.
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}
