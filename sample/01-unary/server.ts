import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { DrpcServer } from 'nestjs-drpc';

@Controller()
class MathController {
  @MessagePattern('sum')
  sum(@Payload() numbers: number[]): number {
    return numbers.reduce((a, b) => a + b, 0);
  }

  @EventPattern('ordered')
  onOrder(@Payload() order: { id: number }): void {
    console.log(`order ${order.id}`);
  }
}

@Module({ controllers: [MathController] })
class MathModule {}

const app = await NestFactory.createMicroservice<MicroserviceOptions>(MathModule, {
  strategy: new DrpcServer({ url: 'drpc://127.0.0.1:4001' }),
});
app.enableShutdownHooks();
await app.listen();
console.log('listening');
