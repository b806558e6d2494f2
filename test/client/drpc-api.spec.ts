import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { DrpcClient, DrpcContext, DrpcRecord, DrpcStream } from 'nestjs-drpc';
import { Observable, of, reduce } from 'rxjs';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { Service } from './helpers/service.js';

interface Order {
  id: number;
}

@Controller()
class MathController {
  @MessagePattern('sum')
  sum(@Payload() numbers: number[], @Ctx() _context: DrpcContext): number {
    return numbers.reduce((a, b) => a + b, 0);
  }

  @MessagePattern('total')
  total(@DrpcStream() chunks: Observable<number>): Observable<number> {
    return chunks.pipe(reduce((a, b) => a + b, 0));
  }

  @MessagePattern('rows')
  async *rows(@Payload() query: { table: string }): AsyncGenerator<string> {
    yield query.table;
  }

  @MessagePattern('now')
  async now(): Promise<string> {
    return 'now';
  }

  @EventPattern('ordered')
  ordered(@Payload() _order: Order): void {}
}

/** Signatures of handlers, written out or taken from a controller. */
interface MathApi {
  sum: MathController['sum'];
  total: MathController['total'];
  rows: MathController['rows'];
  now(): Promise<string>;
  ordered(order: Order): void;
  find(id?: number): Promise<Order | undefined>;
  7(text: string): Observable<boolean>;
  web(): ReadableStream<number>;
}

/** Never called: its body is checked by the compiler alone. */
function typed(client: DrpcClient<MathApi>): void {
  expectTypeOf(client.send('sum', [1, 2])).toEqualTypeOf<Observable<number>>();
  expectTypeOf(client.call('sum', [1, 2])).toEqualTypeOf<Promise<number | undefined>>();
  expectTypeOf(client.call('sum', [1], { timeout: 5 })).toEqualTypeOf<Promise<number | undefined>>();
  expectTypeOf(client.stream('rows', { table: 'a' })).toEqualTypeOf<AsyncIterable<string>>();
  expectTypeOf(client.send('total', of(1))).toEqualTypeOf<Observable<number>>();
  expectTypeOf(client.send('total', client.stream('web'))).toEqualTypeOf<Observable<number>>();
  expectTypeOf(client.call('now')).toEqualTypeOf<Promise<string | undefined>>();
  expectTypeOf(client.call('now', undefined, { timeout: 5 })).toEqualTypeOf<Promise<string | undefined>>();
  expectTypeOf(client.call('find')).toEqualTypeOf<Promise<Order | undefined>>();
  expectTypeOf(client.call('find', 5)).toEqualTypeOf<Promise<Order | undefined>>();
  expectTypeOf(client.send(7, 'text')).toEqualTypeOf<Observable<boolean>>();
  expectTypeOf(client.emit('ordered', { id: 1 })).toEqualTypeOf<Observable<undefined>>();
  expectTypeOf(client.send('sum', new DrpcRecord([1], { timeout: 5 }))).toEqualTypeOf<Observable<number>>();

  // @ts-expect-error no such pattern
  client.send('product', [1, 2]);
  // @ts-expect-error numbers, not text
  client.send('sum', ['1']);
  // @ts-expect-error a stream, not a number
  client.send('total', 1);
  // @ts-expect-error a stream of numbers, not of text
  client.send('total', of('1'));
  // @ts-expect-error the request may not be left out
  void client.call('sum');
  // @ts-expect-error a field is missing
  client.emit('ordered', {});
  // @ts-expect-error a record of numbers, not of text
  client.send('sum', new DrpcRecord(['1']));
  // @ts-expect-error no such option
  void client.call('sum', [1], { timeuot: 5 });
  // @ts-expect-error not in the map
  client.stream({ cmd: 'sum' });
}

function untyped(client: DrpcClient): void {
  expectTypeOf(client.send('sum', [1])).toEqualTypeOf<Observable<unknown>>();
  expectTypeOf(client.send<number>('sum', [1])).toEqualTypeOf<Observable<number>>();
  expectTypeOf(client.send<number, number[]>({ cmd: 'sum' }, [1])).toEqualTypeOf<Observable<number>>();
  expectTypeOf(client.call<number>('sum', [1])).toEqualTypeOf<Promise<number | undefined>>();
  expectTypeOf(client.call('sum')).toEqualTypeOf<Promise<unknown>>();
  expectTypeOf(client.stream<string>(7)).toEqualTypeOf<AsyncIterable<string>>();
  expectTypeOf(client.emit('ordered', 1)).toEqualTypeOf<Observable<undefined>>();
  // @ts-expect-error symbols name nothing
  client.send(Symbol('x'), 1);
}

describe('A DrpcClient with a map of patterns', () => {
  it('knows payloads and answers', async () => {
    expect([typed, untyped]).toHaveLength(2);
    const client = (await Service.start([MathController])).client<MathApi>();
    const sum = await client.call('sum', [1, 2, 3]);
    expectTypeOf(sum).toEqualTypeOf<number | undefined>();
    expect(sum).toBe(6);
    const rows: string[] = [];
    for await (const row of client.stream('rows', { table: 'users' })) rows.push(row);
    expect(rows).toEqual(['users']);
    expect(await client.call('now')).toBe('now');
    expect(await client.call('total', of(1, 2))).toBe(3);
  });
});
