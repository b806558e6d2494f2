import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { CallCommand } from './command-line.js';
import { UsageError } from './usage.js';

/** The request of a call. */
export interface Request {
  readonly payload: unknown;
  /** Lets go of the input. */
  close(): void;
}

type Encoding = CallCommand['encoding'];

/** @throws UsageError for a message that is not JSON. */
export function requestOf({ message, isStreamed, encoding }: CallCommand, input: Readable): Request {
  if (isStreamed) return streamedRequest(input, encoding);
  const payload =
    message === undefined ? emptyMessage(encoding) : parseMessage('the message', message, encoding);
  return { payload, close: () => undefined };
}

function streamedRequest(input: Readable, encoding: Encoding): Request {
  const lines = createInterface({ input, crlfDelay: Infinity });
  // Made before anything else happens: it would not have the lines that were read before it.
  const iterator = lines[Symbol.asyncIterator]();
  return { payload: messagesOf(iterator, encoding), close: () => lines.close() };
}

async function* messagesOf(
  lines: AsyncIterableIterator<string>,
  encoding: Encoding,
): AsyncGenerator<unknown> {
  let number = 0;
  for await (const line of lines) {
    number++;
    if (encoding === 'bytes') yield Buffer.from(line);
    // The last line of a file, and those that part messages for their reader.
    else if (line.trim() !== '') yield parseMessage(`line ${number} of the input`, line, encoding);
  }
}

function parseMessage(what: string, text: string, encoding: Encoding): unknown {
  if (encoding === 'bytes') return Buffer.from(text);
  try {
    return JSON.parse(text) as unknown;
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
