/** What `status` of a server or client says. */
export enum DrpcStatus {
  /** Server: it listens. Client: a connection is open. */
  Connected = 'connected',
  /** Neither listening nor connected. */
  Disconnected = 'disconnected',
  /** Client: the connection was lost and the next attempt is under way. */
  Reconnecting = 'reconnecting',
  /** Client: closed for good. */
  Closed = 'closed',
}
