import type { EncodingName } from '../bridge/encodings.js';
import type { Encoding } from '../encoding/encoding.js';
import type { Metadata } from '../metadata/metadata.js';

/** What a single call may bring along. */
export interface DrpcCallOptions {
  /** Facts for the server, beside those of the client; strings, keys travel in lower case. */
  readonly metadata?: Readonly<Metadata> | undefined;
  /**
   * The call ends with code 4 after so many ms; the server is told the time it has. 0: at once, Infinity: never.
   * Default: the client's.
   */
  readonly timeout?: number | undefined;
  /** Gives the call up when it aborts. */
  readonly signal?: AbortSignal | undefined;
  /** Default: the client's for this pattern. */
  readonly encoding?: EncodingName | Encoding | undefined;
}

/** A payload and what its call brings along: for `send()` and `emit()`, whose parameters Nest has fixed. */
export class DrpcRecord<T = unknown> {
  readonly data: T;
  readonly options: DrpcCallOptions;

  constructor(data: T, options: DrpcCallOptions = {}) {
    this.data = data;
    this.options = options;
  }
}

/** Makes a {@link DrpcRecord} step by step, as the record builders of Nest's transports do. */
export class DrpcRecordBuilder<T = unknown> {
  #data: T | undefined;
  #options: DrpcCallOptions = {};

  constructor(data?: T) {
    this.#data = data;
  }

  setData(data: T): this {
    this.#data = data;
    return this;
  }

  setMetadata(metadata: Readonly<Metadata>): this {
    return this.#set({ metadata });
  }

  /** @param timeout in ms */
  setTimeout(timeout: number): this {
    return this.#set({ timeout });
  }

  setSignal(signal: AbortSignal): this {
    return this.#set({ signal });
  }

  setEncoding(encoding: EncodingName | Encoding): this {
    return this.#set({ encoding });
  }

  build(): DrpcRecord<T> {
    return new DrpcRecord(this.#data as T, this.#options);
  }

  #set(option: DrpcCallOptions): this {
    this.#options = { ...this.#options, ...option };
    return this;
  }
}
