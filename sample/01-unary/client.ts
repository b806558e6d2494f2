import 'reflect-metadata';
import { Inject, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientsModule } from '@nestjs/microservices';
import { DrpcClient } from 'nestjs-drpc';
import { lastValueFrom } from 'rxjs';

@Injectable()
class Calculator {
  constructor(@Inject('MATH') private readonly math: DrpcClient) {}

  async run(): Promise<void> {
    // A Promise of the one answer, or, as with every ClientProxy, a cold Observable.
    console.log('call:', await this.math.call('sum', [1, 2, 3]));
    console.log('send:', await lastValueFrom(this.math.send('sum', [4, 5, 6])));
    // Completes when the service has accepted the event.
    await lastValueFrom(this.math.emit('ordered', { id: 7 }), { defaultValue: undefined });
  }
}

@Module({
  imports: [
    ClientsModule.register([
      { name: 'MATH', customClass: DrpcClient, options: { url: 'drpc://127.0.0.1:4001' } },
    ]),
  ],
  providers: [Calculator],
})
class CalculatorModule {}

const app = await NestFactory.createApplicationContext(CalculatorModule, { logger: false });
await app.get(Calculator).run();
await app.close();
