import {
  Controller,
  Injectable,
  Logger,
  UseGuards,
  UseInterceptors,
  ValidationPipe,
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { Type } from 'class-transformer';
import { IsInt, IsNotEmpty, ValidateNested } from 'class-validator';
import { DrpcContext, DrpcSignal, DrpcStream } from 'nestjs-drpc';
import { concat, concatMap, defer, finalize, map, Observable, reduce, Subject, take, toArray } from 'rxjs';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import type { OpenCall } from './helpers/caller.js';
import { EventLog, Gate } from './helpers/event-log.js';
import { TestService } from './helpers/test-service.js';

let log: EventLog;
let gate: Gate;

beforeEach(() => {
  log = new EventLog();
  gate = new Gate();
});

@Injectable()
class SlowGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    log.add('guard');
    await gate.opened;
    return true;
  }
}

@Injectable()
class SlowInterceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return concat(
      defer(async () => {
        log.add('interceptor');
        await gate.opened;
        return 'intercepted';
      }),
      next.handle(),
    );
  }
}

class Street {
  @IsNotEmpty() name!: string;
}

class Person {
  @IsInt() age!: number;
  @ValidateNested() @Type(() => Street) street!: Street;

  get isOld(): boolean {
    return this.age > 40;
  }
}

@Controller()
class StreamsController {
  @MessagePattern('guarded')
  @UseGuards(SlowGuard)
  guarded(@DrpcStream() values: Observable<number>): Observable<number[]> {
    return values.pipe(toArray());
  }

  @MessagePattern('guarded loop')
  @UseGuards(SlowGuard)
  async guardedLoop(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<number>): Promise<number[]> {
    const seen: number[] = [];
    for await (const value of values) seen.push(value);
    return seen;
  }

  @MessagePattern('intercepted')
  @UseInterceptors(SlowInterceptor)
  intercepted(@DrpcStream() values: Observable<number>): Observable<number[]> {
    return values.pipe(toArray());
  }

  @MessagePattern('late')
  async late(@DrpcStream() values: Observable<number>): Promise<Observable<number[]>> {
    log.add('late');
    await gate.opened;
    return values.pipe(toArray());
  }

  @MessagePattern('twice')
  twice(@DrpcStream() values: Observable<number>): Observable<number> {
    return concat(values.pipe(take(1)), values);
  }

  @MessagePattern('first two')
  firstTwo(@DrpcStream() values: Observable<number>): Observable<number[]> {
    return values.pipe(take(2), toArray());
  }

  @MessagePattern('first, later')
  firstLater(@DrpcStream() values: Observable<number>): Observable<number> {
    return values.pipe(
      take(1),
      finalize(() => log.add('left')),
      concatMap((value) => gate.opened.then(() => value)),
    );
  }

  @MessagePattern('first, later, by loop')
  async firstLaterByLoop(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<number>): Promise<number> {
    let first = 0;
    for await (const value of values) {
      first = value;
      break;
    }
    log.add('left');
    await gate.opened;
    return first;
  }

  @MessagePattern('people')
  people(@DrpcStream(Person) people: Observable<Person>): Observable<boolean> {
    return people.pipe(map(({ isOld }) => isOld));
  }

  @MessagePattern('people by loop')
  async *peopleByLoop(
    @DrpcStream({ as: 'iterable', type: Person, validation: { whitelist: true } })
    people: AsyncIterable<Person>,
  ): AsyncGenerator<string[]> {
    for await (const person of people) yield Object.keys(person);
  }

  @MessagePattern('with others')
  withOthers(
    @DrpcStream() values: Observable<number>,
    @Ctx() ctx: DrpcContext,
    @DrpcSignal() signal: AbortSignal,
  ): Observable<unknown[]> {
    return values.pipe(
      reduce((a, b) => a + b, 0),
      map((sum) => [sum, ctx.pattern, signal === ctx.signal && signal === ctx.getSignal() && signal.aborted]),
    );
  }

  @MessagePattern('apart')
  apart(@DrpcStream() values: Observable<number>): Observable<number> {
    const answers = new Subject<number>();
    // No error handler, as in many an example.
    values.subscribe({ next: (value) => answers.next(value), complete: () => answers.complete() });
    return answers;
  }

  @MessagePattern('payload')
  payload(@Payload() value: unknown): unknown {
    return value;
  }
}

const RAW = { name: 'raw', marshal: String, unmarshal: String };

const NUMBERS = Array.from({ length: 100 }, (_, i) => i);

describe('a request stream', () => {
  it.each([
    ['guarded', 'guard'],
    ['guarded loop', 'guard'],
    ['late', 'late'],
  ])('keeps what arrives before the handler takes it: %s', async (rpc, entry) => {
    const caller = await (await TestService.start([StreamsController])).connect();
    const call = caller.open(rpc, NUMBERS);
    await log.seen(entry);
    await caller.fence();
    gate.open();
    expect(await call.rest()).toEqual([NUMBERS]);
  });

  it('keeps what arrives while an interceptor is at work', async () => {
    const caller = await (await TestService.start([StreamsController])).connect();
    const call = caller.open('intercepted', NUMBERS);
    await log.seen('interceptor');
    await caller.fence();
    gate.open();
    expect(await call.rest()).toEqual(['intercepted', NUMBERS]);
  });

  it('can be empty, also where its end arrives first', async () => {
    const caller = await (await TestService.start([StreamsController])).connect();
    const call = caller.open('guarded', []);
    await log.seen('guard');
    await caller.fence();
    gate.open();
    expect(await call.rest()).toEqual([[]]);
  });

  it('can be taken once: a second subscriber is told so', async () => {
    const caller = await (
      await TestService.start([StreamsController], { server: { forwardErrors: true } })
    ).connect();
    const call = caller.open('twice', [1, 2]);
    expect(await call.next()).toBe(1);
    await expect(call.next()).rejects.toMatchObject({
      code: 9,
      message: 'second subscriber of the messages of "twice": they can be taken once, use share()',
    });
  });

  it('is dropped after its subscriber has left, however much still comes', async () => {
    const caller = await (await TestService.start([StreamsController])).connect();
    const call = caller.open('first two');
    await call.send(...NUMBERS);
    expect(await call.next()).toEqual([0, 1]);
    for (let i = 0; i < 20; i++) await call.send(...NUMBERS);
    expect(await caller.call('payload', 'alive')).toBe('alive');
  });

  it('ends its call with code 3 for a message that can not be decoded', async () => {
    const caller = await (await TestService.start([StreamsController])).connect();
    const call = caller.open('first two', undefined, {}, RAW);
    await call.send('1', '{"');
    await expect(call.next()).rejects.toMatchObject({
      code: 3,
      message: 'a message of "first two" is not valid json',
    });
  });

  it.each(['first, later', 'first, later, by loop'])(
    'does not look at what comes after the handler has left: %s',
    async (rpc) => {
      const caller = await (await TestService.start([StreamsController])).connect();
      const call = caller.open(rpc, undefined, {}, RAW);
      await call.send('1');
      await log.seen('left');
      await call.send('{"', '2');
      await caller.fence();
      gate.open();
      expect(await call.next()).toBe('1');
    },
  );

  it.each<[string, (call: OpenCall) => unknown]>([
    ['is cancelled', (call) => call.cancel()],
    ['sends what can not be decoded', (call) => call.send('{"')],
  ])('harms nobody whose handler takes it apart from its answers, when its caller %s', async (_, leave) => {
    const caller = await (await TestService.start([StreamsController])).connect();
    const call = caller.open('apart', undefined, {}, RAW);
    await call.send('1');
    expect(await call.next()).toBe('1');
    await leave(call);
    expect(await caller.call('payload', 'alive')).toBe('alive');
    // RxJS throws what nobody handles from a timer.
    await new Promise((resolve) => setTimeout(resolve));
  });

  it('goes with other parameters', async () => {
    const caller = await (await TestService.start([StreamsController])).connect();
    expect(await caller.all('with others', 1, 2)).toEqual([[3, 'with others', false]]);
  });
});

describe('@DrpcStream with a class', () => {
  const ADA = { age: 36, street: { name: 'Lime Street' } };

  it('makes instances of it', async () => {
    const caller = await (await TestService.start([StreamsController])).connect();
    expect(await caller.all('people', ADA, { ...ADA, age: 50 })).toEqual([false, true]);
  });

  it('ends the call with code 3 and the messages for one that breaks its rules', async () => {
    const caller = await (await TestService.start([StreamsController])).connect();
    const call = caller.open('people');
    await call.send(ADA, { age: 'old', street: { name: '' } });
    expect(await call.next()).toBe(false);
    await expect(call.next()).rejects.toMatchObject({
      code: 3,
      message: 'age must be an integer number; street.name should not be empty',
    });
  });

  it.each([[5], ['text'], [null], [[1]], [undefined]])('ends the call with code 3 for %j', async (value) => {
    const caller = await (await TestService.start([StreamsController])).connect();
    const call = caller.open('people');
    await call.send(value);
    await expect(call.next()).rejects.toMatchObject({
      code: 3,
      message: /^message is .*: must be an object$/,
    });
  });

  it("takes class-validator's options", async () => {
    const caller = await (await TestService.start([StreamsController])).connect();
    expect(await caller.all('people by loop', { ...ADA, extra: 1 })).toEqual([['age', 'street']]);
  });

  it.each([
    [{ whitelist: true, transform: true }],
    [{ whitelist: true, transform: true, validateCustomDecorators: true }],
  ])('is not harmed by a global ValidationPipe: %j', async (options) => {
    const service = await TestService.start([StreamsController], {
      prepare: (app) => void app.useGlobalPipes(new ValidationPipe(options)),
    });
    const caller = await service.connect();
    expect(await caller.all('people', ADA)).toEqual([false]);
    expect(await caller.all('first two', 1, 2)).toEqual([[1, 2]]);
    gate.open();
    expect(await caller.all('guarded loop', 1, 2)).toEqual([[1, 2]]);
  });

  it('says what is missing where a decorator has replaced the method', async () => {
    const faults = vi
      .spyOn(Logger.prototype, 'error')
      .mockImplementation((...told) => log.add(told.join(' ')));
    onTestFinished(() => faults.mockRestore());
    const Wrapped: MethodDecorator = (_target, _key, descriptor: PropertyDescriptor) => {
      const method = descriptor.value as (...args: unknown[]) => unknown;
      descriptor.value = function total(this: unknown, ...args: unknown[]): unknown {
        return method.apply(this, args);
      };
    };
    @Controller()
    class WrappedController {
      @MessagePattern('total')
      @Wrapped
      total(@DrpcStream() values: Observable<number>): Observable<number> {
        return values;
      }
    }
    const caller = await (await TestService.start([WrappedController])).connect();
    await expect(caller.call('total', 5)).rejects.toMatchObject({ code: 2 });
    expect(log.entries).toEqual([
      expect.stringContaining(
        'WrappedController.total: @DrpcStream got a number, no stream of messages: only DRPC brings one, and a decorator ' +
          'that replaces the method has to keep its metadata',
      ),
    ]);
  });

  it('refuses an `as` that is neither', () => {
    expect(() => DrpcStream({ as: 'promise' as 'iterable' })).toThrow(
      "@DrpcStream: as is promise: must be 'observable' or 'iterable'",
    );
  });

  it('refuses an option that there is not, and says which it looks like', () => {
    expect(() => DrpcStream({ typ: EventLog } as object)).toThrow(
      '@DrpcStream: option typ is not known, did you mean type? There are as, type, validation',
    );
  });
});
