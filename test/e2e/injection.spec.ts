import { Controller, Inject, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  Client,
  ClientProxy,
  ClientProxyFactory,
  ClientsModule,
  MessagePattern,
  Payload,
  type ClientsModuleOptionsFactory,
  type ClientProvider,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { drpcClient, DrpcClient, DrpcServer, DrpcStatus, type DrpcClientOptions } from 'nestjs-drpc';
import { createInMemoryNetwork, type InMemoryNetwork } from 'nestjs-drpc/testing';
import { firstValueFrom } from 'rxjs';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';

@Controller()
class MathController {
  @MessagePattern('sum')
  sum(@Payload() numbers: number[]): number {
    return numbers.reduce((a, b) => a + b, 0);
  }
}

let network: InMemoryNetwork;

beforeEach(async () => {
  network = createInMemoryNetwork();
  const module = await Test.createTestingModule({ controllers: [MathController] }).compile();
  const service = module.createNestMicroservice({
    strategy: new DrpcServer({ listener: network.listener, gracePeriod: 0 }),
  });
  service.useLogger(false);
  onTestFinished(() => service.close());
  await service.listen();
});

/** Where a setting may come from. */
@Injectable()
class Settings {
  readonly dial = network.dial;
}

@Module({ providers: [Settings], exports: [Settings] })
class SettingsModule {}

@Injectable()
class ClientSettings implements ClientsModuleOptionsFactory {
  createClientOptions(): ClientProvider {
    return { customClass: DrpcClient, options: { dial: network.dial } };
  }
}

/** Asks the client that its module gives it. */
@Injectable()
class Asker {
  constructor(@Inject('MATH') readonly math: DrpcClient) {}

  ask(): Promise<number> {
    return firstValueFrom(this.math.send<number>('sum', [1, 2, 3]));
  }
}

const provider = (options: DrpcClientOptions) => ({ name: 'MATH', customClass: DrpcClient, options });

describe('a DrpcClient is injected', () => {
  it.each<[by: string, module: () => ReturnType<typeof ClientsModule.register>]>([
    ['register()', () => ClientsModule.register([provider({ dial: network.dial })])],
    [
      'register() with drpcClient()',
      () => ClientsModule.register([drpcClient({ name: 'MATH', dial: network.dial })]),
    ],
    [
      'register() for all modules',
      () => ClientsModule.register({ clients: [provider({ dial: network.dial })], isGlobal: true }),
    ],
    [
      'registerAsync() with useFactory',
      () =>
        ClientsModule.registerAsync([
          {
            name: 'MATH',
            imports: [SettingsModule],
            inject: [Settings],
            useFactory: ({ dial }: Settings) => drpcClient({ dial }),
          },
        ]),
    ],
    [
      'registerAsync() with a useFactory that takes its time',
      () =>
        ClientsModule.registerAsync([
          {
            name: 'MATH',
            imports: [SettingsModule],
            inject: [Settings],
            useFactory: async ({ dial }: Settings) => ({ customClass: DrpcClient, options: { dial } }),
          },
        ]),
    ],
    [
      'registerAsync() with useClass',
      () => ClientsModule.registerAsync([{ name: 'MATH', useClass: ClientSettings }]),
    ],
    [
      'registerAsync() with useExisting',
      () =>
        ClientsModule.registerAsync([
          { name: 'MATH', useExisting: ClientSettings, extraProviders: [ClientSettings] },
        ]),
    ],
  ])('by ClientsModule.%s, and closed with the application', async (_by, module) => {
    @Module({ imports: [module()], providers: [Asker] })
    class AppModule {}
    const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
    const asker = app.get(Asker);
    expect(await asker.ask()).toBe(6);
    const statuses: DrpcStatus[] = [];
    asker.math.status.subscribe((status) => statuses.push(status));
    await app.close();
    expect(statuses).toEqual([DrpcStatus.Connected, DrpcStatus.Closed]);
  });

  it('by ClientsModule.register() into one application after the other, and closed with each', async () => {
    @Module({
      imports: [ClientsModule.register([drpcClient({ name: 'MATH', dial: () => network.dial() })])],
      providers: [Asker],
    })
    class AppModule {}
    const first = await NestFactory.createApplicationContext(AppModule, { logger: false });
    expect(await first.get(Asker).ask()).toBe(6);
    await first.close();
    const module = await Test.createTestingModule({ imports: [AppModule] }).compile();
    await module.init();
    const asker = module.get(Asker);
    expect(asker.math).toBe(first.get('MATH'));
    expect(await asker.ask()).toBe(6);
    await module.close();
    await expect(asker.ask()).rejects.toThrow('the client is closed');
  });

  it('by a factory provider with ClientProxyFactory', async () => {
    @Module({
      imports: [SettingsModule],
      providers: [
        Asker,
        {
          provide: 'MATH',
          inject: [Settings],
          useFactory: ({ dial }: Settings) => ClientProxyFactory.create(drpcClient({ dial })),
        },
      ],
    })
    class AppModule {}
    const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
    const asker = app.get(Asker);
    onTestFinished(() => asker.math.close());
    expect(asker.math).toBeInstanceOf(DrpcClient);
    expect(asker.math).toBeInstanceOf(ClientProxy);
    expect(await asker.ask()).toBe(6);
    await app.close();
  });

  it('by @Client() into a property, and closed with the application', async () => {
    const options = { customClass: DrpcClient, options: { dial: () => network.dial() } };

    @Controller()
    class GatewayController {
      // Typed for Nest's own transports.
      @Client(options as never)
      readonly math!: DrpcClient;
    }
    const module = await Test.createTestingModule({ controllers: [GatewayController] }).compile();
    // Properties are given when the application is about to listen.
    const gateway = module.createNestMicroservice({
      strategy: new DrpcServer({ listener: createInMemoryNetwork().listener, gracePeriod: 0 }),
    });
    gateway.useLogger(false);
    await gateway.listen();
    const { math } = gateway.get(GatewayController);
    expect(await math.call('sum', [1, 2])).toBe(3);
    const statuses: DrpcStatus[] = [];
    math.status.subscribe((status) => statuses.push(status));
    await gateway.close();
    expect(statuses).toEqual([DrpcStatus.Connected, DrpcStatus.Closed]);
  });

  it('several of a name each, and none is dialled before it is needed', async () => {
    let dials = 0;
    const dial = () => {
      dials++;
      return network.dial();
    };
    @Module({
      imports: [
        ClientsModule.register([drpcClient({ name: 'MATH', dial }), drpcClient({ name: 'OTHER', dial })]),
      ],
      providers: [Asker],
    })
    class AppModule {}
    const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
    onTestFinished(() => app.close());
    expect(dials).toBe(0);
    expect(app.get('MATH')).not.toBe(app.get('OTHER'));
    expect(await Promise.all([app.get(Asker).ask(), app.get(Asker).ask()])).toEqual([6, 6]);
    expect(dials).toBe(1);
  });

  it('not with an option that is wrong', async () => {
    const wrong = { customClass: DrpcClient, options: { timeout: -1 } };
    expect(() => ClientsModule.register([{ name: 'MATH', ...wrong }])).toThrow('option timeout is -1');
    expect(() => ClientProxyFactory.create(wrong)).toThrow('option timeout is -1');
    @Module({
      imports: [ClientsModule.registerAsync([{ name: 'MATH', useFactory: () => wrong }])],
      providers: [Asker],
    })
    class AppModule {}
    const app = NestFactory.createApplicationContext(AppModule, { logger: false, abortOnError: false });
    await expect(app).rejects.toThrow('option timeout is -1');
  });
});
