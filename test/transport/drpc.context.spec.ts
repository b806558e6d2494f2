import { Controller } from '@nestjs/common';
import { BaseRpcContext, Ctx, MessagePattern } from '@nestjs/microservices';
import { DrpcContext, DrpcPeer } from 'nestjs-drpc';
import { describe, expect, it } from 'vitest';
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
