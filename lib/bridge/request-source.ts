/** Takes the messages of a request that is a stream of them, and shows them to the handler. */
export interface RequestSource {
  /** What the handler is given. */
  readonly values: unknown;
  /** Whether somebody takes messages. */
  readonly isActive: boolean;
  /** Whether the handler took messages and wants no more: what still comes is dropped, whatever is in it. */
  readonly isLeft: boolean;
  message(value: unknown): void;
  /** No more will come: the ordinary end, or its cause. */
  end(cause: Error | undefined): void;
}

/** How messages are asked for: the flow side of a stream. */
export interface Demand {
  readonly rpc: string;
  request(count: number): void;
}
