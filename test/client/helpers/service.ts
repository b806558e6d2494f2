import type { AddressInfo } from 'node:net';
import type { INestMicroservice, ModuleMetadata, Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { DrpcClient, DrpcServer, type DrpcClientOptions, type DrpcServerOptions } from 'nestjs-drpc';
import { createInMemoryNetwork } from 'nestjs-drpc/testing';
import { onTestFinished } from 'vitest';
import { pem, socketPath, type TransportKind } from '../../transport/helpers/test-service.js';

export interface ServiceOptions {
  over?: TransportKind;
  server?: DrpcServerOptions;
  client?: DrpcClientOptions;
  module?: Omit<ModuleMetadata, 'controllers'>;
}

/** A Nest microservice and how a client reaches it; closed at the end of the test. */
export class Service {
  readonly app: INestMicroservice;
  readonly server: DrpcServer;
  readonly #way: () => DrpcClientOptions;

  private constructor(app: INestMicroservice, server: DrpcServer, way: () => DrpcClientOptions) {
    this.app = app;
    this.server = server;
    this.#way = way;
  }

  static async start(controllers: Type[], options: ServiceOptions = {}): Promise<Service> {
    const place = at(options.over ?? 'tcp', () => server.address() as AddressInfo);
    const server: DrpcServer = new DrpcServer({ gracePeriod: 0, ...place.own, ...options.server });
    const module = await Test.createTestingModule({ ...options.module, controllers }).compile();
    const app = module.createNestMicroservice({ strategy: server });
    app.useLogger(false);
    onTestFinished(() => app.close());
    await app.listen();
    return new Service(app, server, place.way);
  }

  /** What a client needs to know to reach the service. */
  get way(): DrpcClientOptions {
    return this.#way();
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** A client, closed at the end of the test. */
  client<Api extends object = object>(options: DrpcClientOptions = {}): DrpcClient<Api> {
    const client = new DrpcClient<Api>({ ...this.way, ...options });
    onTestFinished(() => client.close());
    return client;
  }
}

/** A service and a client that is connected to it. */
export async function connect(controllers: Type[], options: ServiceOptions = {}): Promise<DrpcClient> {
  const service = await Service.start(controllers, options);
  const client = service.client(options.client);
  await client.connect();
  return client;
}

function at(
  over: TransportKind,
  address: () => AddressInfo,
): { own: DrpcServerOptions; way: () => DrpcClientOptions } {
  switch (over) {
    case 'tcp':
      return { own: { port: 0 }, way: () => ({ url: `drpc://127.0.0.1:${address().port}` }) };
    case 'tls':
      return {
        own: { port: 0, tls: { cert: pem('server.crt'), key: pem('server.key') } },
        way: () => ({ url: `drpcs://localhost:${address().port}`, tls: { ca: pem('ca.crt') } }),
      };
    case 'unix': {
      const path = socketPath();
      return { own: { path }, way: () => ({ url: `drpc+unix:${path}` }) };
    }
    case 'memory': {
      const { listener, dial } = createInMemoryNetwork();
      return { own: { listener }, way: () => ({ dial }) };
    }
  }
}
