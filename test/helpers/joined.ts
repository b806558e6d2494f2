import { Conn } from '../../lib/conn/conn.js';
import { serveOne, type RpcHandler } from '../../lib/conn/serve-one.js';
import { bytesEncoding, jsonEncoding, type Encoding } from '../../lib/encoding/encoding.js';
import type { Manager } from '../../lib/manager/manager.js';
import type { ManagerOptions } from '../../lib/manager/manager.options.js';
import type { RpcStream } from '../../lib/conn/rpc-stream.js';
import { track } from './leaks.js';
import { describeError } from './recorder.js';
import { socketPair, type SocketPair, type WireOptions } from './socket-pair.js';

/** What a test serves: a function for each rpc. */
export type Handlers = Record<string, (stream: RpcStream) => Promise<void> | void>;

export interface JoinedOptions extends WireOptions {
  client?: Omit<ManagerOptions, 'role'>;
  server?: Omit<ManagerOptions, 'role'>;
  encoding?: Encoding;
}

/** A client's connection and a server's, joined in memory; both are checked for leaks after the test. */
export interface Joined extends SocketPair {
  readonly conn: Conn;
  readonly serverManager: Manager;
  /** What the server's hook was told. */
  readonly failures: string[];
}

export function joined(
  handlers: Handlers,
  { client = {}, server = {}, encoding = jsonEncoding, ...wire }: JoinedOptions = {},
): Joined {
  const pair = socketPair(wire);
  const failures: string[] = [];
  const byName = new Map<string, RpcHandler>(
    Object.entries(handlers).map(([rpc, run]) => [rpc, { encoding, run }]),
  );
  const serverManager = serveOne(pair.server, byName, server, {
    failed: (_stream, error) => void failures.push(describeError(error)),
  });
  const conn = new Conn(pair.client, client);
  track(conn.manager);
  track(serverManager);
  return { ...pair, conn, serverManager, failures };
}

export { bytesEncoding, jsonEncoding };
