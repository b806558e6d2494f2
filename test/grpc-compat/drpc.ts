import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { PeerConn } from '../../lib/control/peer-conn.js';
import { PeerServer } from '../../lib/control/peer-server.js';
import { unknownRpc } from '../../lib/conn/serve-one.js';
import { DrpcError } from '../../lib/errors/drpc-error.js';
import type { Stream, StreamSink } from '../../lib/stream/stream.js';
import {
  describeFailure,
  MARKER,
  MARKER_CODE,
  METHODS,
  Seen,
  type Contestant,
  type Method,
} from './contestant.js';

const failure = new DrpcError(MARKER_CODE, MARKER);

/** This library's core at both ends. */
export async function makeDrpc(): Promise<Contestant> {
  const handlers = new Seen();
  const peers = new Set<PeerServer>();
  const server = createServer((socket) => {
    peers.add(new PeerServer(socket, {}, { accept: (stream) => serve(stream, handlers) }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  await once(socket, 'connect');
  const conn = await PeerConn.connect(socket);
  return {
    handlers,
    stream(method, timeout) {
      const client = new Seen();
      const stream = conn.open(method, new ClientSink(client), undefined, timeout);
      stream.request(Infinity);
      return {
        client,
        send: (text) => {
          if (stream.canSend) stream.trySend(text);
        },
        closeSend: () => stream.closeSend(),
        cancel: () => void stream.sendCancel(),
      };
    },
    unary(method, text, timeout) {
      const client = new Seen();
      const stream = conn.openUnary(method, text, new ClientSink(client), undefined, timeout);
      stream.request(Infinity);
      const nothing = (): void => undefined;
      return { client, send: nothing, closeSend: nothing, cancel: () => void stream.sendCancel() };
    },
    async close() {
      await conn.close();
      for (const peer of peers) await peer.manager.close();
      server.close();
    },
  };
}

class ClientSink implements StreamSink {
  constructor(private readonly seen: Seen) {}

  message(bytes: Buffer, start: number, end: number): void {
    this.seen.add(`message ${bytes.toString('utf8', start, end)}`);
  }

  end(cause: Error | undefined): void {
    const error = cause && DrpcError.from(cause);
    this.seen.add(error ? describeFailure(error.code, error.message) : 'end');
  }

  terminated(): void {
    // What receiving answers is enough.
  }
}

function serve(stream: Stream, handlers: Seen): void {
  const method = stream.rpc as Method;
  if (!(method in METHODS) || method === 'Unknown') {
    stream.sendError(unknownRpc(stream.rpc));
    return stream.handlerEnded();
  }
  handlers.add(`begun ${method}`);
  stream.sink = {
    message: (bytes, start, end) => {
      const text = bytes.toString('utf8', start, end);
      if (!stream.canSend) return;
      if (method === 'Echo' || method === 'FailAfter' || method === 'Early') stream.trySend(text);
      if (method === 'Fail' || method === 'FailAfter') stream.sendError(failure);
      if (method === 'Early' || method === 'Nothing') stream.closeSend();
    },
    end: (cause) => {
      if (!cause && method === 'Echo') stream.closeSend();
    },
    terminated: () => {
      if (stream.isCanceled) handlers.add('canceled');
      // Too late: the caller has its own cause already.
      if (method === 'Hang') stream.sendError(failure);
      stream.handlerEnded();
    },
  };
  stream.request(Infinity);
}
