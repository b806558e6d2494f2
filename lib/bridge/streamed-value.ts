import type { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { StreamableFile } from '@nestjs/common';

/** Values that come one by one when they are pulled. */
type Source = AsyncIterable<unknown> | ReadableStream<unknown> | Readable;

/** What stands for many values: a source of them, or what Nest has for a file, which holds one. */
export type StreamedValue = Source | StreamableFile;

/** Whether a handler's value stands for many: async generators and iterables, Node's and web streams, files. */
export function isStreamedValue(value: unknown): value is StreamedValue {
  if (typeof value !== 'object' || value === null) return false;
  return (
    typeof (value as Partial<AsyncIterable<unknown>>)[Symbol.asyncIterator] === 'function' ||
    isWebStream(value) ||
    value instanceof StreamableFile
  );
}

function sourceOf(value: StreamedValue): Source {
  return value instanceof StreamableFile ? value.getStream() : value;
}

/** A way to pull values that can be stopped while a pull is under way. */
export interface Puller {
  next(): Promise<IteratorResult<unknown, unknown>>;
  /** Stops the source at once; its faults do not matter any more. */
  stop(): void;
}

/** So many values may be pulled in a row before others get the event loop. */
const VALUES_PER_TURN = 256;

/** @throws when the value has a reader already, or its iterator can not be made. */
export function pull(value: StreamedValue): Puller {
  const source = sourceOf(value);
  return new PatientPuller(isWebStream(source) ? pullWebStream(source) : pullIterable(source));
}

/**
 * A source that always has a value at hand would be pulled from microtask to microtask, and nothing else
 * would run until the window is used up: no cancel, no other call. So the event loop gets its turn in between.
 */
class PatientPuller implements Puller {
  readonly #puller: Puller;
  #pulled = 0;
  #isStopped = false;

  constructor(puller: Puller) {
    this.#puller = puller;
  }

  next(): Promise<IteratorResult<unknown, unknown>> {
    if (++this.#pulled < VALUES_PER_TURN) return this.#puller.next();
    this.#pulled = 0;
    return this.#nextTurn();
  }

  stop(): void {
    this.#isStopped = true;
    this.#puller.stop();
  }

  async #nextTurn(): Promise<IteratorResult<unknown, unknown>> {
    await new Promise<void>((resolve) => void setImmediate(resolve));
    return this.#isStopped ? { done: true, value: undefined } : this.#puller.next();
  }
}

function pullIterable(value: AsyncIterable<unknown> | Readable): Puller {
  const iterator = value[Symbol.asyncIterator]();
  // The iterator of a Node stream is a generator: its return() waits for the next chunk, which may never come.
  const stop = isNodeStream(value) ? () => destroy(value) : () => swallow(() => iterator.return?.());
  return { next: () => iterator.next(), stop };
}

/** Frees what a value holds that nobody will read. Never throws, though to look at a value can run code of its own. */
export function dropStreamedValue(value: unknown): void {
  swallow(() => {
    if (!isStreamedValue(value)) return undefined;
    const source = sourceOf(value);
    if (isWebStream(source) || isNodeStream(source)) return dropStream(source);
    // An iterable that is its own iterator is a running generator; any other has not begun.
    return (source as Partial<AsyncIterator<unknown>>).return?.();
  });
}

/** Frees a Node or web stream that nobody will read; any other value is not touched. Never throws. */
export function dropStream(value: unknown): void {
  swallow(() => {
    if (typeof value !== 'object' || value === null) return undefined;
    const source = sourceOf(value as StreamedValue);
    if (isWebStream(source)) return source.cancel();
    if (isNodeStream(source)) destroy(source);
    return undefined;
  });
}

/**
 * Keeps a stream that fails while nobody reads it from ending the process, which is what Node does about an
 * 'error' without a listener. Who pulls it later is told nevertheless.
 */
export function hearFaults(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  const source = sourceOf(value as StreamedValue);
  if (!isNodeStream(source)) return;
  if (!source.listeners('error').includes(ignoreFault)) source.on('error', ignoreFault);
}

/** A stream may fail after it was destroyed as well: when its file is not there, say. */
function destroy(stream: Readable): void {
  hearFaults(stream);
  stream.destroy();
}

const ignoreFault = (): void => undefined;

function pullWebStream(value: ReadableStream<unknown>): Puller {
  const reader = value.getReader();
  return {
    next: () => reader.read() as Promise<IteratorResult<unknown, unknown>>,
    stop: () => swallow(() => reader.cancel()),
  };
}

function swallow(task: () => PromiseLike<unknown> | undefined | void): void {
  try {
    task()?.then(undefined, () => undefined);
  } catch {
    // Nobody is left who could be told.
  }
}

function isWebStream(value: object): value is ReadableStream<unknown> {
  return typeof (value as Partial<ReadableStream<unknown>>).getReader === 'function';
}

function isNodeStream(value: object): value is Readable {
  const { pipe, destroy } = value as Partial<Readable>;
  return typeof pipe === 'function' && typeof destroy === 'function';
}
