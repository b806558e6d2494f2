import type { AddressInfo, Server } from 'node:net';
import type { INestMicroservice, Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { DrpcServer, type DrpcServerOptions } from 'nestjs-drpc';
import { CallLog } from './call-log.js';
import { InteropController } from './interop.controller.js';

/** A Nest application that serves what the Go servers of the interop tests serve. */
export class InteropService {
  readonly log: CallLog;
  readonly server: DrpcServer;
  readonly #app: INestMicroservice;

  private constructor(app: INestMicroservice, server: DrpcServer, log: CallLog) {
    this.#app = app;
    this.server = server;
    this.log = log;
  }

  /** On a free port of 127.0.0.1 unless told otherwise; calls in flight end with it. `more`: controllers beside its own. */
  static async start(options: DrpcServerOptions = {}, more: Type[] = []): Promise<InteropService> {
    const server = new DrpcServer({ gracePeriod: 0, ...(options.listener ? {} : { port: 0 }), ...options });
    const log = new CallLog();
    const module = await Test.createTestingModule({
      controllers: [InteropController, ...more],
      providers: [{ provide: CallLog, useValue: log }],
    }).compile();
    const app = module.createNestMicroservice({ strategy: server });
    app.useLogger(false);
    await app.listen();
    if (!options.listener) {
      server.unwrap<Server>().on('connection', (socket) => log.knowSocket(socket));
    }
    return new InteropService(app, server, log);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** A provider or controller of the application. */
  get<T>(type: Type<T>): T {
    return this.#app.get(type);
  }

  close(): Promise<void> {
    return this.#app.close();
  }
}
