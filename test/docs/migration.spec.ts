import type { AddressInfo, Server } from 'node:net';
import { Controller, ForbiddenException, Logger, Module, type INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  ClientsModule,
  MessagePattern,
  Payload,
  RpcException,
  Transport,
  type ClientProxy,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { drpcClient, DrpcServer } from 'nestjs-drpc';
import { lastValueFrom } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { socketPath } from '../transport/helpers/test-service.js';
import { describePage } from './docs-page.js';

describePage('migration');

beforeAll(() => Logger.overrideLogger(false));

@Controller()
class DoorController {
  @MessagePattern({ cmd: 'open' })
  open(@Payload() door: number): string {
    return `door ${door} is open`;
  }

  @MessagePattern('text')
  text(): never {
    throw new RpcException('no');
  }

  @MessagePattern('object')
  object(): never {
    throw new RpcException({ code: 5, message: 'no door', reason: 'wall' });
  }

  @MessagePattern('name')
  name(): never {
    throw new RpcException({ code: 'GONE', message: 'no door' });
  }

  @MessagePattern('http')
  http(): never {
    throw new ForbiddenException('not you');
  }
}

@Module({ controllers: [DoorController] })
class DoorModule {}

const url = `drpc+unix:${socketPath()}`;

async function serveBoth(tcpPort: number) {
  const app = await NestFactory.create(DoorModule);
  app.connectMicroservice<MicroserviceOptions>({ transport: Transport.TCP, options: { port: tcpPort } });
  app.connectMicroservice<MicroserviceOptions>({ strategy: new DrpcServer({ url }) });
  app.enableShutdownHooks();
  await app.init();
  await app.startAllMicroservices();
  return app;
}

async function serveOne() {
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(DoorModule, {
    strategy: new DrpcServer({ url }),
  });
  await app.listen();
  return app;
}

async function before(tcpPort: number): Promise<INestApplicationContext> {
  const module = await Test.createTestingModule({
    imports: [
      ClientsModule.register([{ name: 'DOORS', transport: Transport.TCP, options: { port: tcpPort } }]),
    ],
  }).compile();
  return module.init();
}

async function after(): Promise<INestApplicationContext> {
  const module = await Test.createTestingModule({
    imports: [ClientsModule.register([drpcClient({ name: 'DOORS', url })])],
  }).compile();
  return module.init();
}

/** What the caller gets to see of an error. */
async function failure(caller: INestApplicationContext, pattern: string): Promise<unknown> {
  return lastValueFrom(caller.get<ClientProxy>('DOORS').send(pattern, {})).catch((error: unknown) => error);
}

describe('a service that moves', () => {
  let service: Awaited<ReturnType<typeof serveBoth>>;
  let overTcp: INestApplicationContext;
  let overDrpc: INestApplicationContext;

  beforeAll(async () => {
    service = await serveBoth(0);
    const [tcp] = service.getMicroservices();
    overTcp = await before((tcp!.unwrap<Server>().address() as AddressInfo).port);
    overDrpc = await after();
  });

  afterAll(async () => {
    await overTcp.close();
    await overDrpc.close();
    await service.close();
  });

  it('answers on both transports', async () => {
    for (const caller of [overTcp, overDrpc]) {
      const answer = caller.get<ClientProxy>('DOORS').send({ cmd: 'open' }, 7);
      expect(await lastValueFrom(answer)).toBe('door 7 is open');
    }
  });

  it.each<[string, unknown, object]>([
    ['text', { status: 'error', message: 'no' }, { code: 2, message: 'no' }],
    ['object', { code: 5, message: 'no door', reason: 'wall' }, { code: 5, message: 'no door' }],
    ['name', { code: 'GONE', message: 'no door' }, { code: 2, message: 'no door' }],
    ['http', { status: 'error', message: 'Internal server error' }, { code: 7, message: 'not you' }],
    ['no such', expect.stringMatching(/^There is no matching message handler/), { code: 12 }],
  ])('has other errors than before: %s', async (pattern, tcp, drpc) => {
    expect(await failure(overTcp, pattern)).toEqual(tcp);
    expect(await failure(overDrpc, pattern)).toMatchObject({ name: 'DrpcError', ...drpc });
  });
});

describe('a service that has moved', () => {
  it('answers over DRPC', async () => {
    const service = await serveOne();
    const caller = await after();
    const answer = caller.get<ClientProxy>('DOORS').send({ cmd: 'open' }, 7);
    expect(await lastValueFrom(answer)).toBe('door 7 is open');
    await caller.close();
    await service.close();
  });
});
