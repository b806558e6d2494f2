import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import {
  DrpcClient,
  DrpcHealthIndicator,
  type DrpcCallOptions,
  type DrpcClientOptions,
} from '../client/index.js';
import { VERSION } from '../control/version.js';
import { DeadlineError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';
import type { ConnectionPool } from '../pool/connection-pool.js';
import { loadProtoServices } from '../service/proto-loader.js';
import type { ProtoOptions } from '../service/proto-options.js';
import type { MethodDefinition } from '../service/service-definition.js';
import { parseCommandLine, type CallCommand, type PingCommand } from './command-line.js';
import { showAnswer, showError } from './output.js';
import { requestOf } from './requests.js';
import { strictEncoding } from './strict-encoding.js';
import { USAGE, UsageError } from './usage.js';

/** What a command reads and writes. */
export interface Surroundings {
  readonly input: Readable;
  readonly output: Writable;
  readonly errors: Writable;
  /** Gives the command up. */
  readonly signal: AbortSignal;
}

/** How a command ended, for the shell. */
export enum ExitCode {
  Success = 0,
  Failure = 1,
  Usage = 2,
  /** 128 and the number of SIGINT. */
  Interrupted = 130,
}

/** Carries a command line out. */
export async function run(args: readonly string[], around: Surroundings): Promise<ExitCode> {
  try {
    const command = parseCommandLine(args);
    switch (command.name) {
      case 'call':
        return await call(command, around);
      case 'ping':
        return await ping(command, around);
      case 'help':
        around.output.write(USAGE);
        return ExitCode.Success;
      case 'version':
        around.output.write(`${VERSION}\n`);
        return ExitCode.Success;
    }
  } catch (error) {
    if (around.signal.aborted) return ExitCode.Interrupted;
    if (!(error instanceof UsageError)) {
      around.errors.write(await showError(error));
      return ExitCode.Failure;
    }
    around.errors.write(`nestjs-drpc: ${error.message}\nnestjs-drpc --help tells what there is.\n`);
    return ExitCode.Usage;
  }
}

async function call(command: CallCommand, { input, output, signal }: Surroundings): Promise<ExitCode> {
  const { proto, metadata, timeout } = command;
  const method = proto && findMethod(proto, command.rpc);
  if (method && command.isStreamed && !method.requestStream) {
    throw new UsageError(`${method.rpc} takes one message: give it behind the name, without --stdin`);
  }
  const request = await requestOf(command, input, signal);
  const client = createClient(command.client);
  try {
    const encoding = method ? strictEncoding(method) : command.encoding === 'bytes' ? 'bytes' : 'json';
    const options: DrpcCallOptions = { encoding, metadata, timeout, signal };
    const pattern = method?.rpc ?? patternOf(command.rpc);
    for await (const answer of client.stream(pattern, request.payload, options)) {
      await write(output, showAnswer(answer), signal);
    }
    return ExitCode.Success;
  } finally {
    request.close();
    await client.close();
  }
}

/** An output that takes no more is waited for: its reader's pace reaches the server. */
async function write(output: Writable, text: string | Uint8Array, signal: AbortSignal): Promise<void> {
  if (!output.write(text)) await once(output, 'drain', { signal });
}

async function ping({ client: options, timeout }: PingCommand, around: Surroundings): Promise<ExitCode> {
  // The limit of the whole comes first.
  const connectTimeout = timeout === undefined ? undefined : timeout + 1000;
  const client = createClient({ ...options, connectTimeout });
  const limit = timeout === undefined ? undefined : AbortSignal.timeout(timeout);
  const stop = AbortSignal.any(limit ? [around.signal, limit] : [around.signal]);
  const close = (): void => void client.close();
  stop.addEventListener('abort', close, { once: true });
  try {
    const { text, isUp } = await reportOf(client, options.url!, timeout);
    stop.throwIfAborted();
    (isUp ? around.output : around.errors).write(`${text}\n`);
    return isUp ? ExitCode.Success : ExitCode.Failure;
  } catch (error) {
    throw limit?.aborted ? new DeadlineError(`no answer within ${timeout} ms`, { cause: error }) : error;
  } finally {
    stop.removeEventListener('abort', close);
    await client.close();
  }
}

async function reportOf(
  client: DrpcClient,
  url: string,
  timeout: number | undefined,
): Promise<{ text: string; isUp: boolean }> {
  const start = performance.now();
  await client.connect();
  const connected = performance.now();
  const { server } = await new DrpcHealthIndicator().pingCheck('server', client, { timeout });
  const answered = performance.now();
  const times = `connected in ${inMs(connected - start)}`;
  if (server.status === 'down') {
    return { text: `${url}: ${times}, but: ${escapeName(server.message ?? '')}`, isUp: false };
  }
  const who = describeServer(client.unwrap());
  return { text: `${url}: ${who}, ${times}, answered in ${inMs(answered - connected)}`, isUp: true };
}

function describeServer({ connections }: ConnectionPool): string {
  const profile = connections[0]?.profile;
  return profile === 'own' ? 'a nestjs-drpc server' : `a DRPC server, spoken to as ${profile}`;
}

function inMs(time: number): string {
  return `${time.toFixed(1)} ms`;
}

function createClient(options: DrpcClientOptions): DrpcClient {
  try {
    return new DrpcClient(options);
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

/** An object as in the code of a handler, whatever the order of its keys, is the pattern; any other text is the name. */
function patternOf(name: string): string | { readonly [key: string]: unknown } {
  if (!name.startsWith('{')) return name;
  try {
    return JSON.parse(name) as { readonly [key: string]: unknown };
  } catch {
    return name;
  }
}

/** The method of the .proto files; with or without the slash in front. */
function findMethod(proto: ProtoOptions, name: string): MethodDefinition {
  const methods = methodsOf(proto);
  const rpc = name.startsWith('/') ? name : `/${name}`;
  const method = methods.find((each) => each.rpc === rpc);
  if (method) return method;
  const known = methods.map((each) => each.rpc.slice(1)).join(', ') || 'none';
  throw new UsageError(`no method is called "${name}": the .proto files have ${known}`);
}

function methodsOf(proto: ProtoOptions): readonly MethodDefinition[] {
  try {
    return loadProtoServices(proto).flatMap(({ methods }) => methods);
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}
