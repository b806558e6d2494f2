/**
 * What a frame carries; six bits of its header byte.
 * @see storj/drpc drpcwire/packet.go; cockroachdb/drpc for WindowUpdate
 */
export enum Kind {
  /** Starts an rpc; the data is its name in UTF-8. */
  Invoke = 1,
  /** One encoded message. */
  Message = 2,
  /** Ends the stream with an error; the data is an error payload. */
  Error = 3,
  /** Ends the stream because its caller no longer wants it; no data. */
  Cancel = 4,
  /** Ends the stream in both directions; no data. */
  Close = 5,
  /** The sender will send no more messages (half-close); no data. */
  CloseSend = 6,
  /** Metadata for the Invoke that follows on the same stream. */
  InvokeMetadata = 7,
  /** Gives the receiver of this frame more credit to send; the data is a varint number of bytes. */
  WindowUpdate = 8,
}

/** Whether `kind` is one that this implementation understands. */
export function isKnownKind(kind: number): boolean {
  return kind >= 1 && kind <= 8;
}
