import { connect, type AddressInfo } from 'node:net';
import type { Type } from '@nestjs/common';
import type { INestMicroservice } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { onTestFinished } from 'vitest';
import { Conn } from '../../lib/conn/conn.js';
import { RpcStream } from '../../lib/conn/rpc-stream.js';
import type { CallOptions } from '../../lib/conn/conn.js';
import { jsonEncoding, type Encoding } from '../../lib/encoding/encoding.js';
import { DrpcServer } from '../../lib/transport/drpc.server.js';
import type { DrpcServerOptions } from '../../lib/transport/drpc-server.options.js';

export interface TestServiceOptions {
  server?: DrpcServerOptions;
  providers?: NonNullable<Parameters<typeof Test.createTestingModule>[0]['providers']>;
  prepare?: (app: INestMicroservice, server: DrpcServer) => void;
}

/** A Nest microservice of `controllers` on a free port; closed at the end of the test. */
export class TestService {
  readonly app: INestMicroservice;
  readonly server: DrpcServer;

  private constructor(app: INestMicroservice, server: DrpcServer) {
    this.app = app;
    this.server = server;
  }

  static async start(
    controllers: Type[],
    { server: options, providers = [], prepare }: TestServiceOptions = {},
  ): Promise<TestService> {
    const server = new DrpcServer({ port: 0, gracePeriod: 0, ...options });
    const module = await Test.createTestingModule({ controllers, providers }).compile();
    const app = module.createNestMicroservice({ strategy: server });
    app.useLogger(false);
    prepare?.(app, server);
    onTestFinished(() => app.close());
    await app.listen();
    return new TestService(app, server);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** A plain client's connection; closed at the end of the test, and so before the service. */
  connect(): Caller {
    const caller = new Caller(this.port);
    onTestFinished(() => caller.close());
    return caller;
  }
}

/** The other side of the wire, with nothing of the Nest layer in it. */
export class Caller {
  readonly conn: Conn;

  constructor(port: number) {
    this.conn = new Conn(connect(port, '127.0.0.1'));
  }

  /** One message there, one back. */
  call(
    rpc: string,
    data?: unknown,
    options?: CallOptions,
    encoding: Encoding = jsonEncoding,
  ): Promise<unknown> {
    return this.conn.invoke(rpc, encoding, data, options);
  }

  /** An open call; `data` of the request follow at once, the request is closed if they are given. */
  open(
    rpc: string,
    data?: readonly unknown[],
    options?: CallOptions,
    encoding: Encoding = jsonEncoding,
  ): RpcStream {
    const stream = this.conn.newStream(rpc, encoding, options);
    for (const value of data ?? []) void stream.msgSend(value);
    if (data) stream.closeSend();
    return stream;
  }

  /** All that comes back. */
  async all(rpc: string, ...data: unknown[]): Promise<unknown[]> {
    return collect(this.open(rpc, data));
  }

  close(): Promise<void> {
    return this.conn.close();
  }
}

export async function collect(stream: AsyncIterable<unknown>): Promise<unknown[]> {
  const values: unknown[] = [];
  for await (const value of stream) values.push(value);
  return values;
}
