import type { ClientEnd, StreamCall } from '../contestant.js';

export interface FlowParams {
  size: number;
  limitMs: number;
}

export interface FlowState {
  bytes: number;
  lost: string | undefined;
}

/** Reads an endless stream of newly made messages, while the process may be stopped from outside. */
export class Flow {
  #bytes = 0;
  #lost: string | undefined;
  readonly #call: StreamCall;

  constructor(end: ClientEnd, { size, limitMs }: FlowParams) {
    this.#call = end.download(
      { count: 1_000_000, size, fresh: true, limitMs },
      {
        message: (got) => void (this.#bytes += got),
        end: () => (this.#lost ??= 'the stream ended'),
        error: (error) => (this.#lost ??= error.message),
      },
    );
  }

  get state(): FlowState {
    return { bytes: this.#bytes, lost: this.#lost };
  }

  cancel(): void {
    this.#call.cancel();
  }
}
