import { Controller, NotFoundException } from '@nestjs/common';
import { BaseRpcContext, Ctx, EventPattern, MessagePattern } from '@nestjs/microservices';
import { DrpcContext, DrpcException, DrpcPeer } from 'nestjs-drpc';
import { NEVER, Observable, of, throwError } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import type { OpenCall } from './helpers/caller.js';
import { EventLog } from './helpers/event-log.js';
import { TestService } from './helpers/test-service.js';

async function contextOf(metadata?: Record<string, string>): Promise<DrpcContext> {
  let seen!: DrpcContext;
  @Controller()
  class ContextController {
    @MessagePattern({ cmd: 'get' })
    get(@Ctx() ctx: DrpcContext): void {
      seen = ctx;
    }
  }
  const caller = await (await TestService.start([ContextController])).connect();
  await caller.call('{"cmd":"get"}', 1, { metadata });
  return seen;
}

describe('DrpcContext', () => {
  it('is a context of Nest', async () => {
    expect(await contextOf()).toBeInstanceOf(BaseRpcContext);
  });

  it('has getters, and methods by the convention of Nest', async () => {
    const ctx = await contextOf({ A: 'b' });
    expect(ctx.pattern).toBe('{"cmd":"get"}');
    expect(ctx.getPattern()).toBe(ctx.pattern);
    expect(ctx.metadata).toEqual({ a: 'b' });
    expect(ctx.getMetadata()).toBe(ctx.metadata);
    expect(ctx.peer).toBeInstanceOf(DrpcPeer);
    expect(ctx.getPeer()).toBe(ctx.peer);
    expect(ctx.signal).toBeInstanceOf(AbortSignal);
    expect(ctx.getSignal()).toBe(ctx.signal);
    expect(ctx.getArgs()).toEqual([ctx.pattern, ctx.metadata, ctx.peer]);
    expect(ctx.getArgByIndex(1)).toBe(ctx.metadata);
    expect(ctx.getArgByIndex(3)).toBeUndefined();
  });

  it('has empty metadata without a prototype where none was sent', async () => {
    const { metadata } = await contextOf();
    expect(metadata).toEqual({});
    expect(Object.getPrototypeOf(metadata)).toBeNull();
    expect(Object.isFrozen(metadata)).toBe(true);
  });

  it('shows no reserved keys', async () => {
    const ctx = await contextOf({ 'drpc-own': 'x', 'grpc-timeout': '5S', mine: 'y' });
    expect(ctx.metadata).toEqual({ mine: 'y' });
  });

  it('does not abort the signal of a call that has ended in the ordinary way', async () => {
    const ctx = await contextOf();
    expect(ctx.signal.aborted).toBe(false);
  });

  it('has nothing to wait for while values may be sent', async () => {
    const ctx = await contextOf();
    expect(ctx.drained).toBeUndefined();
  });
});

describe('the code of a call', () => {
  let log: EventLog;

  beforeEach(() => {
    log = new EventLog();
  });

  @Controller()
  class CodeController {
    @MessagePattern('value')
    value(@Ctx() ctx: DrpcContext): string {
      log.add(`running ${ctx.code}`);
      return 'any';
    }

    @MessagePattern('nothing more')
    nothingMore(): Observable<number> {
      return of(1, 2);
    }

    @MessagePattern('exception')
    exception(): never {
      throw new DrpcException(5, 'any');
    }

    @MessagePattern('http')
    http(): never {
      throw new NotFoundException();
    }

    @MessagePattern('fault')
    fault(): Observable<never> {
      return throwError(() => new Error('any'));
    }

    @MessagePattern('too large')
    tooLarge(): string {
      return 'x'.repeat(5000);
    }

    @MessagePattern('not to be encoded')
    notEncodable(): unknown {
      return { big: 1n };
    }

    @MessagePattern('endless')
    endless(): Observable<never> {
      log.add('running');
      return NEVER;
    }

    @EventPattern('event')
    event(_data: unknown): void {
      // Nothing to do.
    }

    @EventPattern('event that fails')
    failingEvent(_data: unknown): void {
      throw new DrpcException(9, 'any');
    }

    @EventPattern('event that fails')
    otherEvent(_data: unknown): void {
      // Ends well, unlike the other.
    }
  }

  /** What a call has ended with; `act` is what its caller does with it. */
  async function codeOf(
    rpc: string,
    act: (call: OpenCall, service: TestService) => unknown,
    metadata?: Record<string, string>,
  ): Promise<number | undefined> {
    let code: number | undefined;
    const service = await TestService.start([CodeController], {
      server: { maxSendSize: 4096 },
      prepare: (_app, server) =>
        server.setOnProcessingEndHook((_id, context) => {
          ({ code } = context as DrpcContext);
          log.add('ended');
        }),
    });
    const caller = await service.connect();
    await act(caller.open(rpc, [1], { metadata }), service);
    await log.seen('ended');
    return code;
  }

  const read = (call: OpenCall): Promise<unknown> => call.rest().catch(() => undefined);

  it.each([
    ['value', 0],
    ['nothing more', 0],
    ['exception', 5],
    ['http', 5],
    ['fault', 2],
    ['too large', 8],
    ['not to be encoded', 2],
    ['event', 0],
    ['event that fails', 9],
  ])('is what its caller is told, or the log: %s %i', async (rpc, code) => {
    expect(await codeOf(rpc, read)).toBe(code);
  });

  it('is not known while the handler runs', async () => {
    await codeOf('value', read);
    expect(log.entries).toEqual(['running undefined', 'ended']);
  });

  it('is 1 for a call that was canceled', async () => {
    const cancel = async (call: OpenCall): Promise<void> => {
      await log.seen('running');
      call.cancel();
    };
    expect(await codeOf('endless', cancel)).toBe(1);
  });

  it('is 4 for one whose time was up', async () => {
    // Without a timer at the client, whose Cancel might be first.
    expect(await codeOf('endless', read, { 'grpc-timeout': '20m' })).toBe(4);
  });

  it('is 14 for one that the server did not wait for', async () => {
    const close = async (call: OpenCall, { app }: TestService): Promise<void> => {
      await log.seen('running');
      await Promise.all([app.close(), read(call)]);
    };
    expect(await codeOf('endless', close)).toBe(14);
  });
});

describe('DrpcPeer', () => {
  it('knows address and port over TCP', async () => {
    const { peer } = await contextOf();
    expect(peer).toMatchObject({
      connectionId: 1,
      address: '127.0.0.1',
      isEncrypted: false,
      isAuthorized: false,
    });
    expect(peer.port).toBeGreaterThan(0);
    expect(peer.certificate).toBeUndefined();
    expect(`${peer.toString()}`).toBe(`connection 1 from 127.0.0.1:${peer.port}`);
  });

  it.each(['unix', 'memory'] as const)('has no address over %s', async (over) => {
    const service = await TestService.start([], { over });
    const connected = new Promise<DrpcPeer>((resolve) => service.server.on('connection', resolve));
    await service.connect();
    const peer = await connected;
    expect(peer.address).toBeUndefined();
    expect(peer.port).toBeUndefined();
    expect(peer.toString()).toBe('connection 1');
  });
});
