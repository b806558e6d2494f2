import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { from, Observable, reduce } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { DrpcContext, DrpcException, DrpcStream } from 'nestjs-drpc';
import { TestService } from './test-service.js';

const seen: unknown[] = [];

@Controller()
class MathController {
  @MessagePattern('sum')
  sum(@Payload() numbers: number[]): number {
    return numbers.reduce((a, b) => a + b, 0);
  }

  @MessagePattern('values')
  values(@Payload() numbers: number[]): Observable<number> {
    return from(numbers);
  }

  @MessagePattern('generated')
  async *generated(@Payload() numbers: number[]): AsyncGenerator<number> {
    yield* numbers;
  }

  @MessagePattern('total')
  total(@DrpcStream() chunks: Observable<number>): Observable<number> {
    return chunks.pipe(reduce((a, b) => a + b));
  }

  @MessagePattern('fail')
  fail(): void {
    throw DrpcException.notFound('nothing here');
  }

  @MessagePattern('bug')
  bug(): void {
    throw new Error('secret');
  }

  @MessagePattern('who')
  who(@Ctx() ctx: DrpcContext): unknown {
    return { pattern: ctx.pattern, metadata: ctx.metadata, address: ctx.peer.address };
  }

  @EventPattern('happened')
  happened(@Payload() data: unknown): void {
    seen.push(data);
  }
}

describe('DrpcServer', () => {
  it('works', async () => {
    const service = await TestService.start([MathController]);
    const caller = service.connect();
    expect(await caller.call('sum', [1, 2, 3])).toBe(6);
    expect(await caller.all('values', [1, 2, 3])).toEqual([1, 2, 3]);
    expect(await caller.all('generated', [1, 2, 3])).toEqual([1, 2, 3]);
    expect(await caller.all('total', 1, 2, 3)).toEqual([6]);
    await expect(caller.call('fail')).rejects.toMatchObject({ code: 5, message: 'nothing here' });
    await expect(caller.call('bug')).rejects.toMatchObject({ code: 2, message: 'Internal server error' });
    await expect(caller.call('nope')).rejects.toMatchObject({ code: 12 });
    expect(await caller.call('who', 1, { metadata: { A: 'b' } })).toEqual({
      pattern: 'who',
      metadata: { a: 'b' },
      address: '127.0.0.1',
    });
    expect(await caller.all('happened', { a: 1 })).toEqual([]);
    expect(seen).toEqual([{ a: 1 }]);
  });
});
