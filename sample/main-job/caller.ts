/** The client of the main job: a Nest application that calls the service through ClientsModule. */
import 'reflect-metadata';
import { Inject, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientsModule } from '@nestjs/microservices';
import { DrpcClient, DrpcCode, DrpcError } from 'nestjs-drpc';
import { firstValueFrom, lastValueFrom, tap } from 'rxjs';
import { Checksum } from './make-data.js';
import { tell } from './story.js';

const url = process.argv[2]!;

@Injectable()
class Caller {
  constructor(@Inject('STORY') private readonly story: DrpcClient) {}

  async unary(): Promise<boolean> {
    const sum = await firstValueFrom(this.story.send<number>('sum', [1, 2, 3]));
    await tell(`one answer: 1 + 2 + 3 = ${sum}`);
    return sum === 6;
  }

  async rows(): Promise<boolean> {
    const checksum = new Checksum();
    for await (const row of this.story.stream<string>('rows', 'easter.csv')) checksum.add(row);
    await tell(`got  ${checksum.toString()}`);
    return checksum.count === 1417;
  }

  async hundred(): Promise<boolean> {
    const numbers = Array.from({ length: 100 }, (_, i) => i);
    const squares = await Promise.all(numbers.map((n) => this.story.call<number>('square', n)));
    const isRight = squares.every((square, n) => square === n * n);
    await tell(`a hundred calls at once on one connection: ${isRight ? 'all' : 'NOT all'} answered right`);
    return isRight;
  }

  async unsubscribe(): Promise<boolean> {
    const ticks: number[] = [];
    await new Promise<void>((resolve, reject) => {
      const subscription = this.story.send<number>('ticks', {}).subscribe({
        next: (tick) => {
          ticks.push(tick);
          if (ticks.length === 3) resolve(leave());
        },
        error: reject,
      });
      const leave = async (): Promise<void> => {
        await tell(`got the endless ticks ${ticks.join(', ')} and leaves`);
        subscription.unsubscribe();
      };
    });
    return ticks.slice(0, 3).join() === '0,1,2';
  }

  async event(): Promise<boolean> {
    let isAccepted = false;
    const order = { id: 7, item: 'lemon tree' };
    await lastValueFrom(
      this.story.emit('ordered', order).pipe(tap({ complete: () => (isAccepted = true) })),
      {
        defaultValue: undefined,
      },
    );
    await tell('the service accepted the event');
    return isAccepted;
  }

  async error(): Promise<boolean> {
    try {
      await this.story.call('open', 'number 9');
      return false;
    } catch (error) {
      if (!(error instanceof DrpcError)) throw error;
      await tell(`an error with its code: ${error.code} (${DrpcCode[error.code]}), ${error.message}`);
      return error.code === DrpcCode.NotFound;
    }
  }
}

@Module({
  imports: [ClientsModule.register([{ name: 'STORY', customClass: DrpcClient, options: { url } }])],
  providers: [Caller],
})
class CallerModule {}

const app = await NestFactory.createApplicationContext(CallerModule, { logger: ['warn', 'error'] });
const caller = app.get(Caller);
type Step = Exclude<keyof Caller, 'constructor'>;
process.on('message', (message: { step?: Step }) => {
  if (message.step) void run(message.step);
});
process.once('disconnect', () => void app.close());
process.send?.({ ready: true });

async function run(step: Step): Promise<void> {
  let isRight = false;
  try {
    isRight = await caller[step]();
  } catch (error) {
    await tell(`step ${step} failed: ${String(error)}`);
  }
  process.send?.({ step, isRight });
}
