import { Duplex } from 'node:stream';

type Callback = (error?: Error | null) => void;

/** A socket whose other end is the test: it keeps what was written, and a write lasts until it is released. */
export class FakeSocket extends Duplex {
  /** Copies of the chunks written so far. */
  readonly writes: Buffer[] = [];
  /** Whether FIN was sent. */
  isFinished = false;
  #unreleased: Callback | undefined;
  #taken = 0;

  constructor() {
    super({ autoDestroy: true, allowHalfOpen: true });
  }

  /** Whether a write has begun and was not released. */
  get isWriting(): boolean {
    return this.#unreleased !== undefined;
  }

  /** Answers the write under way, with `error` if it failed. Answers whether there was one. */
  release(error?: Error): boolean {
    const callback = this.#unreleased;
    this.#unreleased = undefined;
    callback?.(error);
    return callback !== undefined;
  }

  /** What was written since this was last called. */
  takeWritten(): Buffer {
    const chunks = this.writes.slice(this.#taken);
    this.#taken = this.writes.length;
    return Buffer.concat(chunks);
  }

  override _read(): void {
    // The test pushes.
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: Callback): void {
    this.writes.push(Buffer.from(chunk));
    this.#unreleased = callback;
  }

  override _final(callback: Callback): void {
    this.isFinished = true;
    callback();
  }

  override _destroy(error: Error | null, callback: Callback): void {
    this.release(error ?? undefined);
    callback(error);
  }
}
