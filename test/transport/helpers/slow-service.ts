import { Controller, type Type } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { DrpcContext, type DrpcServerOptions } from 'nestjs-drpc';
import { NEVER, type Observable } from 'rxjs';
import type { Caller } from './caller.js';
import { EventLog, Gate } from './event-log.js';
import { TestService } from './test-service.js';

/** Handlers that wait for `gate`. */
export function controllerOf(log: EventLog, gate: Gate): Type {
  @Controller()
  class SlowController {
    @MessagePattern('echo')
    echo(@Payload() value: unknown): unknown {
      return value;
    }

    @MessagePattern('slow')
    async slow(@Ctx() ctx: DrpcContext): Promise<string> {
      ctx.signal.addEventListener('abort', () => log.add(`aborted: ${(ctx.signal.reason as Error).message}`));
      log.add('started');
      await gate.opened;
      return 'in time';
    }

    @MessagePattern('endless')
    endless(): Observable<never> {
      log.add('started');
      return NEVER;
    }

    @EventPattern<string>('event')
    async event(@Payload() _data: unknown, @Ctx() ctx: DrpcContext): Promise<void> {
      ctx.signal.addEventListener('abort', () => log.add(`aborted: ${(ctx.signal.reason as Error).message}`));
      log.add('started');
      await gate.opened;
      log.add('event ended');
    }
  }
  return SlowController;
}

export interface SlowService {
  log: EventLog;
  gate: Gate;
  service: TestService;
  caller: Caller;
}

/** A service whose handlers wait for `gate`, and a client of it. */
export async function startSlow(server: DrpcServerOptions = {}): Promise<SlowService> {
  const log = new EventLog();
  const gate = new Gate();
  const service = await TestService.start([controllerOf(log, gate)], { server });
  return { log, gate, service, caller: await service.connect() };
}
