#!/usr/bin/env node
import 'reflect-metadata';
import { Logger } from '@nestjs/common';
import { CanceledError } from '../errors/drpc-error.js';
import { ExitCode, run } from './run.js';

// What a connection has to say is in the error of the call.
Logger.overrideLogger(false);

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  // A second one ends the process at once.
  process.once(signal, () => stop.abort(new CanceledError('interrupted')));
}
process.stdout.on('error', () => stop.abort(new CanceledError('the output can not be written')));

const exitCode = await run(process.argv.slice(2), {
  input: process.stdin,
  output: process.stdout,
  errors: process.stderr,
  signal: stop.signal,
});
process.exitCode = exitCode;
const fault = process.stdout.errored as NodeJS.ErrnoException | null;
// Who has read enough, as head(1) does, has what it wanted.
if (fault?.code === 'EPIPE') process.exitCode = ExitCode.Success;
else if (fault) {
  process.stderr.write(`nestjs-drpc: the output can not be written: ${fault.message}\n`);
  process.exitCode = ExitCode.Failure;
}
