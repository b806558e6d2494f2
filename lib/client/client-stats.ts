/** What a client has under way, at one moment. */
export interface DrpcClientStats {
  /** Connections that are open, those among them that only finish their calls. */
  readonly connections: number;
  /** Calls and events on them. */
  readonly calls: number;
  /** Calls that wait: for a server, for room on a connection, or to be sent again as a server refused to start them. */
  readonly waiting: number;
}
