import { Controller, Logger } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { DrpcStream, type DrpcError, type DrpcServer } from 'nestjs-drpc';
import { of, type Observable } from 'rxjs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Gate } from './helpers/event-log.js';
import { startSlow } from './helpers/slow-service.js';
import { TestService } from './helpers/test-service.js';

const NOTHING = { calls: 0, handlers: 0, receivedBytes: 0, queuedBytes: 0, overloads: 0 };

describe('the stats of a DrpcServer', () => {
  it('count clients, calls and handlers, those of events and of canceled calls too', async () => {
    const { log, gate, service, caller } = await startSlow();
    const { server } = service;
    await caller.fence();
    expect(server.stats).toEqual({ ...NOTHING, connections: 1 });
    const call = caller.call('slow', 1);
    await caller.all('event', 1);
    const canceled = caller.open('slow', [1]);
    await caller.fence();
    canceled.cancel();
    await log.seen('aborted: canceled');
    expect(server.stats).toEqual({ ...NOTHING, connections: 1, calls: 3, handlers: 3 });
    const gone = new Promise((resolve) => server.on('disconnect', resolve));
    gate.open();
    await call;
    await log.seen('event ended');
    await caller.close();
    await gone;
    expect(server.stats).toEqual({ ...NOTHING, connections: 0 });
  });

  it('count the bytes that wait here, in both directions', async () => {
    const gate = new Gate();
    @Controller()
    class HoldingController {
      @MessagePattern('unread')
      async unread(@DrpcStream({ as: 'iterable' }) _values: AsyncIterable<unknown>): Promise<void> {
        await gate.opened;
      }

      @MessagePattern('bulk')
      bulk(): Observable<string> {
        return of('x'.repeat(1_000_000), 'y'.repeat(1_000_000), 'z'.repeat(1_000_000));
      }
    }
    const service = await TestService.start([HoldingController], { over: 'memory' });
    const { server } = service;
    const [caller, slow] = [await service.connect(), await service.connect()];
    const call = caller.open('unread');
    await call.send('x'.repeat(50_000));
    slow.socket.pause();
    const bulk = slow.all('bulk', 1);
    await caller.fence();
    const { receivedBytes, queuedBytes } = server.stats;
    expect([receivedBytes > 50_000, receivedBytes < 51_000]).toEqual([true, true]);
    // What the connection has room for is on its way already.
    expect([queuedBytes > 1_000_000, queuedBytes < 3_001_000]).toEqual([true, true]);
    slow.socket.resume();
    gate.open();
    await Promise.all([bulk, call.rest()]);
    await caller.fence();
    expect(server.stats).toEqual({ ...NOTHING, connections: 2 });
  });
});

describe('a DrpcServer at its limits', () => {
  function overloadsOf(server: DrpcServer): string[] {
    const seen: string[] = [];
    server.on('overload', ({ code, message }, peer) =>
      seen.push(`${code} ${message} (${peer ? peer.connectionId : 'any'})`),
    );
    return seen;
  }

  function watchLog(): string[] {
    const lines: string[] = [];
    const warn = vi
      .spyOn(Logger.prototype, 'warn')
      .mockImplementation((line: string) => void lines.push(line));
    onTestFinished(() => warn.mockRestore());
    return lines;
  }

  it('tells which of a connection keeps a call from beginning, and counts it', async () => {
    const lines = watchLog();
    const { log, gate, service, caller } = await startSlow({ maxStreams: 1 });
    const seen = overloadsOf(service.server);
    const call = caller.call('slow', 1);
    await log.seen('started');
    await expect(caller.call('echo', 1)).rejects.toMatchObject({ code: 8 });
    const message = 'too many concurrent streams: refused: at most 1 concurrent streams';
    expect(seen).toEqual([`8 ${message} (1)`]);
    expect(lines).toEqual([
      expect.stringMatching(
        new RegExp(`^a call was refused or ended on connection 1 from 127.+: ${message}$`),
      ),
    ]);
    expect(service.server.stats.overloads).toBe(1);
    gate.open();
    await call;
  });

  it('tells of one for all connections', async () => {
    const lines = watchLog();
    const { log, gate, service, caller } = await startSlow({ maxHandlers: 1 });
    const seen = overloadsOf(service.server);
    const call = caller.call('slow', 1);
    await log.seen('started');
    await expect(caller.call('echo', 1)).rejects.toMatchObject({ code: 8 });
    const message = 'the server is busy: 1 handlers are running, which is as many as may';
    expect(seen).toEqual([`8 ${message} (any)`]);
    expect(lines).toEqual([`a call was refused or ended: ${message}`]);
    gate.open();
    await call;
  });

  it('says so in at most ten lines in ten seconds, and counts all', async () => {
    const lines = watchLog();
    const { log, gate, service, caller } = await startSlow({ maxHandlers: 1 });
    const call = caller.call('slow', 1);
    await log.seen('started');
    const refused = Array.from({ length: 25 }, () =>
      caller.call('echo', 1).catch(({ code }: DrpcError) => code),
    );
    expect(new Set(await Promise.all(refused))).toEqual(new Set([8]));
    expect(lines).toHaveLength(10);
    gate.open();
    await call;
    await service.app.close();
    expect(lines.slice(10)).toEqual(['15 more lines like these were left out']);
    expect(service.server.stats.overloads).toBe(25);
  });

  it('refuses a call also when the logger and a listener throw', async () => {
    const warn = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => {
      throw new Error('any');
    });
    onTestFinished(() => warn.mockRestore());
    const { log, gate, service, caller } = await startSlow({ maxStreams: 1 });
    service.server.on('overload', () => {
      throw new Error('any');
    });
    const call = caller.call('slow', 1);
    await log.seen('started');
    await expect(caller.call('echo', 1)).rejects.toMatchObject({ code: 8 });
    gate.open();
    expect(await call).toBe('in time');
  });
});
