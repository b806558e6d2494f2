/**
 * The status of a call, with gRPC's numbers.
 * @see google.rpc.Code; docs/protocol.md, Errors
 */
export enum DrpcCode {
  /** No error; never the code of a {@link DrpcError}. */
  Ok = 0,
  /** The caller gave the call up. */
  Canceled = 1,
  /** Nothing better is known; also what a foreign or missing code becomes. */
  Unknown = 2,
  /** The request is wrong whatever the state of the service: bad bytes, bad values. */
  InvalidArgument = 3,
  /** The time for the call ran out. */
  DeadlineExceeded = 4,
  /** What was asked for does not exist. */
  NotFound = 5,
  /** What should be made exists already. */
  AlreadyExists = 6,
  /** The caller is known and may not do this. */
  PermissionDenied = 7,
  /** A limit was reached: streams, message size, memory, quota. */
  ResourceExhausted = 8,
  /** The service is not in the state the call needs; trying again alone will not help. */
  FailedPrecondition = 9,
  /** A conflict with concurrent work ended the call; the whole transaction may be tried again. */
  Aborted = 10,
  /** Beyond the end of something: reading or writing past what there is. */
  OutOfRange = 11,
  /** No such rpc here. */
  Unimplemented = 12,
  /** A rule that must always hold was broken: a protocol violation, a bug. */
  Internal = 13,
  /** The service cannot be reached now; trying again later may help. */
  Unavailable = 14,
  /** Data is lost or damaged for good. */
  DataLoss = 15,
  /** It is not known who the caller is. */
  Unauthenticated = 16,
}
