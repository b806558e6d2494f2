import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server as NetServer, type Socket } from 'node:net';
import { BaseRpcContext, ClientProxy, Server, type MessageHandler } from '@nestjs/microservices';
import { Observable, type Subscriber } from 'rxjs';
import { unsupported, type Contestant } from '../contestant.js';
import { connectNest, listenNest } from './nest-app.js';
import { BYTES_STYLE, JSON_STYLE, NestEnd, type Encoding, type Style } from './nest-style.js';
import { RawKind, RawLink, type RawStyle } from './raw-link.js';

/** How messages stand on the wire. */
interface Codec {
  raw: RawStyle;
  write(link: RawLink, kind: RawKind, id: number, message: unknown): void;
  read(bytes: Buffer, start: number, end: number): unknown;
}

const CODECS: Record<Encoding, Codec> = {
  bytes: {
    raw: { batched: true, lent: false },
    write: (link, kind, id, message) => link.send(kind, id, message as Buffer),
    read: (bytes) => bytes,
  },
  json: {
    raw: { batched: true, lent: true },
    write: (link, kind, id, message) => link.sendJson(kind, id, message),
    read: (bytes, start, end) => JSON.parse(bytes.toString('utf8', start, end)) as unknown,
  },
};

/**
 * The limit for a transport of Nest: `rawBatched` between a strategy and a `ClientProxy` that do the least Nest asks
 * for, in the same applications as `nestDrpc`. No limits, no errors, no cancel.
 */
export const rawNestBytes = rawNestContestant(BYTES_STYLE);

/** The same with messages in JSON. */
export const rawNest = rawNestContestant(JSON_STYLE);

function rawNestContestant<P>(style: Style<P>): Contestant<P> {
  const codec = CODECS[style.encoding];
  return {
    listen: async () => {
      const strategy = new RawServer(codec);
      const close = await listenNest({ strategy }, [style.controller]);
      return { port: strategy.port, counters: () => ({ held: 0, canceled: 0 }), close };
    },
    connect: async (port) => {
      const { client, close } = await connectNest<RawClient>({
        name: 'BENCH',
        customClass: RawClient,
        options: { port, codec },
      });
      await client.connect();
      return new NestEnd(client, close, style);
    },
  };
}

class RawServer extends Server {
  readonly #codec: Codec;
  #server: NetServer | undefined;

  constructor(codec: Codec) {
    super();
    this.#codec = codec;
  }

  get port(): number {
    return (this.#server!.address() as AddressInfo).port;
  }

  listen(callback: () => void): void {
    const echo = this.messageHandlers.get('echo')!;
    const download = this.messageHandlers.get('download')!;
    this.#server = createServer((socket) => serve(socket, this.#codec, echo, download));
    this.#server.listen(0, '127.0.0.1', callback);
  }

  close(): void {
    this.#server?.close();
  }

  on(): void {}

  unwrap(): never {
    return unsupported();
  }
}

function serve(
  socket: Socket,
  codec: Codec,
  echo: MessageHandler<unknown, unknown, unknown>,
  download: MessageHandler<unknown, unknown, unknown>,
): void {
  const waiting: (() => void)[] = [];
  const link = new RawLink(socket, codec.raw, (kind, id, bytes, start, end) => {
    const handler = kind === RawKind.Call ? echo : download;
    void handler(codec.read(bytes, start, end), new BaseRpcContext([])).then((result: unknown) => {
      if (kind === RawKind.Call) codec.write(link, RawKind.Answer, id, result);
      else void pour(id, result as AsyncIterable<unknown>);
    });
  });
  const pour = async (id: number, messages: AsyncIterable<unknown>) => {
    for await (const message of messages) {
      codec.write(link, RawKind.Message, id, message);
      if (link.blocked) await new Promise<void>((resolve) => waiting.push(resolve));
    }
    link.send(RawKind.End, id);
  };
  link.onDrain = () => {
    for (const resume of waiting.splice(0)) resume();
  };
  socket.on('error', () => undefined);
}

class RawClient extends ClientProxy {
  readonly #port: number;
  readonly #codec: Codec;
  readonly #calls = new Map<number, Subscriber<unknown>>();
  #socket: Socket | undefined;
  #link: RawLink | undefined;
  #lastId = 0;

  constructor({ port, codec }: { port: number; codec: Codec }) {
    super();
    this.#port = port;
    this.#codec = codec;
  }

  async connect(): Promise<void> {
    const socket = (this.#socket = connect(this.#port, '127.0.0.1'));
    await once(socket, 'connect');
    this.#link = new RawLink(socket, this.#codec.raw, (kind, id, bytes, start, end) => {
      const observer = this.#calls.get(id)!;
      if (kind !== RawKind.End) observer.next(this.#codec.read(bytes, start, end));
      if (kind === RawKind.Message) return;
      this.#calls.delete(id);
      observer.complete();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      for (const observer of this.#calls.values()) observer.error(new Error('socket closed'));
    });
  }

  close(): void {
    this.#socket?.destroy();
  }

  unwrap(): never {
    return unsupported();
  }

  /** Nest's own asks for the connection and makes three Observables for each call. */
  override send<R>(pattern: string, data: unknown): Observable<R> {
    return new Observable<R>((subscriber) => {
      const id = ++this.#lastId;
      this.#calls.set(id, subscriber as Subscriber<unknown>);
      this.#codec.write(this.#link!, pattern === 'echo' ? RawKind.Call : RawKind.Download, id, data);
    });
  }

  protected publish(): never {
    return unsupported();
  }

  protected dispatchEvent(): never {
    return unsupported();
  }
}
