#!/usr/bin/env node
import 'reflect-metadata';
import { Logger } from '@nestjs/common';
import { CanceledError } from '../errors/drpc-error.js';
import { ExitCode, run } from './run.js';

// What a connection has to say is in the error of the call.
Logger.overrideLogger(false);

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

const stop = new AbortController();
let interruptedBy: NodeJS.Signals | undefined;
/** A second one ends the process at once, and so does the first when nothing is left to be given up. */
const stopListening = (): void => SIGNALS.forEach((signal) => process.off(signal, interrupt));
function interrupt(signal: NodeJS.Signals): void {
  interruptedBy = signal;
  stopListening();
  stop.abort(new CanceledError('interrupted'));
}
for (const signal of SIGNALS) process.on(signal, interrupt);

// The stream forgets its error, so this is the place to judge it.
process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
  if (stop.signal.aborted) return;
  // Who has read enough, as head(1) does, has what it wanted.
  if (code === 'EPIPE') process.exitCode ??= ExitCode.Success;
  else {
    process.stderr.write(`nestjs-drpc: the output can not be written: ${message}\n`);
    process.exitCode = ExitCode.Failure;
  }
  stop.abort(new CanceledError('the output can not be written'));
});
// There is nobody to tell, and the exit code still counts.
process.stderr.on('error', () => undefined);

const exitCode = await run(process.argv.slice(2), {
  input: process.stdin,
  output: process.stdout,
  errors: process.stderr,
  signal: stop.signal,
});
stopListening();
// A shell that sees the signal ends the loop around the command, too. What nobody has read is not waited for.
if (interruptedBy && exitCode === ExitCode.Interrupted) process.kill(process.pid, interruptedBy);
else process.exitCode ??= exitCode;
