/** Runs one sample, its server and its client: `npm run sample 01-unary`. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const [name = ''] = process.argv.slice(2);
const fileOf = (side: string): string => fileURLToPath(new URL(`./${name}/${side}.js`, import.meta.url));
if (!/^\d\d-[a-z-]+$/.test(name) || !existsSync(fileOf('client'))) {
  console.error(`no sample is named "${name}"; see the folders of sample/`);
  process.exit(2);
}

/** Starts one side; its lines are printed with its name in front. */
function start(side: string, isReady: () => void): ChildProcess {
  const child = fork(fileOf(side), {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    env: { ...process.env, NO_COLOR: '1' },
  });
  let rest = '';
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop()!;
    for (const line of lines) {
      // Nest's own start-up lines carry a time and a process id: nobody can compare them.
      if (!line.startsWith('[Nest]')) console.log(`${side} | ${line}`);
      if (line === 'listening') isReady();
    }
  });
  return child;
}

const withServer = existsSync(fileOf('server'));
let server: ChildProcess | undefined;
if (withServer) {
  await new Promise<void>((resolve, reject) => {
    server = start('server', resolve);
    server.once('exit', (code) => reject(new Error(`the server ended with ${code}`)));
  });
}
const client = start('client', () => undefined);
const [code] = (await once(client, 'close')) as [number];
if (server) {
  server.removeAllListeners('exit');
  // One sample's server ends by itself.
  const hasEnded = server.exitCode !== null;
  if (!hasEnded) {
    server.kill();
    await once(server, 'close');
  }
}
process.exitCode = code;
