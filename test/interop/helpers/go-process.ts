import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { goPrograms } from './go-programs.js';

/**
 * The Go modules; `cockroach` is there only where its library is, and `muxstandin` stands in for it everywhere. See
 * test/interop/go/README.md.
 */
export type GoModule = 'storj' | 'muxstandin' | 'cockroach';

/** A Go program under way: its lines on stdout, and stdin for ours. */
export class GoProcess {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #lines: string[] = [];
  readonly #readers: { resolve: (line: string | undefined) => void }[] = [];
  /** Resolves with the exit code when the program has ended and all its lines are here. */
  readonly exited: Promise<number | null>;
  #stderr = '';
  #isOver = false;

  private constructor(name: string, child: ChildProcess) {
    this.#name = name;
    this.#child = child;
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    // The program may be gone when we write.
    child.stdin!.on('error', () => undefined);
    const lines = createInterface({ input: child.stdout! });
    lines.on('line', (line) => this.#take(line));
    this.exited = Promise.all([once(child, 'exit'), once(lines, 'close')]).then(([[code]]) => {
      this.#isOver = true;
      for (const { resolve } of this.#readers.splice(0)) resolve(undefined);
      return code as number | null;
    });
  }

  static async start(module: GoModule, program: string, args: readonly string[]): Promise<GoProcess> {
    const name = `${module}-${program}`;
    const child = spawn(join(await goPrograms(), name), args, { stdio: 'pipe' });
    await once(child, 'spawn');
    return new GoProcess(name, child);
  }

  /** What it complained of. */
  get stderr(): string {
    return this.#stderr;
  }

  /** The next line; `undefined` when there are no more. */
  line(): Promise<string | undefined> {
    const line = this.#lines.shift();
    if (line !== undefined || this.#isOver) return Promise.resolve(line);
    return new Promise((resolve) => this.#readers.push({ resolve }));
  }

  /** The next line, which must be JSON. @throws when there is none. */
  async json<T>(): Promise<T> {
    const line = await this.line();
    if (line === undefined)
      throw new Error(`${this.#name} ended: ${this.#stderr.trim() || 'without a word'}`);
    return JSON.parse(line) as T;
  }

  say(line: string): void {
    this.#child.stdin!.write(`${line}\n`);
  }

  /** Ends its stdin, upon which a server exits, and waits for its end. */
  async close(): Promise<void> {
    this.#child.stdin!.end();
    await this.exited;
  }

  #take(line: string): void {
    const reader = this.#readers.shift();
    if (reader) reader.resolve(line);
    else this.#lines.push(line);
  }
}
