import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, MessagePattern, type MicroserviceOptions } from '@nestjs/microservices';
import { DrpcServer, type DrpcContext } from 'nestjs-drpc';
import { finalize, interval, type Observable } from 'rxjs';

@Controller()
class PatientController {
  /** An Observable is unsubscribed. */
  @MessagePattern('ticks')
  ticks(): Observable<number> {
    return interval(1).pipe(finalize(() => console.log('ticks: unsubscribed')));
  }

  /** A generator's `return()` is called, so its `finally` runs. */
  @MessagePattern('numbers')
  async *numbers(): AsyncGenerator<number> {
    try {
      for (let i = 0; ; i++) yield i;
    } finally {
      console.log('numbers: returned');
    }
  }

  /** A Promise can not be stopped from outside: hand the signal on to whatever it waits for. */
  @MessagePattern('report')
  async report(@Ctx() context: DrpcContext): Promise<string> {
    const { signal } = context;
    try {
      return await sleep(60_000, 'a long report', { signal });
    } catch {
      console.log('report: stopped');
      throw signal.reason;
    }
  }
}

@Module({ controllers: [PatientController] })
class PatientModule {}

const app = await NestFactory.createMicroservice<MicroserviceOptions>(PatientModule, {
  strategy: new DrpcServer({ url: 'drpc://127.0.0.1:4003' }),
});
app.enableShutdownHooks();
await app.listen();
console.log('listening');
