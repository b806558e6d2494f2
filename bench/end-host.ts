import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { EndSettings } from './contestant.js';
import type { ClientTasks, Question, Reply, ServerTasks } from './end-protocol.js';

const ENTRY = fileURLToPath(new URL('./end-process.js', import.meta.url));
const START_LIMIT_MS = 20_000;
const TAIL_SIZE = 2000;

const running = new Set<ChildProcess>();

/** Ends every process that was started here, also a stopped one. For exits of any kind. */
export function killAll(): void {
  for (const child of running) child.kill('SIGKILL');
}

interface Waiting {
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

/** The parent's hold on one end process. */
export class EndHost<T extends Record<keyof T, [unknown, unknown]>> {
  readonly #child: ChildProcess;
  readonly #label: string;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #tail = '';

  constructor(role: 'server' | 'client', name: string, env: Record<string, string> = {}) {
    this.#label = `${name} ${role}`;
    this.#child = fork(ENTRY, [role, name], {
      execArgv: ['--expose-gc', ...process.execArgv],
      env: { ...process.env, NODE_ENV: 'production', NO_COLOR: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    running.add(this.#child);
    for (const output of [this.#child.stdout!, this.#child.stderr!]) {
      output.on('data', (chunk: Buffer) => (this.#tail = (this.#tail + chunk.toString()).slice(-TAIL_SIZE)));
    }
    this.#child.on('message', (reply: Reply) => this.#settle(reply));
    this.#child.on('error', (error) => this.#fail(error.message));
    this.#child.on('exit', (code, signal) => {
      running.delete(this.#child);
      this.#fail(`ended with ${signal ?? code}`);
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Waits until the process has loaded its contestant. */
  ready(): Promise<unknown> {
    return this.#wait(0, START_LIMIT_MS, 'start');
  }

  /** @throws Error when the task fails there, the process ends, or `limitMs` are over. */
  ask<K extends keyof T & string>(task: K, params: T[K][0], limitMs: number): Promise<T[K][1]> {
    const id = this.#nextId++;
    this.#child.send({ id, task, params } satisfies Question, () => undefined);
    return this.#wait(id, limitMs, task);
  }

  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child.kill(name);
  }

  async kill(): Promise<void> {
    if (!running.has(this.#child)) return;
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await gone;
  }

  #wait(id: number, limitMs: number, task: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#settle({ id, error: `no answer within ${limitMs / 1000} s` });
      }, limitMs);
      this.#waiting.set(id, {
        resolve: (answer) => {
          clearTimeout(timer);
          resolve(answer);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(new Error(`${this.#label}, ${task}: ${error.message}`));
        },
      });
      if (!running.has(this.#child)) this.#fail('has ended before');
    });
  }

  #settle({ id, answer, error }: Reply): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(answer);
    else waiting?.reject(new Error(error));
  }

  #fail(what: string): void {
    for (const id of this.#waiting.keys()) this.#settle({ id, error: [what, this.#tail].join('\n').trim() });
  }
}

/** Both ends of one contestant, connected. */
export class Pair {
  readonly client: EndHost<ClientTasks>;
  readonly server: EndHost<ServerTasks>;
  #port = 0;
  #settings: EndSettings | undefined;

  constructor(name: string) {
    this.client = new EndHost('client', name);
    this.server = new EndHost('server', name, { BENCH_PARTNER: String(this.client.pid) });
  }

  async start(settings: EndSettings): Promise<void> {
    this.#settings = settings;
    await Promise.all([this.client.ready(), this.server.ready()]);
    this.#port = (await this.server.ask('listen', { settings }, START_LIMIT_MS)).port;
    await this.connect();
  }

  /** Makes a new connection in place of the one there is. */
  async connect(): Promise<void> {
    await this.client.ask('connect', { port: this.#port, settings: this.#settings! }, START_LIMIT_MS);
  }

  async kill(): Promise<void> {
    await Promise.all([this.client.kill(), this.server.kill()]);
  }
}
