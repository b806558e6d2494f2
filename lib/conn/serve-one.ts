import type { Duplex } from 'node:stream';
import type { Encoding } from '../encoding/encoding.js';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import { withoutRefusal } from '../errors/error-info.js';
import { escapeName } from '../errors/escape.js';
import { withoutStack } from '../errors/without-stack.js';
import { Manager, type ManagerHooks } from '../manager/manager.js';
import type { ManagerOptions } from '../manager/manager.options.js';
import type { Stream } from '../stream/stream.js';
import { RpcStream } from './rpc-stream.js';

/** Serves one rpc. When it returns, the stream is half-closed; what it throws is sent as an error. */
export interface RpcHandler {
  readonly encoding: Encoding;
  run(stream: RpcStream): Promise<void> | void;
}

/** The answer to an rpc that nobody serves. */
export function unknownRpc(rpc: string): DrpcError {
  return withoutStack(
    () => new DrpcError(DrpcCode.Unimplemented, `protocol error: unknown rpc: "${escapeName(rpc)}"`),
  );
}

/**
 * The server's end of a connection: runs a handler for each rpc, each by itself.
 * @param duplex a connected socket; owned by the connection from now on
 * @param handlers by rpc name
 */
export function serveOne(
  duplex: Duplex,
  handlers: ReadonlyMap<string, RpcHandler>,
  options: Omit<ManagerOptions, 'role'> = {},
  hooks: ManagerHooks = {},
): Manager {
  const manager = new Manager(
    duplex,
    { ...options, role: 'server' },
    { ...hooks, accept: (stream) => void serveRpc(stream, handlers.get(stream.rpc), manager) },
  );
  return manager;
}

/** Does not fail: what goes wrong is answered, and told to the connection's hook. */
async function serveRpc(stream: Stream, handler: RpcHandler | undefined, manager: Manager): Promise<void> {
  if (!handler) {
    stream.sendError(unknownRpc(stream.rpc));
    stream.discard();
    stream.handlerEnded();
    return;
  }
  const open = (sink: RpcStream): Stream => {
    stream.sink = sink;
    return stream;
  };
  const rpc = new RpcStream((sink) => open(sink as RpcStream), handler.encoding, 'server');
  try {
    await handler.run(rpc);
    stream.closeSend();
  } catch (error) {
    manager.sinkFailed(stream, error);
    answerError(stream, error, manager);
  } finally {
    stream.discard();
    stream.handlerEnded();
  }
}

function answerError(stream: Stream, error: unknown, manager: Manager): void {
  try {
    if (error instanceof DrpcError) return stream.sendError(withoutRefusal(error));
  } catch (fault) {
    // Details that are none, say.
    manager.sinkFailed(stream, fault);
  }
  // What a handler throws by mistake is told to the hook, not to the peer.
  stream.sendError(new DrpcError(DrpcCode.Unknown, 'Internal server error'));
}
