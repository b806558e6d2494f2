import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import {
  bytesPayload,
  checkedRange,
  type ClientEnd,
  type Contestant,
  type Counters,
  type DownloadRequest,
  type StreamObserver,
} from '../contestant.js';
import { RawKind, RawLink, type RawStyle } from './raw-link.js';

/** The limit: plain sockets, all frames of a turn in one write, each message a Buffer for its receiver. */
export const rawBatched: Contestant<Buffer> = rawContestant({ batched: true, lent: false });

/** The same with one write for each frame. */
export const rawOneWrite: Contestant<Buffer> = rawContestant({ batched: false, lent: false });

/** As `rawBatched`, but payloads are read where they lie and nobody may keep them. */
export const rawLent: Contestant<Buffer> = rawContestant({ batched: true, lent: true });

function rawContestant(style: RawStyle): Contestant<Buffer> {
  return {
    listen: async () => {
      const counters: Counters = { held: 0, canceled: 0 };
      const server = createServer((socket) => serve(socket, style, counters));
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      return {
        port: (server.address() as AddressInfo).port,
        counters: () => counters,
        close: async () => void server.close(),
      };
    },
    connect: async (port) => {
      const socket = connect(port, '127.0.0.1');
      await once(socket, 'connect');
      return new RawClient(socket, style);
    },
  };
}

const DOWNLOAD_SIZE = 13;

interface Producer {
  id: number;
  left: number;
  payload: Buffer;
  fresh: boolean;
  deadline: number;
}

function serve(socket: Socket, style: RawStyle, counters: Counters): void {
  const held = new Set<number>();
  const producers = new Map<number, Producer>();
  const hello = bytesPayload(32);

  const link = new RawLink(socket, style, (kind, id, bytes, start, end) => {
    switch (kind) {
      case RawKind.Call:
        return link.send(RawKind.Answer, id, bytes, start, end);
      case RawKind.PingPong:
        return link.send(RawKind.Message, id, bytes, start, end);
      case RawKind.Hold:
        held.add(id);
        counters.held++;
        return link.send(RawKind.Message, id, hello);
      case RawKind.Download:
        producers.set(id, readDownload(id, bytes.subarray(start, end)));
        return produce();
      case RawKind.Cancel:
        producers.delete(id);
        if (held.delete(id)) counters.canceled++;
        return;
      case RawKind.End:
        return link.send(RawKind.End, id);
    }
  });

  const produce = () => {
    for (const producer of producers.values()) {
      while (producer.left > 0 && !link.blocked) {
        if (producer.deadline > 0 && Date.now() > producer.deadline) producer.left = 1;
        const payload = producer.fresh ? bytesPayload(producer.payload.length) : producer.payload;
        link.send(RawKind.Message, producer.id, payload);
        producer.left--;
      }
      if (producer.left > 0) return;
      link.send(RawKind.End, producer.id);
      producers.delete(producer.id);
    }
  };
  link.onDrain = produce;

  socket.on('error', () => undefined);
  socket.on('close', () => producers.clear());
}

function readDownload(id: number, bytes: Buffer): Producer {
  const limitMs = bytes.readUInt32LE(8);
  return {
    id,
    left: bytes.readUInt32LE(0),
    payload: bytesPayload(bytes.readUInt32LE(4)),
    fresh: bytes[12] === 1,
    deadline: limitMs > 0 ? Date.now() + limitMs : 0,
  };
}

type Done = (error: Error | undefined, size: number) => void;

class RawClient implements ClientEnd<Buffer> {
  readonly #socket: Socket;
  readonly #link: RawLink;
  readonly #calls = new Map<number, Done>();
  readonly #streams = new Map<number, StreamObserver>();
  #lastId = 0;
  #closing = false;

  constructor(socket: Socket, style: RawStyle) {
    this.#socket = socket;
    this.#link = new RawLink(socket, style, (kind, id, bytes, start, end) => {
      if (kind === RawKind.Answer) {
        const done = this.#calls.get(id)!;
        this.#calls.delete(id);
        done(undefined, checkedRange(bytes, start, end));
      } else if (kind === RawKind.Message) {
        this.#streams.get(id)?.message(checkedRange(bytes, start, end));
      } else {
        const observer = this.#streams.get(id);
        this.#streams.delete(id);
        observer?.end();
      }
    });
    socket.on('error', () => undefined);
    socket.on('close', () => this.#fail());
  }

  payload(size: number): Buffer {
    return bytesPayload(size);
  }

  unary(payload: Buffer, done: Done): void {
    const id = ++this.#lastId;
    this.#calls.set(id, done);
    this.#link.send(RawKind.Call, id, payload);
  }

  download(request: DownloadRequest, observer: StreamObserver) {
    const bytes = Buffer.alloc(DOWNLOAD_SIZE);
    bytes.writeUInt32LE(request.count, 0);
    bytes.writeUInt32LE(request.size, 4);
    bytes.writeUInt32LE(request.limitMs, 8);
    bytes[12] = request.fresh ? 1 : 0;
    const id = this.#open(observer);
    this.#link.send(RawKind.Download, id, bytes);
    return { cancel: () => this.#cancel(id) };
  }

  hold(observer: StreamObserver) {
    const id = this.#open(observer);
    this.#link.send(RawKind.Hold, id);
    return { cancel: () => this.#cancel(id) };
  }

  pingPong(observer: StreamObserver) {
    const id = this.#open(observer);
    return {
      send: (payload: Buffer) => this.#link.send(RawKind.PingPong, id, payload),
      closeSend: () => this.#link.send(RawKind.End, id),
      cancel: () => this.#cancel(id),
    };
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#socket.destroy();
  }

  #open(observer: StreamObserver): number {
    const id = ++this.#lastId;
    this.#streams.set(id, observer);
    return id;
  }

  #cancel(id: number): void {
    this.#streams.delete(id);
    this.#link.send(RawKind.Cancel, id);
  }

  #fail(): void {
    if (this.#closing) return;
    const error = new Error('socket closed');
    for (const done of this.#calls.values()) done(error, -1);
    for (const observer of this.#streams.values()) observer.error(error);
  }
}
