/** The service of the main job: a Nest microservice on DRPC. */
import 'reflect-metadata';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { DrpcCode, DrpcException, DrpcServer } from 'nestjs-drpc';
import { finalize, interval, type Observable } from 'rxjs';
import { Checksum } from './make-data.js';
import { tell } from './story.js';

const root = dirname(createRequire(import.meta.url).resolve('nestjs-drpc/package.json'));

@Controller()
class StoryController {
  @MessagePattern('sum')
  async sum(@Payload() numbers: number[]): Promise<number> {
    await tell(`sum(${numbers.join(', ')})`);
    return numbers.reduce((a, b) => a + b, 0);
  }

  @MessagePattern('square')
  square(@Payload() number: number): number {
    return number * number;
  }

  /** Pulled by the client: a row is read when there is room for it. */
  @MessagePattern('rows')
  async *rows(@Payload() file: string): AsyncGenerator<string> {
    const text = await readFile(join(root, 'sample', 'main-job', file), 'utf8');
    const checksum = new Checksum();
    for (const row of text.trimEnd().split('\n').slice(1)) {
      checksum.add(row);
      yield row;
    }
    await tell(`sent ${checksum.toString()}`);
  }

  /** Endless: stops because the client unsubscribes. */
  @MessagePattern('ticks')
  ticks(): Observable<number> {
    return interval(1).pipe(finalize(() => void tell('the endless Observable was torn down')));
  }

  @EventPattern('ordered')
  async onOrder(@Payload() order: { id: number; item: string }): Promise<void> {
    await tell(`event: order ${order.id}, one ${order.item}`);
  }

  @MessagePattern('open')
  open(@Payload() door: string): never {
    throw new DrpcException(DrpcCode.NotFound, `there is no door ${door}`);
  }
}

@Module({ controllers: [StoryController] })
class ServiceModule {}

const app = await NestFactory.createMicroservice<MicroserviceOptions>(ServiceModule, {
  strategy: new DrpcServer({ url: 'drpc://127.0.0.1:0' }),
  logger: ['warn', 'error'],
});
await app.listen();
const { port } = app.unwrap<{ address(): { port: number } }>().address();
await tell(`listening on drpc://127.0.0.1:${port}`);
process.send?.({ port });
process.once('disconnect', () => void app.close());
