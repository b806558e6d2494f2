import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { Conn } from '../../lib/conn/conn.js';
import type { RpcStream } from '../../lib/conn/rpc-stream.js';
import { serveOne, type RpcHandler } from '../../lib/conn/serve-one.js';
import type { Encoding } from '../../lib/encoding/encoding.js';
import { DrpcError } from '../../lib/errors/drpc-error.js';
import {
  classify,
  MARKER,
  MarkerError,
  type Outcome,
  type Peer,
  type PeerOptions,
  type ServerStream,
  type Service,
} from './peer.js';

const text: Encoding<string> = {
  name: 'text',
  marshal: (value) => value,
  unmarshal: (bytes) => Buffer.from(bytes).toString(),
};

function outcomeOf(error: unknown): Outcome {
  const { code, message } = DrpcError.from(error);
  return classify(code, message);
}

async function recv(stream: RpcStream): Promise<Outcome> {
  try {
    const message = await stream.msgRecv();
    return message === undefined ? 'end' : `message ${message as string}`;
  } catch (error) {
    return outcomeOf(error);
  }
}

function serverStream(stream: RpcStream): ServerStream {
  return {
    metadata: { ...stream.metadata },
    send: (value) => void stream.msgSend(value).catch(() => undefined),
    recv: () => recv(stream),
    gone: new Promise((resolve) => {
      if (stream.signal.aborted) resolve();
      else stream.signal.addEventListener('abort', () => resolve(), { once: true });
    }),
  };
}

/** A handler whose marker travels as what it means. */
function serve(run: (stream: RpcStream) => Promise<void>): RpcHandler {
  return {
    encoding: text as Encoding,
    run: (stream) =>
      run(stream).catch((error: unknown) => {
        throw error instanceof MarkerError ? new DrpcError(MARKER.code, MARKER.message) : error;
      }),
  };
}

/** This library, over a socket. */
export async function startDrpc(service: Service, { maxMessageSize }: PeerOptions = {}): Promise<Peer> {
  const handlers = new Map<string, RpcHandler>();
  for (const [method, handler] of Object.entries(service.unary)) {
    const run = async (stream: RpcStream): Promise<void> => {
      const request = await stream.msgRecv();
      await stream.msgSend(await handler(request as string, serverStream(stream)));
    };
    handlers.set(method, serve(run));
  }
  for (const [method, handler] of Object.entries(service.stream)) {
    handlers.set(
      method,
      serve((stream) => handler(serverStream(stream))),
    );
  }
  const limits = maxMessageSize === undefined ? {} : { maxReceiveSize: maxMessageSize };
  const accepted: Socket[] = [];
  const server = createServer({ noDelay: true }, (socket) => {
    accepted.push(socket);
    serveOne(socket, handlers, limits);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, noDelay: true });
  await once(socket, 'connect');
  const conn = new Conn(socket, limits);
  return {
    unary: (method, request, options) =>
      conn
        .invoke<string, string>(method, text as Encoding, request, options)
        .then((answer): Outcome => (answer === undefined ? 'end' : `message ${answer}`), outcomeOf),
    stream(method, options) {
      const stream = conn.newStream<string, string>(method, text as Encoding, options);
      return {
        send: (value) => void stream.msgSend(value).catch(() => undefined),
        closeSend: () => stream.closeSend(),
        recv: () => recv(stream as RpcStream),
        cancel: () => stream.sendCancel(),
      };
    },
    breakConnection: () => accepted.forEach((each) => each.destroy()),
    async close() {
      await conn.close();
      accepted.forEach((each) => each.destroy());
      server.close();
      await once(server, 'close');
    },
  };
}
