/** What a server has to do, and holds for it, at one moment. */
export interface DrpcServerStats {
  /** Clients that are connected. */
  readonly connections: number;
  /** Calls and events under way: from their arrival until handler and answer are done. */
  readonly calls: number;
  /** Handlers that run, those of events and of canceled calls among them; `maxHandlers` bounds them. */
  readonly handlers: number;
  /** Bytes held for received messages and metadata; `maxServerReceivedBytes` bounds them. */
  readonly receivedBytes: number;
  /** Bytes that wait to be sent; `maxServerQueuedBytes` bounds them. */
  readonly queuedBytes: number;
  /** Calls that a limit ended, or kept from beginning, since the server was made. */
  readonly overloads: number;
}
