import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { finished } from 'node:stream/promises';

import { ExitCode, run } from '../../../lib/cli/run.js';

export interface Result {
  code: ExitCode;
  output: string;
  errors: string;
}

/** Carries a command out as the program does, with its three streams at hand. */
export class Command {
  readonly input = new PassThrough();
  readonly output = new PassThrough();
  readonly stop = new AbortController();
  readonly #errors = new PassThrough();
  readonly #code: Promise<ExitCode>;
  #read = '';
  #isRead = false;

  constructor(args: readonly string[]) {
    const { input, output, stop } = this;
    this.#code = run(args, { input, output, errors: this.#errors, signal: stop.signal });
  }

  /** Reads the output from now on. */
  read(): this {
    this.#isRead = true;
    this.output.on('data', (chunk: Buffer) => (this.#read += chunk.toString()));
    return this;
  }

  async until(text: string): Promise<void> {
    while (!this.#read.includes(text)) await once(this.output, 'data');
  }

  async result(): Promise<Result> {
    const code = await this.#code;
    this.output.end();
    if (this.#isRead) await finished(this.output);
    return { code, output: this.#read, errors: (this.#errors.read() as Buffer | null)?.toString() ?? '' };
  }
}

/** What comes of a command that is given this input. */
export async function result(args: readonly string[], input: string | Uint8Array = ''): Promise<Result> {
  const command = new Command(args).read();
  command.input.end(input);
  return command.result();
}

export function succeeded(output: string): Result {
  return { code: ExitCode.Success, output, errors: '' };
}
