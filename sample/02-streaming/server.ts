import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { DrpcServer, DrpcStream } from 'nestjs-drpc';
import { map, reduce, type Observable } from 'rxjs';

@Controller()
class NumbersController {
  /** Server stream: one message for each value; the generator is resumed at the pace of the client. */
  @MessagePattern('count')
  async *count(@Payload() to: number): AsyncGenerator<number> {
    for (let i = 1; i <= to; i++) yield i;
    console.log(`counted to ${to}`);
  }

  /** Client stream: the messages of the client as an Observable. */
  @MessagePattern('total')
  total(@DrpcStream() numbers: Observable<number>): Observable<number> {
    return numbers.pipe(reduce((a, b) => a + b));
  }

  /** Bidirectional: both at once. */
  @MessagePattern('double')
  double(@DrpcStream() numbers: Observable<number>): Observable<number> {
    return numbers.pipe(map((n) => n * 2));
  }

  /** The messages of the client as an AsyncIterable: the loop's pace reaches the client. */
  @MessagePattern('words')
  async words(@DrpcStream({ as: 'iterable' }) words: AsyncIterable<string>): Promise<string> {
    let text = '';
    for await (const word of words) text += `${word} `;
    return text.trimEnd();
  }
}

@Module({ controllers: [NumbersController] })
class NumbersModule {}

const app = await NestFactory.createMicroservice<MicroserviceOptions>(NumbersModule, {
  strategy: new DrpcServer({ url: 'drpc://127.0.0.1:4002' }),
});
app.enableShutdownHooks();
await app.listen();
console.log('listening');
