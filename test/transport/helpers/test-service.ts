import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import type { INestMicroservice, ModuleMetadata, Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { DrpcServer, type DrpcServerOptions } from 'nestjs-drpc';
import { createInMemoryNetwork } from 'nestjs-drpc/testing';
import { onTestFinished } from 'vitest';
import { Caller } from './caller.js';

/** The ways to reach a service. */
export const TRANSPORTS = ['tcp', 'tls', 'unix', 'memory'] as const;
export type TransportKind = (typeof TRANSPORTS)[number];

export interface TestServiceOptions {
  over?: TransportKind;
  server?: DrpcServerOptions;
  module?: Omit<ModuleMetadata, 'controllers'>;
  /** Before it listens. */
  prepare?: (app: INestMicroservice, server: DrpcServer) => void;
}

/** A PEM file of the tests. */
export function pem(name: string): Buffer {
  return readFileSync(new URL(`../../fixtures/tls/${name}`, import.meta.url));
}

/** A path for a unix socket that nothing else uses. */
export function socketPath(): string {
  return join(tmpdir(), `drpc-${randomUUID()}.sock`);
}

/** A Nest microservice of some controllers, closed at the end of the test. */
export class TestService {
  readonly app: INestMicroservice;
  readonly server: DrpcServer;
  readonly #dial: () => Duplex | Promise<Duplex>;

  private constructor(app: INestMicroservice, server: DrpcServer, dial: () => Duplex | Promise<Duplex>) {
    this.app = app;
    this.server = server;
    this.#dial = dial;
  }

  /** By default over TCP on a free port, and without a grace period: calls in flight are given up at once. */
  static async start(controllers: Type[], options: TestServiceOptions = {}): Promise<TestService> {
    const { over = 'tcp', prepare } = options;
    const { own, dial } = place(over, () => (server.address() as AddressInfo).port);
    const server: DrpcServer = new DrpcServer({ gracePeriod: 0, ...own, ...options.server });
    const module = await Test.createTestingModule({ ...options.module, controllers }).compile();
    const app = module.createNestMicroservice({ strategy: server });
    app.useLogger(false);
    prepare?.(app, server);
    onTestFinished(() => app.close());
    await app.listen();
    return new TestService(app, server, dial);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** A plain client's connection; closed at the end of the test, before the service is. */
  async connect(): Promise<Caller> {
    const caller = new Caller(await this.#dial());
    onTestFinished(() => caller.close());
    return caller;
  }
}

interface Place {
  own: DrpcServerOptions;
  dial: () => Duplex | Promise<Duplex>;
}

function place(over: TransportKind, port: () => number): Place {
  switch (over) {
    case 'tcp':
      return { own: { port: 0 }, dial: () => connect(port(), '127.0.0.1') };
    case 'tls':
      return {
        own: { port: 0, tls: { cert: pem('server.crt'), key: pem('server.key') } },
        dial: () => connectTls({ port: port(), host: '127.0.0.1', ca: pem('ca.crt') }),
      };
    case 'unix': {
      const path = socketPath();
      return { own: { path }, dial: () => connect(path) };
    }
    case 'memory': {
      const { listener, dial } = createInMemoryNetwork();
      return { own: { listener }, dial };
    }
  }
}
