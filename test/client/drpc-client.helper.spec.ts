import { Controller, Inject, Injectable, Module } from '@nestjs/common';
import {
  Client,
  ClientProxy,
  ClientProxyFactory,
  ClientsModule,
  MessagePattern,
  Payload,
} from '@nestjs/microservices';
import { MicroserviceHealthIndicator, TerminusModule } from '@nestjs/terminus';
import { Test } from '@nestjs/testing';
import { DrpcClient, drpcClient, DrpcStatus, type DrpcClientOptions } from 'nestjs-drpc';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Service } from './helpers/service.js';

@Controller()
class EchoController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }
}

/** A user of the client that was injected as `MATH`. */
@Injectable()
class Caller {
  readonly math: DrpcClient;

  constructor(@Inject('MATH') math: DrpcClient) {
    this.math = math;
  }
}

async function application(...imports: unknown[]) {
  const module = await Test.createTestingModule({ imports: imports as [], providers: [Caller] }).compile();
  const app = module.createNestApplication({ logger: false });
  await app.init();
  onTestFinished(() => app.close());
  return app;
}

describe('drpcClient', () => {
  it('is an entry for ClientsModule.register', async () => {
    const { port } = await Service.start([EchoController]);
    const app = await application(ClientsModule.register([drpcClient({ name: 'MATH', port })]));
    const { math } = app.get(Caller);
    expect(math).toBeInstanceOf(DrpcClient);
    expect(await math.call('echo', 1)).toBe(1);
  });

  it('is what a factory of ClientsModule.registerAsync gives', async () => {
    const { way } = await Service.start([EchoController]);
    const app = await application(
      ClientsModule.registerAsync([{ name: 'MATH', useFactory: async () => drpcClient(way) }]),
    );
    expect(await app.get(Caller).math.call('echo', 1)).toBe(1);
  });

  it('may be given nothing, for a service at the default address', () => {
    expect(drpcClient()).toEqual({ name: undefined, customClass: DrpcClient, options: {} });
  });

  it('is what ClientProxyFactory.create takes', async () => {
    const { way } = await Service.start([EchoController]);
    const client = ClientProxyFactory.create(drpcClient(way));
    onTestFinished(() => client.close() as Promise<void>);
    expect(client).toBeInstanceOf(DrpcClient);
    expect(await firstValueFrom(client.send('echo', 1))).toBe(1);
  });

  it('keeps the name apart from the options', () => {
    const name = Symbol('name');
    expect(drpcClient({ name, port: 5, url: undefined })).toStrictEqual({
      name,
      customClass: DrpcClient,
      options: { port: 5 },
    });
    expect(drpcClient({ port: 5 }).name).toBeUndefined();
  });
});

describe('A DrpcClient in a Nest application', () => {
  it('is made by a plain entry of ClientsModule', async () => {
    const { port } = await Service.start([EchoController]);
    const options: DrpcClientOptions = { port };
    const app = await application(
      ClientsModule.register([{ name: 'MATH', customClass: DrpcClient, options }]),
    );
    expect(await app.get(Caller).math.call('echo', 1)).toBe(1);
  });

  it('is closed when the application is', async () => {
    const { port } = await Service.start([EchoController]);
    const app = await application(ClientsModule.register([drpcClient({ name: 'MATH', port })]));
    const { math } = app.get(Caller);
    await math.connect();
    await app.close();
    expect(await firstValueFrom(math.status)).toBe(DrpcStatus.Closed);
  });

  it('is assigned to a property with @Client()', async () => {
    const service = await Service.start([EchoController]);
    const options = { port: 0 };

    @Controller()
    class WithProperty {
      @Client({ customClass: DrpcClient, options } as never)
      readonly math!: ClientProxy;
    }

    @Module({ controllers: [WithProperty] })
    class PropertyModule {}

    options.port = service.port;
    const module = await Test.createTestingModule({ imports: [PropertyModule] }).compile();
    const app = module.createNestApplication({ logger: false });
    app.connectMicroservice({ strategy: (await Service.start([EchoController])).server });
    onTestFinished(() => app.close());
    await app.init();
    const { math } = app.get(WithProperty);
    expect(math).toBeInstanceOf(DrpcClient);
    onTestFinished(() => math.close() as Promise<void>);
    expect(await firstValueFrom(math.send('echo', 1))).toBe(1);
  });

  it('passes the microservice check of @nestjs/terminus, and fails it without a server', async () => {
    const service = await Service.start([EchoController]);
    const app = await application(
      TerminusModule,
      ClientsModule.register([drpcClient({ name: 'MATH', port: service.port })]),
    );
    const health = await app.resolve(MicroserviceHealthIndicator);
    const check = async (options: DrpcClientOptions): Promise<unknown> =>
      await health.pingCheck('math', { customClass: DrpcClient, options } as never);
    expect(await check({ port: service.port })).toMatchObject({ math: { status: 'up' } });
    const { port } = service;
    await service.app.close();
    expect(await check({ port }).catch((error: unknown) => error)).toMatchObject({
      math: { status: 'down' },
    });
  });
});
