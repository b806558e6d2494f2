import { addAbortSignal, type Readable } from 'node:stream';
import type { CallCommand } from './command-line.js';
import { UsageError } from './usage.js';

/** Most that is held of the input, in bytes; no client sends a message of that size. */
const MAX_SIZE = 16 * 1024 * 1024;

const NEWLINE = 0x0a;
const BLANKS: readonly number[] = [...Buffer.from(' \t\r')];

/** Takes nothing for text that is not, and leaves out a byte order mark. */
const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** The request of a call. */
export interface Request {
  readonly payload: unknown;
  /** Lets go of the input. */
  close(): void;
}

type Encoding = CallCommand['encoding'];

/** Stands for a message that is all of the input, as in other commands. */
const ALL_INPUT = '-';

/**
 * @param signal gives up reading
 * @throws UsageError for a message that is not JSON.
 */
export async function requestOf(
  { message, isStreamed, encoding }: CallCommand,
  input: Readable,
  signal: AbortSignal,
): Promise<Request> {
  if (isStreamed) return streamedRequest(input, encoding);
  const given = message === ALL_INPUT ? await allOf(addAbortSignal(signal, input)) : message;
  const payload = given === undefined ? emptyMessage(encoding) : messageOf(given, encoding);
  return { payload, close: () => undefined };
}

function messageOf(message: string | Buffer, encoding: Encoding): unknown {
  return encoding === 'bytes' ? Buffer.from(message) : parseJson('the message', message);
}

async function allOf(input: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunksOf(input)) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_SIZE) throw new UsageError(`the input is longer than ${MAX_SIZE} bytes`);
  }
  return Buffer.concat(chunks);
}

function streamedRequest(input: Readable, encoding: Encoding): Request {
  return { payload: messagesOf(input, encoding), close: () => input.destroy() };
}

async function* messagesOf(input: Readable, encoding: Encoding): AsyncGenerator<unknown> {
  let number = 0;
  for await (const line of linesOf(chunksOf(input))) {
    number++;
    if (encoding === 'bytes') yield line;
    // The last line of a file, and those that part messages for their reader.
    else if (!isBlank(line)) yield parseJson(`line ${number} of the input`, line);
  }
}

/** The lines without their ends, as they are: a message need not be text. */
async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let begun: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      yield Buffer.concat([...begun, chunk.subarray(start, end)]);
      begun = [];
      size = 0;
      start = end + 1;
    }
    begun.push(chunk.subarray(start));
    size += chunk.length - start;
    if (size > MAX_SIZE) throw new UsageError(`a line of the input is longer than ${MAX_SIZE} bytes`);
  }
  if (size > 0) yield Buffer.concat(begun);
}

async function* chunksOf(input: Readable): AsyncGenerator<Buffer> {
  try {
    yield* input as AsyncIterable<Buffer>;
  } catch (error) {
    throw new UsageError(`the input can not be read: ${(error as Error).message}`, { cause: error });
  }
}

function isBlank(line: Buffer): boolean {
  return line.every((byte) => BLANKS.includes(byte));
}

function parseJson(what: string, json: string | Buffer): unknown {
  try {
    return JSON.parse(typeof json === 'string' ? json : UTF8.decode(json)) as unknown;
  } catch (error) {
    throw new UsageError(`${what} is not JSON: ${(error as Error).message}`, { cause: error });
  }
}

function emptyMessage(encoding: Encoding): unknown {
  switch (encoding) {
    case 'json':
      return undefined;
    case 'bytes':
      return Buffer.alloc(0);
    case 'protobuf':
      return {};
  }
}
