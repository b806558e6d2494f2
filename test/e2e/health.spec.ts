import type { AddressInfo } from 'node:net';
import { Controller, Get, Inject, Module, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientsModule, MessagePattern, type MicroserviceOptions } from '@nestjs/microservices';
import {
  HealthCheck,
  HealthCheckService,
  MicroserviceHealthIndicator,
  TerminusModule,
  type HealthCheckResult,
} from '@nestjs/terminus';
import { drpcClient, DrpcClient, DrpcHealthIndicator, DrpcServer } from 'nestjs-drpc';
import { describe, expect, it, onTestFinished } from 'vitest';

@Controller()
class WorkController {
  @MessagePattern('work')
  work(): string {
    return 'done';
  }
}

@Module({ controllers: [WorkController] })
class WorkModule {}

/** A service on a free port, and an HTTP application that tells its health. */
async function start(): Promise<{ server: DrpcServer; health: (path: string) => Promise<HealthOfHttp> }> {
  const server = new DrpcServer({ port: 0, gracePeriod: 0 });
  const service = await NestFactory.createMicroservice<MicroserviceOptions>(WorkModule, {
    strategy: server,
    logger: false,
  });
  onTestFinished(() => service.close());
  await service.listen();
  const { port } = server.address() as AddressInfo;

  @Controller()
  class HealthController {
    constructor(
      @Inject(HealthCheckService) private readonly health: HealthCheckService,
      @Inject(MicroserviceHealthIndicator) private readonly microservice: MicroserviceHealthIndicator,
      @Inject(DrpcHealthIndicator) private readonly drpc: DrpcHealthIndicator,
      @Inject('WORK') private readonly work: DrpcClient,
    ) {}

    @Get('terminus')
    @HealthCheck()
    terminus(): Promise<HealthCheckResult> {
      return this.health.check([
        () => this.microservice.pingCheck('work', { customClass: DrpcClient, options: { port } } as never),
      ]);
    }

    @Get('ping')
    @HealthCheck()
    ping(): Promise<HealthCheckResult> {
      return this.health.check([() => this.drpc.pingCheck('work', this.work)]);
    }

    @Get('call')
    @HealthCheck()
    call(): Promise<HealthCheckResult> {
      return this.health.check([
        () => this.drpc.callCheck('work', this.work, 'work'),
        () => this.drpc.callCheck('rest', this.work, 'rest'),
      ]);
    }

    @Get('alone')
    alone(): Promise<object> {
      return this.drpc.pingCheck('work', this.work);
    }
  }

  @Module({
    imports: [
      TerminusModule.forRoot({ logger: false }),
      ClientsModule.register([drpcClient({ name: 'WORK', port })]),
    ],
    controllers: [HealthController],
    providers: [DrpcHealthIndicator],
  })
  class GatewayModule {}
  const gateway: INestApplication = await NestFactory.create(GatewayModule, { logger: false });
  onTestFinished(() => gateway.close());
  await gateway.listen(0, '127.0.0.1');
  const { port: httpPort } = gateway.getHttpServer().address() as AddressInfo;
  return {
    server,
    health: async (path) => {
      const response = await fetch(`http://127.0.0.1:${httpPort}/${path}`);
      return { status: response.status, body: await response.json() };
    },
  };
}

interface HealthOfHttp {
  status: number;
  body: unknown;
}

const UP = { status: 'up', responseTime: expect.any(Number) as number };

describe('the health of a service, told by @nestjs/terminus', () => {
  it.each(['terminus', 'ping'])('is good while it is served: %s', async (path) => {
    const { health } = await start();
    expect(await health(path)).toEqual({
      status: 200,
      body: { status: 'ok', info: { work: UP }, error: {}, details: { work: UP } },
    });
  });

  it.each(['terminus', 'ping'])('is bad when it has closed: %s', async (path) => {
    const { server, health } = await start();
    expect(await health(path)).toMatchObject({ status: 200 });
    await server.close();
    expect(await health(path)).toMatchObject({
      status: 503,
      body: {
        status: 'error',
        error: { work: { status: 'down', message: expect.stringMatching(/127\.0\.0\.1:\d+/) as string } },
      },
    });
  });

  it('is that of the calls of an application', async () => {
    const { health } = await start();
    expect(await health('call')).toMatchObject({
      status: 503,
      body: { status: 'error', info: { work: UP }, error: { rest: { status: 'down', code: 12 } } },
    });
  });

  it('is told without terminus as well', async () => {
    const { health } = await start();
    expect(await health('alone')).toEqual({ status: 200, body: { work: UP } });
  });
});
