import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Where the Go modules are. */
export const GO_DIRECTORY = fileURLToPath(new URL('../go', import.meta.url));
const CACHE = fileURLToPath(new URL('../../../node_modules/.cache/interop-go', import.meta.url));

/** How long the first build may take: Go compiles its own library then. In ms. */
export const BUILD_TIMEOUT = 300_000;
const LOCK_POLL = 100;
/** What env.sh exits with when there is no Go, or none that is new enough. */
const NO_GO = 3;

/** Why there is no Go here, in a line; `undefined` when there is. */
export const whyNoGo: string | undefined = findGo();
export const hasGo = whyNoGo === undefined;

/** Where github.com/cockroachdb/drpc is: a checkout or a version, see test/interop/go/cockroach.sh. */
const cockroach = process.env['DRPC_COCKROACH'] ?? '';
export const hasCockroach = cockroach !== '';

/**
 * Builds the Go programs unless they are there, once for all processes; answers the directory they are in.
 * It is named for what they are built from, so that they are built again when that changes.
 */
export function goPrograms(): Promise<string> {
  programs ??= provide(join(CACHE, fingerprint()));
  return programs;
}

let programs: Promise<string> | undefined;

function findGo(): string | undefined {
  const { status, stderr } = spawnSync('bash', ['-c', `source "$1/env.sh"`, 'bash', GO_DIRECTORY], {
    encoding: 'utf8',
  });
  if (status === 0) return undefined;
  // Only what says that there is no Go may leave tests out.
  if (status === NO_GO) return stderr.trim();
  return stderr.trim() || 'the search for Go failed: is there a bash?';
}

async function provide(directory: string): Promise<string> {
  if (existsSync(directory)) return directory;
  await mkdir(CACHE, { recursive: true });
  const release = await lock(join(CACHE, 'lock'));
  try {
    if (!existsSync(directory)) await build(directory);
  } finally {
    await release();
  }
  return directory;
}

async function build(directory: string): Promise<void> {
  for (const name of await readdir(CACHE)) {
    if (name !== 'lock') await rm(join(CACHE, name), { recursive: true, force: true });
  }
  const unfinished = `${directory}.part`;
  await run(join(GO_DIRECTORY, 'build.sh'), [unfinished]);
  await rename(unfinished, directory);
}

/** Waits for the lock that a file stands for; the file of a process that died does not count. */
async function lock(path: string): Promise<() => Promise<void>> {
  for (;;) {
    try {
      const file = await open(path, 'wx');
      await file.write(String(process.pid));
      await file.close();
      return () => unlink(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const owner = Number(await readFile(path, 'utf8').catch(() => ''));
    if (owner > 0 && !isRunning(owner)) await unlink(path).catch(() => undefined);
    else await delay(LOCK_POLL);
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Of everything that the programs are built from. */
function fingerprint(): string {
  const hash = createHash('sha256').update(cockroach);
  for (const directory of [GO_DIRECTORY, cockroach]) {
    if (!existsSync(directory)) continue;
    const files = readdirSync(directory, { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(go|mod|sum|sh)$/.test(name))
      .sort();
    for (const name of files) hash.update(`${name}\n`).update(readFileSync(join(directory, name)));
  }
  return hash.digest('hex').slice(0, 16);
}
