import { once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
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
  /** Over sockets too there is a tap; the client does not connect by itself then, but by a `dial`. */
  isTapped?: boolean;
  /** The client's `dial` waits for it; for what is tapped. */
  mayDial?: Promise<void>;
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
  /** The frames of the client's connections, where they are tapped. */
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
    const { over = 'memory', isTapped = over === 'memory', mayDial } = options;
    const place = placeOf(over);
    const server = new DrpcServer({ gracePeriod: 0, ...place.server, ...options.server });
    const module = await Test.createTestingModule({ ...options.module, controllers }).compile();
    const service = module.createNestMicroservice({ strategy: server });
    service.useLogger(options.logger ?? false);
    options.prepare?.(service, server);
    onTestFinished(() => service.close());
    await service.listen();
    const dial = tap.on(async () => {
      await mayDial;
      return place.dial(server);
    });
    const reach = isTapped ? { dial } : place.client(server);
    const callerApp = await startCaller({ ...reach, ...options.client }, options.logger);
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
  /** How a client connects by itself. */
  client: (server: DrpcServer) => DrpcClientOptions;
  /** How it is connected by others. */
  dial: (server: DrpcServer) => Promise<Duplex>;
}

const portOf = (server: DrpcServer): number => (server.address() as AddressInfo).port;

async function connected<T extends Duplex>(socket: T, event: string): Promise<T> {
  await once(socket, event);
  return socket;
}

function placeOf(over: TransportKind): Place {
  switch (over) {
    case 'tcp':
      return {
        server: { url: 'drpc://127.0.0.1:0' },
        client: (server) => ({ url: `drpc://127.0.0.1:${portOf(server)}` }),
        dial: (server) => connected(connect(portOf(server), '127.0.0.1'), 'connect'),
      };
    case 'tls':
      return {
        server: { url: 'drpcs://127.0.0.1:0', tls: { cert: pem('server.crt'), key: pem('server.key') } },
        client: (server) => ({ url: `drpcs://localhost:${portOf(server)}`, tls: { ca: pem('ca.crt') } }),
        dial: (server) =>
          connected(
            connectTls({ port: portOf(server), host: 'localhost', ca: pem('ca.crt') }),
            'secureConnect',
          ),
      };
    case 'unix': {
      const path = socketPath();
      const url = `drpc+unix:${path}`;
      return {
        server: { url },
        client: () => ({ url }),
        dial: () => connected(connect(path), 'connect'),
      };
    }
    case 'memory': {
      const network = createInMemoryNetwork();
      return {
        server: { listener: network.listener },
        client: () => ({ dial: network.dial }),
        dial: network.dial,
      };
    }
  }
}
