import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { DrpcServer } from 'nestjs-drpc';
import { createInMemoryNetwork, createInMemoryPair } from 'nestjs-drpc/testing';
import { describe, expect, it } from 'vitest';
import { Caller } from './transport/helpers/caller.js';

/** Everything that is read until the end. */
async function readAll(duplex: Duplex): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of duplex) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

describe('createInMemoryPair', () => {
  it('gives to one end what is written to the other, both ways', async () => {
    const [a, b] = createInMemoryPair();
    a.write('to b, ');
    a.end('the end');
    b.end('to a');
    expect(await Promise.all([readAll(a), readAll(b)])).toEqual(['to a', 'to b, the end']);
  });

  it('copies: a buffer that is used again changes nothing', async () => {
    const [a, b] = createInMemoryPair();
    const buffer = Buffer.from('first');
    a.write(buffer, () => buffer.write('XXXXX'));
    a.end();
    expect(await readAll(b)).toBe('first');
  });

  it('delivers in a later turn', async () => {
    const [a, b] = createInMemoryPair();
    let isHere = false;
    b.on('data', () => {
      isHere = true;
    });
    a.write('x');
    await new Promise<void>((resolve) => queueMicrotask(resolve));
    expect(isHere).toBe(false);
    await once(b, 'data');
    expect(isHere).toBe(true);
  });

  it('holds the writer up while the other end does not read', async () => {
    const [a, b] = createInMemoryPair();
    const block = Buffer.alloc(64 * 1024);
    let written = 0;
    for (let i = 0; i < 10; i++) a.write(block, () => written++);
    // Two turns are more than two blocks need.
    for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(written).toBeLessThan(3);
    a.end();
    expect(await readAll(b)).toHaveLength(10 * block.length);
    expect(written).toBe(10);
  });

  it('closes an end when the other is destroyed', async () => {
    const [a, b] = createInMemoryPair();
    b.resume();
    a.destroy();
    await Promise.all([once(a, 'close'), once(b, 'end'), once(b, 'close')]);
    expect(b.destroyed).toBe(true);
  });

  it('delivers what was written before an end was destroyed', async () => {
    const [a, b] = createInMemoryPair();
    await new Promise<void>((resolve) => a.write('last words', () => resolve()));
    a.destroy();
    expect(await readAll(b)).toBe('last words');
  });

  it('fails writes to an end that is gone', async () => {
    const [a, b] = createInMemoryPair();
    b.destroy();
    const error = new Promise((resolve) => a.once('error', resolve));
    a.write('x');
    expect(await error).toMatchObject({ code: 'EPIPE' });
  });

  it('closes both ends when both have ended', async () => {
    const [a, b] = createInMemoryPair();
    for (const end of [a, b]) end.resume();
    a.end();
    await Promise.all([once(a, 'close'), once(b, 'close')]);
    expect([a.destroyed, b.destroyed]).toEqual([true, true]);
  });
});

describe('createInMemoryNetwork', () => {
  @Controller()
  class EchoController {
    @MessagePattern('echo')
    echo(@Payload() value: unknown): unknown {
      return value;
    }
  }

  it('joins a service and its client without a port', async () => {
    const network = createInMemoryNetwork();
    const module = await Test.createTestingModule({ controllers: [EchoController] }).compile();
    const app = module.createNestMicroservice({ strategy: new DrpcServer({ listener: network.listener }) });
    app.useLogger(false);
    await app.listen();
    const caller = new Caller(await network.dial());
    expect(await caller.call('echo', { a: 1 })).toEqual({ a: 1 });
    await caller.close();
    await app.close();
  });

  it('refuses to be dialled while nobody listens, and a second listener', async () => {
    const network = createInMemoryNetwork();
    await expect(network.dial()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await network.listener.listen({ connection: () => undefined });
    await expect(network.listener.listen({ connection: () => undefined })).rejects.toMatchObject({
      code: 'EADDRINUSE',
    });
    await network.listener.close();
    await expect(network.dial()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});
