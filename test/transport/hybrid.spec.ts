import {
  Controller,
  Logger,
  Module,
  type CanActivate,
  type INestApplication,
  type Type,
} from '@nestjs/common';
import { APP_GUARD, NestFactory } from '@nestjs/core';
import {
  EventPattern,
  MessagePattern,
  Payload,
  Transport,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import { connect, type AddressInfo } from 'node:net';
import {
  DRPC_TRANSPORT,
  DrpcCode,
  DrpcError,
  DrpcServer,
  DrpcStream,
  type DrpcServerOptions,
} from 'nestjs-drpc';
import type { Observable } from 'rxjs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Caller } from './helpers/caller.js';

@Controller()
class MixedController {
  @MessagePattern('pinned', DRPC_TRANSPORT)
  pinned(): string {
    return 'pinned';
  }

  @MessagePattern('pinned with extras', DRPC_TRANSPORT, { encoding: 'json' })
  pinnedWithExtras(): string {
    return 'pinned with extras';
  }

  @MessagePattern('open')
  open(): string {
    return 'open';
  }

  @MessagePattern('for TCP', Transport.TCP)
  forTcp(): string {
    return 'for TCP';
  }

  @MessagePattern('pinned stream', DRPC_TRANSPORT)
  pinnedStream(@DrpcStream() values: Observable<unknown>): Observable<unknown> {
    return values;
  }

  @EventPattern('pinned event', DRPC_TRANSPORT)
  pinnedEvent(@Payload() _data: unknown): void {}

  @EventPattern('open event')
  openEvent(@Payload() _data: unknown): void {}
}

@Controller()
class DerivedController extends MixedController {}

@Module({ controllers: [MixedController] })
class AppModule {}

async function http(module: Type = AppModule): Promise<INestApplication> {
  const app = await NestFactory.create(module, { logger: false });
  onTestFinished(() => app.close());
  return app;
}

function drpc(options: DrpcServerOptions = {}): DrpcServer {
  return new DrpcServer({ port: 0, gracePeriod: 0, ...options });
}

function callerOf(server: DrpcServer): Caller {
  const caller = new Caller(connect((server.address() as AddressInfo).port, '127.0.0.1'));
  onTestFinished(() => caller.close());
  return caller;
}

const UNKNOWN = expect.objectContaining({ code: 12 });

async function outcomes(caller: Caller, ...rpcs: string[]): Promise<unknown[]> {
  return Promise.all(rpcs.map((rpc) => caller.call(rpc, 1).catch((error: unknown) => error)));
}

describe('a hybrid application', () => {
  it('serves HTTP and DRPC at once, and shuts both down', async () => {
    const app = await http();
    const server = drpc();
    app.connectMicroservice<MicroserviceOptions>({ strategy: server });
    await app.init();
    await app.startAllMicroservices();
    await app.listen(0, '127.0.0.1');
    const { port } = app.getHttpServer().address() as AddressInfo;
    expect((await fetch(`http://127.0.0.1:${port}/nothing`)).status).toBe(404);
    expect(await callerOf(server).call('open', 1)).toBe('open');
    await app.close();
    expect(server.address()).toBeNull();
  });

  it('reaches handlers that are pinned to it or to nothing, and no others', async () => {
    const app = await http();
    const server = drpc();
    app.connectMicroservice<MicroserviceOptions>({ strategy: server });
    await app.init();
    await app.startAllMicroservices();
    expect(await outcomes(callerOf(server), 'pinned', 'pinned with extras', 'open', 'for TCP')).toEqual([
      ...['pinned', 'pinned with extras', 'open'],
      UNKNOWN,
    ]);
  });

  it('leaves out what is not pinned with strictTransport', async () => {
    const app = await http();
    const server = drpc({ strictTransport: true });
    app.connectMicroservice<MicroserviceOptions>({ strategy: server });
    await app.init();
    await app.startAllMicroservices();
    const caller = callerOf(server);
    expect(
      await outcomes(caller, 'pinned', 'pinned with extras', 'pinned event', 'open', 'open event', 'for TCP'),
    ).toEqual(['pinned', 'pinned with extras', undefined, UNKNOWN, UNKNOWN, UNKNOWN]);
    expect(await caller.all('pinned stream', 1, 2)).toEqual([1, 2]);
  });

  it('knows what is pinned in a controller that inherits its handlers', async () => {
    @Module({ controllers: [DerivedController] })
    class DerivedModule {}
    const app = await http(DerivedModule);
    const server = drpc({ strictTransport: true });
    app.connectMicroservice<MicroserviceOptions>({ strategy: server });
    await app.init();
    await app.startAllMicroservices();
    expect(await outcomes(callerOf(server), 'pinned', 'open')).toEqual(['pinned', UNKNOWN]);
  });

  it('leaves out what is not pinned in an application of DRPC alone, too', async () => {
    const server = drpc({ strictTransport: true });
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(AppModule, {
      strategy: server,
      logger: false,
    });
    onTestFinished(() => app.close());
    await app.listen();
    expect(await outcomes(callerOf(server), 'pinned', 'open')).toEqual(['pinned', UNKNOWN]);
  });

  it('names what is reachable and not pinned when it starts', async () => {
    const lines = vi.spyOn(Logger.prototype, 'log');
    onTestFinished(() => lines.mockRestore());
    const about = () =>
      lines.mock.calls.map(([line]) => String(line)).filter((line) => line.includes('not pinned'));
    const app = await http();
    const server = drpc();
    app.connectMicroservice<MicroserviceOptions>({ strategy: server });
    app.connectMicroservice<MicroserviceOptions>({ strategy: drpc({ strictTransport: true }) });
    await app.init();
    await app.startAllMicroservices();
    expect(about()).toEqual([
      'handlers that are not pinned to DRPC_TRANSPORT are reachable over DRPC: "open", "open event"',
    ]);
    const alone = await NestFactory.createMicroservice<MicroserviceOptions>(AppModule, {
      strategy: drpc(),
      logger: false,
    });
    onTestFinished(() => alone.close());
    await alone.listen();
    expect(about()).toHaveLength(1);
  });

  it('serves DRPC on several ports, and beside another transport', async () => {
    const app = await http();
    const servers = [drpc(), drpc()];
    for (const strategy of servers) app.connectMicroservice<MicroserviceOptions>({ strategy });
    app.connectMicroservice<MicroserviceOptions>({ transport: Transport.TCP, options: { port: 0 } });
    await app.init();
    await app.startAllMicroservices();
    for (const server of servers) expect(await callerOf(server).call('pinned', 1)).toBe('pinned');
  });

  it.each([
    [true, 'PermissionDenied'],
    [false, 'open'],
  ])(
    'has the global guards of the HTTP application with inheritAppConfig %s: %s',
    async (inheritAppConfig, outcome) => {
      const app = await http();
      app.useGlobalGuards({ canActivate: () => false } satisfies CanActivate);
      const server = drpc();
      app.connectMicroservice<MicroserviceOptions>({ strategy: server }, { inheritAppConfig });
      await app.init();
      await app.startAllMicroservices();
      const call = callerOf(server).call('open', 1);
      expect(await call.catch((error: DrpcError) => DrpcCode[error.code])).toBe(outcome);
    },
  );

  it('has guards that are provided for the whole application', async () => {
    @Module({
      controllers: [MixedController],
      providers: [{ provide: APP_GUARD, useValue: { canActivate: () => false } }],
    })
    class GuardedModule {}
    const app = await http(GuardedModule);
    const server = drpc();
    app.connectMicroservice<MicroserviceOptions>({ strategy: server }, { inheritAppConfig: true });
    await app.init();
    await app.startAllMicroservices();
    await expect(callerOf(server).call('open', 1)).rejects.toMatchObject({ code: 7 });
  });

  it('lets a microservice be configured after it was connected with deferInitialization', async () => {
    const app = await http();
    const server = drpc();
    const microservice = app.connectMicroservice<MicroserviceOptions>(
      { strategy: server },
      { deferInitialization: true },
    );
    microservice.useGlobalGuards({ canActivate: () => false } satisfies CanActivate);
    await app.init();
    await app.startAllMicroservices();
    await expect(callerOf(server).call('open', 1)).rejects.toMatchObject({ code: 7 });
  });

  it('rejects startAllMicroservices() when the port is taken', async () => {
    const first = drpc();
    const app = await http();
    app.connectMicroservice<MicroserviceOptions>({ strategy: first });
    await app.startAllMicroservices();
    const other = await http();
    const { port } = first.address() as AddressInfo;
    other.connectMicroservice<MicroserviceOptions>({ strategy: drpc({ port }) });
    await expect(other.startAllMicroservices()).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });
});

describe('strictTransport', () => {
  it('refuses to guess where it is not told which handlers are pinned', () => {
    const server = drpc({ strictTransport: true });
    expect(() => server.addHandler('x', async () => 1)).toThrow(
      'strictTransport: this version of Nest does not tell which handlers are pinned',
    );
  });
});
