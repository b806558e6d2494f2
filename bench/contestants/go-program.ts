import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Contestant, Counters, Program, ServerEnd } from '../contestant.js';

const BIN = fileURLToPath(new URL('../../../test/interop/go/bin/', import.meta.url));
const SERVER = `${BIN}storj-server`;
const CLIENT = `${BIN}storj-client`;

const run = promisify(execFile);

/** Why there is no Go peer to measure. */
export function noGoPrograms(): string | undefined {
  try {
    for (const path of [SERVER, CLIENT]) accessSync(path, constants.X_OK);
    return undefined;
  } catch {
    return 'the Go programs are not built: test/interop/go/build.sh builds them';
  }
}

/** The Go server of the interop tests. It ends with its stdin, so with this process, however that ends. */
export async function listenGo(): Promise<ServerEnd> {
  const server = spawn(SERVER, ['-quiet'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface(server.stdout);
  const [line] = (await once(lines, 'line')) as [string];
  const counters: Counters = { held: 0, canceled: 0 };
  return {
    port: Number(line.split(':').at(-1)),
    counters: () => counters,
    close: async () => void server.stdin.end(),
  };
}

/** What the Go client says of a measurement; a whole answer has more. */
interface GoResult {
  count: number;
  perSecond: number;
}

/** Go at both ends. Its client carries one stream on a connection, so it opens one for each call at once. */
export const goDrpc: Contestant = { listen: listenGo, program: goProgram };

function goProgram(port: number): Program {
  const bench = async (mode: 'unary' | 'stream', atOnce: number, size: number, ms: number) => {
    const options = { addr: `127.0.0.1:${port}`, bench: mode, concurrency: atOnce, size, seconds: ms / 1000 };
    const args = Object.entries(options).flatMap(([name, value]) => [`-${name}`, String(value)]);
    const { stdout } = await run(CLIENT, args);
    return JSON.parse(stdout) as GoResult;
  };
  return {
    unary: async ({ atOnce, size, ms }) => {
      const { count, perSecond } = await bench('unary', atOnce, size, ms);
      return { calls: count, failed: 0, perSecond };
    },
    // Its streams are of a thousand messages, one after the other.
    download: async ({ streams, size, ms }) => {
      const { count, perSecond } = await bench('stream', streams, size, ms);
      return { messages: count, perSecond };
    },
  };
}
