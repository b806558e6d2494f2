import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, type MicroserviceOptions } from '@nestjs/microservices';
import { DRPC_TRANSPORT, DrpcServer } from 'nestjs-drpc';

@Controller()
class ReportController {
  @Get('health')
  health(): string {
    return 'well';
  }

  /** Pinned: no other transport of this application serves it. */
  @MessagePattern('report', DRPC_TRANSPORT)
  async report(): Promise<string> {
    console.log('report: begun');
    await sleep(300);
    return 'a report';
  }

  @MessagePattern('stop', DRPC_TRANSPORT)
  stop(): void {
    // Calls in flight may finish, for up to gracePeriod.
    void app.close().then(() => console.log('closed'));
  }
}

@Module({ controllers: [ReportController] })
class ReportModule {}

const app = await NestFactory.create(ReportModule, { logger: ['warn', 'error'] });
app.connectMicroservice<MicroserviceOptions>({
  strategy: new DrpcServer({ url: 'drpc://127.0.0.1:4007', gracePeriod: 5000 }),
});
// init() before startAllMicroservices(): otherwise calls could arrive before onModuleInit has run.
app.enableShutdownHooks();
await app.init();
await app.startAllMicroservices();
await app.listen(4107, '127.0.0.1');
console.log('listening');
