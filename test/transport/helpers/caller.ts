import type { Duplex } from 'node:stream';
import { Conn, type CallOptions } from '../../../lib/conn/conn.js';
import type { RpcStream } from '../../../lib/conn/rpc-stream.js';
import { jsonEncoding, type Encoding } from '../../../lib/encoding/encoding.js';
import { FrameReader } from '../../../lib/wire/frame-reader.js';
import { Kind } from '../../../lib/wire/kind.js';

/** The other side of the wire with nothing of the Nest layer in it: a plain client that multiplexes. */
export class Caller {
  readonly conn: Conn;
  readonly socket: Duplex;
  /** The kinds of the frames that came, by stream. */
  readonly #frames = new Map<number, string[]>();
  #lastId = 0;

  constructor(socket: Duplex) {
    this.socket = socket;
    this.conn = new Conn(socket);
    const reader = new FrameReader({
      handleFrame: ({ streamId, kind }) => {
        const kinds = this.#frames.get(Number(streamId)) ?? [];
        this.#frames.set(Number(streamId), [...kinds, Kind[kind]!]);
      },
    });
    socket.on('data', (chunk: Buffer) => reader.receive(chunk));
  }

  /** One message there, one back. */
  call(
    rpc: string,
    data?: unknown,
    options?: CallOptions,
    encoding: Encoding = jsonEncoding,
  ): Promise<unknown> {
    this.#lastId++;
    return this.conn.invoke(rpc, encoding, data, options);
  }

  /** An open call. With `data`, these messages are sent and the request closed. */
  open(
    rpc: string,
    data?: readonly unknown[],
    options?: CallOptions,
    encoding: Encoding = jsonEncoding,
  ): OpenCall {
    this.#lastId++;
    const stream = this.conn.newStream(rpc, encoding, options);
    for (const value of data ?? []) void stream.msgSend(value);
    if (data) stream.closeSend();
    return new OpenCall(stream, this.#lastId);
  }

  /** Everything that comes back. */
  async all(rpc: string, ...data: unknown[]): Promise<unknown[]> {
    return this.open(rpc, data).rest();
  }

  /** The kinds of the frames that a call was answered with so far, in order. */
  frames({ id }: { id: number }): string[] {
    return this.#frames.get(id) ?? [];
  }

  /** Resolves when the server has handled everything that was sent before, and its answers are here. */
  async fence(): Promise<void> {
    await this.call('no such rpc').catch(() => undefined);
  }

  close(): Promise<void> {
    return this.conn.close();
  }
}

/** A call and what has come of it. */
export class OpenCall {
  readonly stream: RpcStream;
  readonly id: number;

  constructor(stream: RpcStream, id: number) {
    this.stream = stream;
    this.id = id;
  }

  /** The next message; `undefined` at the end. */
  next(): Promise<unknown> {
    return this.stream.msgRecv();
  }

  async send(...values: unknown[]): Promise<void> {
    for (const value of values) await this.stream.msgSend(value);
  }

  closeSend(): void {
    this.stream.closeSend();
  }

  cancel(): void {
    this.stream.sendCancel();
  }

  /** All messages that still come. */
  async rest(): Promise<unknown[]> {
    const values: unknown[] = [];
    for await (const value of this.stream) values.push(value);
    return values;
  }
}
