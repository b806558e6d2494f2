import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { PeerConn, type PeerConnOptions } from '../../lib/control/peer-conn.js';
import { PeerServer } from '../../lib/control/peer-server.js';
import type { Manager } from '../../lib/manager/manager.js';
import type { Stream, StreamSink } from '../../lib/stream/stream.js';
import { onTestFinished } from 'vitest';

/** Answers each message with a text as long as it. */
class EchoSink implements StreamSink {
  readonly #stream: Stream;

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  message(_bytes: Buffer, start: number, end: number): void {
    this.#stream.trySend(end - start > TEXT.length ? 'x'.repeat(end - start) : TEXT);
  }

  end(): void {
    this.#stream.closeSend();
    this.#stream.handlerEnded();
  }

  terminated(): void {}
}

/** Sends as many messages as the request says, of the size that it says. */
class DownloadSink implements StreamSink {
  readonly #stream: Stream;

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  message(bytes: Buffer, start: number, end: number): void {
    const [count, size] = bytes.toString('utf8', start, end).split(' ').map(Number) as [number, number];
    void this.#send(count, Buffer.alloc(size, 0x78));
  }

  end(): void {}

  terminated(): void {
    this.#stream.handlerEnded();
  }

  async #send(count: number, data: Buffer): Promise<void> {
    for (let i = 0; i < count; i++) {
      const sent = this.#stream.msgSend(data);
      if (sent !== true) await sent;
    }
    this.#stream.closeSend();
  }
}

export const TEXT = 'x'.repeat(32);

/** Counts what it is told. */
class CountingSink implements StreamSink {
  count = 0;
  size = 0;
  readonly #done: () => void;

  constructor(done: () => void) {
    this.#done = done;
  }

  message(_bytes: Buffer, start: number, end: number): void {
    this.count++;
    this.size += end - start;
  }

  end(cause: Error | undefined): void {
    if (cause) throw cause;
    this.#done();
  }

  terminated(): void {}
}

/** Both ends of a connection of the core in one process, on a real socket; closed at the end of the test. */
export class JoinedPeers {
  readonly client: Manager;
  readonly server: Manager;
  readonly address: AddressInfo;
  /** The client's. */
  readonly socket: Socket;
  readonly #conn: PeerConn;

  private constructor(conn: PeerConn, socket: Socket, server: Manager, address: AddressInfo) {
    this.socket = socket;
    this.#conn = conn;
    this.client = conn.manager;
    this.server = server;
    this.address = address;
  }

  static async start(options: PeerConnOptions = {}): Promise<JoinedPeers> {
    const servers: PeerServer[] = [];
    const listener: Server = createServer((socket) => {
      servers.push(new PeerServer(socket, {}, { accept }));
    });
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const address = listener.address() as AddressInfo;
    const socket = connect(address.port, '127.0.0.1');
    const conn = await PeerConn.connect(socket, options);
    onTestFinished(async () => {
      await conn.close();
      listener.close();
      await once(listener, 'close');
    });
    return new JoinedPeers(conn, socket, servers[0]!.manager, address);
  }

  /** Calls so often at once, with a text as request and answer; calls back when all have ended. */
  calls(count: number, done: () => void, text = TEXT, timeout?: number): void {
    let left = count;
    const ended = (): void => {
      if (--left === 0) done();
    };
    for (let i = 0; i < count; i++) {
      this.#conn.openUnary('/echo', text, new CountingSink(ended), undefined, timeout).request(Infinity);
    }
  }

  /** The same, as a promise. */
  called(count: number, text?: string): Promise<void> {
    return new Promise((resolve) => this.calls(count, resolve, text));
  }

  /** Reads a stream of `count` messages of `size` bytes. Answers how many bytes came. */
  download(count: number, size: number): Promise<number> {
    return new Promise((resolve) => {
      const sink = new CountingSink(() => resolve(sink.size));
      this.#conn.openUnary('/download', `${count} ${size}`, sink).request(Infinity);
    });
  }
}

function accept(stream: Stream): void {
  stream.sink = stream.rpc === '/echo' ? new EchoSink(stream) : new DownloadSink(stream);
  stream.request(Infinity);
}
