import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import {
  checkedText,
  textPayload,
  unsupported,
  type ClientEnd,
  type Contestant,
  type DownloadRequest,
  type StreamObserver,
} from '../contestant.js';
import { RawKind, RawLink } from './raw-link.js';

const STYLE = { batched: true, lent: true };

/** The limit for JSON: `rawBatched` with messages that are written as JSON and parsed, at both ends. */
export const rawJson: Contestant<string> = {
  listen: async () => {
    const server = createServer(serve);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return {
      port: (server.address() as AddressInfo).port,
      counters: () => ({ held: 0, canceled: 0 }),
      close: async () => void server.close(),
    };
  },
  connect: async (port) => {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new RawJsonClient(socket);
  },
};

interface Producer {
  id: number;
  left: number;
  deadline: number;
  next(): string;
}

function serve(socket: Socket): void {
  let producers: Producer[] = [];
  const link = new RawLink(socket, STYLE, (kind, id, bytes, start, end) => {
    const value: unknown = JSON.parse(bytes.toString('utf8', start, end));
    if (kind === RawKind.Call) return link.sendJson(RawKind.Answer, id, value);
    producers.push(producer(id, value as DownloadRequest));
    produce();
  });
  const produce = () => {
    for (const each of producers) {
      while (each.left > 0 && !link.blocked) {
        if (each.deadline > 0 && Date.now() > each.deadline) each.left = 1;
        link.sendJson(RawKind.Message, each.id, each.next());
        each.left--;
      }
      if (each.left > 0) break;
      link.send(RawKind.End, each.id);
    }
    producers = producers.filter(({ left }) => left > 0);
  };
  link.onDrain = produce;
  socket.on('error', () => undefined);
  socket.on('close', () => (producers = []));
}

function producer(id: number, { count, size, fresh, limitMs }: DownloadRequest): Producer {
  const payload = textPayload(size);
  return {
    id,
    left: count,
    deadline: limitMs > 0 ? Date.now() + limitMs : 0,
    next: () => (fresh ? textPayload(size) : payload),
  };
}

type Done = (error: Error | undefined, size: number) => void;

class RawJsonClient implements ClientEnd<string> {
  readonly #socket: Socket;
  readonly #link: RawLink;
  readonly #calls = new Map<number, Done>();
  readonly #streams = new Map<number, StreamObserver>();
  #lastId = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#link = new RawLink(socket, STYLE, (kind, id, bytes, start, end) => {
      if (kind === RawKind.End) {
        const observer = this.#streams.get(id);
        this.#streams.delete(id);
        return observer?.end();
      }
      const size = checkedText(JSON.parse(bytes.toString('utf8', start, end)) as string);
      if (kind === RawKind.Message) return this.#streams.get(id)?.message(size);
      const done = this.#calls.get(id)!;
      this.#calls.delete(id);
      done(undefined, size);
    });
    socket.on('error', () => undefined);
    socket.on('close', () => this.#fail());
  }

  payload(size: number): string {
    return textPayload(size);
  }

  unary(payload: string, done: Done): void {
    const id = ++this.#lastId;
    this.#calls.set(id, done);
    this.#link.sendJson(RawKind.Call, id, payload);
  }

  download(request: DownloadRequest, observer: StreamObserver) {
    const id = ++this.#lastId;
    this.#streams.set(id, observer);
    this.#link.sendJson(RawKind.Download, id, request);
    return { cancel: () => void this.#streams.delete(id) };
  }

  hold(): never {
    return unsupported();
  }

  pingPong(): never {
    return unsupported();
  }

  async close(): Promise<void> {
    this.#socket.destroy();
  }

  #fail(): void {
    const error = new Error('socket closed');
    for (const done of this.#calls.values()) done(error, -1);
    for (const observer of this.#streams.values()) observer.error(error);
  }
}
