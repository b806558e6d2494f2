import type { LoggerService } from '@nestjs/common';

/** Keeps what Nest applications log. */
export class LogRecorder implements LoggerService {
  /** Level and texts of each line, the context last. */
  readonly lines: string[] = [];

  log = (...texts: unknown[]): void => this.#keep('log', texts);
  error = (...texts: unknown[]): void => this.#keep('error', texts);
  warn = (...texts: unknown[]): void => this.#keep('warn', texts);
  debug = (...texts: unknown[]): void => this.#keep('debug', texts);
  verbose = (...texts: unknown[]): void => this.#keep('verbose', texts);
  fatal = (...texts: unknown[]): void => this.#keep('fatal', texts);

  /** The lines in which `text` stands. */
  with(text: string): string[] {
    return this.lines.filter((line) => line.includes(text));
  }

  #keep(level: string, texts: unknown[]): void {
    this.lines.push([level, ...texts.map(String)].join(' | '));
  }
}
