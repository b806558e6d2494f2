/** Takes what happens on a stream. Called in the turn in which it happens; must not throw. */
export interface StreamSink {
  /**
   * One message: `bytes[start, end)`, borrowed until the call returns. Only as many come as were asked for
   * with {@link Stream.request}. `isLast`: the end arrived with it, and {@link end} follows at once.
   */
  message(bytes: Buffer, start: number, end: number, isLast: boolean): void;
  /** Receiving is over and the queue is drained: `undefined` is the ordinary end, otherwise the cause. */
  end(cause: Error | undefined): void;
  /** The stream has ended in both directions, for {@link Stream.cause}; queued messages may still come. */
  terminated(): void;
}

/** Takes nothing: nobody is interested. */
export const NO_SINK: StreamSink = {
  message: () => undefined,
  end: () => undefined,
  terminated: () => undefined,
};
