import { Controller, Inject, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientsModule, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { drpcClient, DrpcClient, DrpcRecord, DrpcServer, DrpcStream } from 'nestjs-drpc';
import { createInMemoryNetwork } from 'nestjs-drpc/testing';
import { EmptyError, firstValueFrom, from, lastValueFrom, Observable, of, reduce, toArray } from 'rxjs';
import { beforeEach, describe, expect, expectTypeOf, it, onTestFinished } from 'vitest';

interface Order {
  id: string;
}

@Controller()
class MathController {
  @MessagePattern('sum')
  sum(@Payload() numbers: number[]): number {
    return numbers.reduce((a, b) => a + b, 0);
  }

  @MessagePattern('ticks')
  ticks(): Observable<number> {
    return of(1, 2);
  }

  @MessagePattern('rows')
  async *rows(@Payload() from: number): AsyncGenerator<{ row: number }> {
    yield { row: from };
    yield { row: from + 1 };
  }

  @MessagePattern('total')
  total(@DrpcStream() numbers: Observable<number>): Observable<number> {
    return numbers.pipe(reduce((a, b) => a + b, 0));
  }

  @MessagePattern('later')
  async later(@Payload() order: Order): Promise<Observable<string>> {
    return from(order.id);
  }

  @EventPattern<string>('ordered')
  onOrder(_order: Order): void {
    // Taken.
  }
}

/** Written out, and taken from the controller. */
interface MathApi {
  sum(numbers: number[]): number;
  ticks(): Observable<number>;
  rows: MathController['rows'];
  total: MathController['total'];
  later: MathController['later'];
  ordered(order: Order): void;
}

@Injectable()
class Asker {
  constructor(@Inject('MATH') readonly math: DrpcClient<MathApi>) {}
}

let math: DrpcClient<MathApi>;

beforeEach(async () => {
  const network = createInMemoryNetwork();
  @Module({ controllers: [MathController] })
  class ServiceModule {}
  const service = await NestFactory.createMicroservice(ServiceModule, {
    strategy: new DrpcServer({ listener: network.listener, gracePeriod: 0 }),
    logger: false,
  });
  onTestFinished(() => service.close());
  await service.listen();
  @Module({
    imports: [ClientsModule.register([drpcClient({ name: 'MATH', dial: network.dial })])],
    providers: [Asker],
  })
  class CallerModule {}
  const caller = await NestFactory.createApplicationContext(CallerModule, { logger: false });
  onTestFinished(() => caller.close());
  ({ math } = caller.get(Asker));
});

describe('DrpcClient with a map of patterns', () => {
  it('knows payloads and answers of call()', async () => {
    const sum = await math.call('sum', [1, 2]);
    expectTypeOf(sum).toEqualTypeOf<number | undefined>();
    expect(sum).toBe(3);
    const total = await math.call('total', of(1, 2, 3));
    expectTypeOf(total).toEqualTypeOf<number | undefined>();
    expect(total).toBe(6);
    // @ts-expect-error texts are no numbers
    void math.call('sum', ['1']).catch(() => undefined);
    // @ts-expect-error nobody serves it
    await expect(math.call('some')).rejects.toMatchObject({ code: 12 });
  });

  it('tells an end before the first answer by undefined, or by a rejection', async () => {
    const letter = await math.call('later', { id: '' });
    expectTypeOf(letter).toEqualTypeOf<string | undefined>();
    expect(letter).toBeUndefined();
    const first = firstValueFrom(math.send('later', { id: '' }));
    expectTypeOf(first).toEqualTypeOf<Promise<string>>();
    await expect(first).rejects.toBeInstanceOf(EmptyError);
  });

  it('knows them of stream()', async () => {
    const rows: number[] = [];
    for await (const { row } of math.stream('rows', 5)) rows.push(row);
    expect(rows).toEqual([5, 6]);
    expectTypeOf(math.stream('ticks')).toEqualTypeOf<AsyncIterable<number>>();
    // @ts-expect-error a number it is
    void math.stream('rows', 'five');
  });

  it('knows them of send() and emit()', async () => {
    const ticks = math.send('ticks', {});
    expectTypeOf(ticks).toEqualTypeOf<Observable<number>>();
    expect(await lastValueFrom(ticks.pipe(toArray()))).toEqual([1, 2]);
    const letters = math.send('later', { id: 'ab' });
    expectTypeOf(letters).toEqualTypeOf<Observable<string>>();
    expect(await lastValueFrom(letters.pipe(toArray()))).toEqual(['a', 'b']);
    expect(await firstValueFrom(math.emit('ordered', { id: 'a' }))).toBeUndefined();
    // @ts-expect-error an order has an id
    void math.send('later', { name: 'a' });
  });

  it('takes a record in the place of a payload', async () => {
    expect(await firstValueFrom(math.send('sum', new DrpcRecord([1, 2], { timeout: 1000 })))).toBe(3);
    // @ts-expect-error texts are no numbers, in a record either
    void math.send('sum', new DrpcRecord(['1']));
  });
});
