import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type {
  INestApplicationContext,
  INestMicroservice,
  LoggerService,
  ModuleMetadata,
  Type,
} from '@nestjs/common';
import { ClientsModule } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { DrpcClient, DrpcServer, type DrpcClientOptions, type DrpcServerOptions } from 'nestjs-drpc';
import { createInMemoryNetwork } from 'nestjs-drpc/testing';
import { onTestFinished } from 'vitest';
import { pem, socketPath } from '../../transport/helpers/test-service.js';
import type { TransportKind } from '../../transport/helpers/test-service.js';
import { FrameTap } from './frame-tap.js';

export { TRANSPORTS, type TransportKind } from '../../transport/helpers/test-service.js';

export interface JoinedAppsOptions {
  /** Default: in memory, with a tap at the client's end. */
  over?: TransportKind;
  server?: DrpcServerOptions;
  client?: DrpcClientOptions;
  /** What the service's module has beside its controllers. */
  module?: Omit<ModuleMetadata, 'controllers'>;
  /** Hears what both applications log. Default: nobody does. */
  logger?: LoggerService;
  /** Before the service listens. */
  prepare?: (app: INestMicroservice, server: DrpcServer) => void;
}

/**
 * Two Nest applications: a microservice of some controllers, and one that calls it through the DrpcClient that
 * ClientsModule gave it. Both are closed at the end of the test, the caller first.
 */
export class JoinedApps {
  readonly service: INestMicroservice;
  readonly server: DrpcServer;
  readonly callerApp: INestApplicationContext;
  readonly client: DrpcClient;
  /** The frames of the client's connections (in memory only). */
  readonly tap: FrameTap;

  private constructor(
    service: INestMicroservice,
    server: DrpcServer,
    callerApp: INestApplicationContext,
    tap: FrameTap,
  ) {
    this.service = service;
    this.server = server;
    this.callerApp = callerApp;
    this.client = callerApp.get<DrpcClient>('SERVICE');
    this.tap = tap;
  }

  /** Without a grace period, unless asked for: calls in flight are given up at once when the service closes. */
  static async start(controllers: Type[], options: JoinedAppsOptions = {}): Promise<JoinedApps> {
    const tap = new FrameTap();
    const place = placeOf(options.over ?? 'memory', tap);
    const server = new DrpcServer({ gracePeriod: 0, ...place.server, ...options.server });
    const module = await Test.createTestingModule({ ...options.module, controllers }).compile();
    const service = module.createNestMicroservice({ strategy: server });
    service.useLogger(options.logger ?? false);
    options.prepare?.(service, server);
    onTestFinished(() => service.close());
    await service.listen();
    const callerApp = await startCaller({ ...place.client(server), ...options.client }, options.logger);
    return new JoinedApps(service, server, callerApp, tap);
  }

  /** Resolves when the server has handled all that was sent before, and what it answered is here. */
  async fence(): Promise<void> {
    await this.client.call('no such rpc').catch(() => undefined);
  }
}

/** An application whose module gives it a client by the name `SERVICE`. */
export async function startCaller(
  options: DrpcClientOptions,
  logger?: LoggerService,
): Promise<INestApplicationContext> {
  const app = await Test.createTestingModule({
    imports: [ClientsModule.register([{ name: 'SERVICE', customClass: DrpcClient, options }])],
  }).compile();
  app.useLogger(logger ?? false);
  onTestFinished(() => app.close());
  return app.init();
}

interface Place {
  server: DrpcServerOptions;
  client: (server: DrpcServer) => DrpcClientOptions;
}

const portOf = (server: DrpcServer): number => (server.address() as AddressInfo).port;

function placeOf(over: TransportKind, tap: FrameTap): Place {
  switch (over) {
    case 'tcp':
      return {
        server: { url: 'drpc://127.0.0.1:0' },
        client: (server) => ({ url: `drpc://127.0.0.1:${portOf(server)}` }),
      };
    case 'tls':
      return {
        server: { url: 'drpcs://127.0.0.1:0', tls: { cert: pem('server.crt'), key: pem('server.key') } },
        client: (server) => ({ url: `drpcs://localhost:${portOf(server)}`, tls: { ca: pem('ca.crt') } }),
      };
    case 'unix': {
      const url = `drpc+unix:${socketPath()}`;
      return { server: { url }, client: () => ({ url }) };
    }
    case 'memory': {
      const network = createInMemoryNetwork();
      const dial: () => Promise<Duplex> = tap.on(network.dial);
      return { server: { listener: network.listener }, client: () => ({ dial }) };
    }
  }
}
