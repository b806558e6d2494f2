import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { systemClock } from '../../lib/clock/clock.js';
import type { Conn } from '../../lib/conn/conn.js';
import { PeerConn } from '../../lib/control/peer-conn.js';
import { PeerServer } from '../../lib/control/peer-server.js';
import type { Address } from '../../lib/pool/address.js';
import { Dial } from '../../lib/pool/dialer.js';
import type { Stream, StreamSink } from '../../lib/stream/stream.js';
import {
  bytesPayload,
  checkedRange,
  type ClientEnd,
  type Contestant,
  type Counters,
  type DownloadRequest,
  type PingPongCall,
  type StreamCall,
  type StreamObserver,
} from '../contestant.js';

const ECHO = '/bench.Bench/Echo';
const DOWNLOAD = '/bench.Bench/Download';
const PING_PONG = '/bench.Bench/PingPong';
const HOLD = '/bench.Bench/Hold';

/** The core without Nest, by its push path: callbacks and bytes; windows, limits and pings as by default. */
export const core: Contestant<Buffer> = {
  listen: async ({ maxStreams, writer }) => {
    const counters: Counters = { held: 0, canceled: 0 };
    const server = createServer({ noDelay: true }, (socket) => {
      new PeerServer(socket, { maxStreams, ...writer }, { accept: (stream) => accept(stream, counters) });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return {
      port: (server.address() as AddressInfo).port,
      counters: () => counters,
      close: async () => void server.close(),
    };
  },
  connect: async (port, { connections = 1, writer }) => {
    const address: Address = { kind: 'tcp', host: '127.0.0.1', port, path: '' };
    const conns: Conn[] = [];
    while (conns.length < connections) {
      const dial = new Dial(address, { clock: systemClock, connectTimeout: 5000 });
      conns.push(await PeerConn.connect(await dial.socket, { ...writer }));
    }
    return new CoreEnd(conns);
  },
};

function accept(stream: Stream, counters: Counters): void {
  switch (stream.rpc) {
    case ECHO:
    case PING_PONG:
      stream.sink = new EchoSink(stream);
      break;
    case DOWNLOAD:
      stream.sink = new DownloadSink(stream);
      break;
    case HOLD:
      stream.sink = new HoldSink(stream, counters);
      break;
  }
  stream.request(Infinity);
}

/** Sends each message back, and ends when the client has. */
class EchoSink implements StreamSink {
  readonly #stream: Stream;

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  message(bytes: Buffer, start: number, end: number): void {
    // What waits to be sent must stay as it is, and these bytes are only lent.
    const copy = Buffer.allocUnsafe(end - start);
    bytes.copy(copy, 0, start, end);
    this.#stream.trySend(copy);
  }

  end(): void {
    this.#stream.closeSend();
    this.#stream.handlerEnded();
  }

  terminated(): void {}
}

class DownloadSink implements StreamSink {
  readonly #stream: Stream;

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  message(bytes: Buffer, start: number, end: number): void {
    void this.#produce(JSON.parse(bytes.toString('utf8', start, end)) as DownloadRequest);
  }

  end(): void {}

  terminated(): void {}

  async #produce({ count, size, fresh, limitMs }: DownloadRequest): Promise<void> {
    const stream = this.#stream;
    const payload = bytesPayload(size);
    const deadline = limitMs > 0 ? Date.now() + limitMs : Infinity;
    try {
      for (let i = 0; i < count; i++) {
        if (limitMs > 0 && Date.now() > deadline) break;
        const sent = stream.msgSend(fresh ? bytesPayload(size) : payload);
        if (sent !== true) await sent;
      }
      stream.closeSend();
    } catch {
      // the client has left
    }
    stream.handlerEnded();
  }
}

class HoldSink implements StreamSink {
  readonly #stream: Stream;
  readonly #counters: Counters;

  constructor(stream: Stream, counters: Counters) {
    this.#stream = stream;
    this.#counters = counters;
  }

  message(): void {
    this.#counters.held++;
    this.#stream.trySend(HELLO);
  }

  end(): void {}

  terminated(): void {
    if (this.#stream.isCanceled) this.#counters.canceled++;
    this.#stream.handlerEnded();
  }
}

const HELLO = bytesPayload(32);

type Done = (error: Error | undefined, size: number) => void;

/** Calls of the core as its user makes them. */
class CoreEnd implements ClientEnd<Buffer> {
  readonly #conns: readonly Conn[];
  #next = 0;

  constructor(conns: readonly Conn[]) {
    this.#conns = conns;
  }

  get #conn(): Conn {
    if (++this.#next >= this.#conns.length) this.#next = 0;
    return this.#conns[this.#next]!;
  }

  payload(size: number): Buffer {
    return bytesPayload(size);
  }

  unary(payload: Buffer, done: Done): void {
    try {
      this.#conn.openUnary(ECHO, payload, new UnarySink(done)).request(Infinity);
    } catch (error) {
      process.nextTick(done, error as Error, -1);
    }
  }

  download(request: DownloadRequest, observer: StreamObserver): StreamCall {
    return this.#watch(DOWNLOAD, JSON.stringify(request), observer);
  }

  hold(observer: StreamObserver): StreamCall {
    return this.#watch(HOLD, '0', observer);
  }

  pingPong(observer: StreamObserver): PingPongCall<Buffer> {
    const stream = this.#conn.open(PING_PONG, new ObserverSink(observer));
    stream.request(Infinity);
    return {
      send: (payload) => void stream.trySend(payload),
      closeSend: () => stream.closeSend(),
      cancel: () => void stream.sendCancel(),
    };
  }

  async close(): Promise<void> {
    await Promise.all(this.#conns.map((conn) => conn.close()));
  }

  #watch(rpc: string, request: string, observer: StreamObserver): StreamCall {
    const sink = new ObserverSink(observer);
    const stream = this.#conn.openUnary(rpc, request, sink);
    stream.request(Infinity);
    return {
      cancel: () => {
        sink.isSilent = true;
        stream.sendCancel();
      },
    };
  }
}

class UnarySink implements StreamSink {
  readonly #done: Done;
  #size = -1;

  constructor(done: Done) {
    this.#done = done;
  }

  message(bytes: Buffer, start: number, end: number): void {
    this.#size = checkedRange(bytes, start, end);
  }

  end(cause: Error | undefined): void {
    this.#done(cause, this.#size);
  }

  terminated(): void {}
}

class ObserverSink implements StreamSink {
  isSilent = false;
  readonly #observer: StreamObserver;

  constructor(observer: StreamObserver) {
    this.#observer = observer;
  }

  message(bytes: Buffer, start: number, end: number): void {
    if (!this.isSilent) this.#observer.message(checkedRange(bytes, start, end));
  }

  end(cause: Error | undefined): void {
    if (this.isSilent) return;
    if (cause) this.#observer.error(cause);
    else this.#observer.end();
  }

  terminated(): void {}
}
