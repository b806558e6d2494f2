import { once } from 'node:events';
import { Readable } from 'node:stream';
import {
  Catch,
  Controller,
  Inject,
  Injectable,
  Logger,
  Scope,
  UseFilters,
  type ExceptionFilter,
} from '@nestjs/common';
import { CONTEXT, EventPattern, MessagePattern, Payload, type RequestContext } from '@nestjs/microservices';
import { DrpcStream } from 'nestjs-drpc';
import { concat, defer, EMPTY, Observable, of, throwError } from 'rxjs';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { EventLog, Gate } from './helpers/event-log.js';
import { TestService } from './helpers/test-service.js';

let log: EventLog;
let gate: Gate;

beforeEach(() => {
  log = new EventLog();
  gate = new Gate();
});

describe('an event that a shutdown gives up', () => {
  it('has what its handler gives afterwards freed', async () => {
    const late = new Readable({ read: () => undefined });
    @Controller()
    class LateController {
      @EventPattern('late')
      async late(@Payload() _data: unknown): Promise<Readable> {
        log.add('begun');
        await gate.opened;
        return late;
      }
    }
    const service = await TestService.start([LateController]);
    await (await service.connect()).call('late', 1);
    await log.seen('begun');
    await service.app.close();
    gate.open();
    await once(late, 'close');
    expect(late.destroyed).toBe(true);
  });

  it('is over when a filter gives what can not even be looked at', async () => {
    const errors = vi.spyOn(Logger.prototype, 'error').mockImplementation(() => log.add('logged'));
    onTestFinished(() => errors.mockRestore());
    @Catch()
    class OddFilter implements ExceptionFilter {
      catch(): Observable<never> {
        return throwError(() => ({
          get message(): string {
            throw new Error('odd');
          },
        }));
      }
    }
    @Controller()
    class OddController {
      @UseFilters(OddFilter)
      @EventPattern('odd')
      odd(@Payload() _data: unknown): void {
        throw new Error('any');
      }
    }
    // As long as a handler is counted, the server waits.
    const service = await TestService.start([OddController], { server: { gracePeriod: 2 ** 31 - 1 } });
    await (await service.connect()).call('odd', 1);
    await log.seen('logged');
    await service.app.close();
    expect(service.server.address()).toBeNull();
  });
});

describe('an event', () => {
  it('is answered as soon as it is decoded, while its handler is at work', async () => {
    @Controller()
    class SlowController {
      @EventPattern('slow')
      async slow(@Payload() data: unknown): Promise<void> {
        await gate.opened;
        log.add(`done with ${JSON.stringify(data)}`);
      }
    }
    const caller = await (await TestService.start([SlowController])).connect();
    expect(await caller.call('slow', { a: 1 })).toBeUndefined();
    expect(log.entries).toEqual([]);
    gate.open();
    await log.seen('done with {"a":1}');
  });

  it('runs every handler of its pattern, whatever becomes of the others', async () => {
    const errors = vi.spyOn(Logger.prototype, 'error');
    onTestFinished(() => errors.mockRestore());
    @Controller()
    class FirstController {
      @EventPattern('order')
      throwing(@Payload() _data: unknown): void {
        log.add('throwing');
        throw new Error('any');
      }

      @EventPattern('order')
      failing(@Payload() _data: unknown): Observable<never> {
        return throwError(() => {
          log.add('failing');
          return new Error('any');
        });
      }
    }
    @Controller()
    class SecondController {
      @EventPattern('order')
      slow(@Payload() _data: unknown): Observable<unknown> {
        return concat(
          defer(async () => {
            await gate.opened;
            log.add('slow');
          }),
          defer(() => {
            log.add('slow, second part');
            return EMPTY;
          }),
        );
      }

      @EventPattern('order')
      async *generating(@Payload() _data: unknown): AsyncGenerator<number> {
        yield 1;
        log.add('generating');
        yield 2;
        log.add('generated');
      }
    }
    const caller = await (await TestService.start([FirstController, SecondController])).connect();
    expect(await caller.all('order', 1)).toEqual([]);
    await caller.fence();
    gate.open();
    await log.seen('slow, second part');
    expect(log.entries.toSorted()).toEqual(
      ['failing', 'generated', 'generating', 'slow', 'slow, second part', 'throwing'].toSorted(),
    );
    expect(errors).toHaveBeenCalledTimes(2);
  });

  it('gives request-scoped handlers the event as their CONTEXT', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class Tenant {
      constructor(@Inject(CONTEXT) readonly context: RequestContext<string>) {}
    }
    @Controller()
    class ScopedController {
      constructor(readonly tenant: Tenant) {}

      @EventPattern('scoped')
      one(@Payload() data: string): void {
        log.add(`one: ${data}, ${this.tenant.context.getData()}`);
      }

      @EventPattern('scoped')
      two(@Payload() data: string): void {
        log.add(`two: ${data}, ${this.tenant.context.getData()}`);
      }
    }
    const service = await TestService.start([ScopedController], { module: { providers: [Tenant] } });
    const caller = await service.connect();
    await caller.call('scoped', 'x');
    await Promise.all([log.seen('one: x, x'), log.seen('two: x, x')]);
    expect(log.entries).toHaveLength(2);
  });

  it('drops the values of its handlers', async () => {
    @Controller()
    class ValuesController {
      @EventPattern('values')
      values(@Payload() _data: unknown): Observable<number> {
        return of(1, 2, 3);
      }
    }
    const caller = await (await TestService.start([ValuesController])).connect();
    const call = caller.open('values', [1]);
    expect(await call.rest()).toEqual([]);
    await caller.fence();
    expect(caller.frames(call)).toEqual(['CloseSend']);
  });
});

describe('patterns that can not be served', () => {
  it('are refused at start: two message handlers of a pattern', async () => {
    @Controller()
    class TwiceController {
      @MessagePattern({ cmd: 'sum' })
      one(): void {}

      @MessagePattern('{"cmd":"sum"}')
      two(): void {}
    }
    await expect(TestService.start([TwiceController])).rejects.toThrow(
      'pattern "{"cmd":"sum"}" has two message handlers: it can have one',
    );
  });

  it('are refused at start: a message and an event of the same pattern', async () => {
    @Controller()
    class BothController {
      @MessagePattern('both')
      one(): void {}

      @EventPattern('both')
      two(_data: unknown): void {}
    }
    await expect(TestService.start([BothController])).rejects.toThrow(
      'pattern "both" is both a message and an event: it can be one of them',
    );
  });

  it('are refused at start: an event that takes a stream', async () => {
    @Controller()
    class StreamController {
      @EventPattern('stream')
      one(@DrpcStream() _values: Observable<unknown>): void {}
    }
    await expect(TestService.start([StreamController])).rejects.toThrow(
      'event handler of "stream" takes a stream: an event is one message',
    );
  });

  it('are refused at start: event handlers of a pattern with different encodings', async () => {
    @Controller()
    class EncodingsController {
      @EventPattern('mixed')
      one(_data: unknown): void {}

      @EventPattern('mixed', { encoding: 'bytes' })
      two(_data: unknown): void {}
    }
    await expect(TestService.start([EncodingsController])).rejects.toThrow(
      'event handlers of "mixed" have encodings json and bytes: all of a pattern have the same',
    );
  });

  it('are refused at start: an encoding that is none', async () => {
    @Controller()
    class EncodingController {
      @MessagePattern('x', { encoding: 'xml' })
      one(): void {}
    }
    await expect(TestService.start([EncodingController])).rejects.toThrow(
      `encoding of "x" is "xml": must be 'json', 'bytes' or an Encoding (name, marshal, unmarshal)`,
    );
  });
});
