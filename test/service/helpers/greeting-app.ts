import type { AddressInfo } from 'node:net';
import type { INestMicroservice, Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { onTestFinished } from 'vitest';

import {
  DrpcClient,
  DrpcServer,
  type DrpcClientOptions,
  type DrpcServerOptions,
} from '../../../lib/index.js';

/** A microservice of `controllers` on a free port, and clients of it; all closed at the end of the test. */
export class GreetingApp {
  readonly app: INestMicroservice;
  readonly #server: DrpcServer;

  private constructor(app: INestMicroservice, server: DrpcServer) {
    this.app = app;
    this.#server = server;
  }

  static async start(
    controllers: Type[],
    options: DrpcServerOptions = {},
    prepare?: (app: INestMicroservice) => unknown,
  ): Promise<GreetingApp> {
    const server = new DrpcServer({ port: 0, gracePeriod: 0, ...options });
    const module = await Test.createTestingModule({ controllers }).compile();
    const app = module.createNestMicroservice({ strategy: server });
    app.useLogger(false);
    prepare?.(app);
    onTestFinished(() => app.close());
    await app.listen();
    return new GreetingApp(app, server);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  client(options: DrpcClientOptions = {}): DrpcClient {
    const client = new DrpcClient({ port: this.port, ...options });
    onTestFinished(() => client.close());
    return client;
  }
}

export async function collect<T>(values: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = [];
  for await (const value of values) collected.push(value);
  return collected;
}
