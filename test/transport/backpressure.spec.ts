import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { DrpcContext, DrpcStream, type DrpcServerOptions } from 'nestjs-drpc';
import { connect } from 'node:net';
import { Observable } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import { PeerConn } from '../../lib/control/peer-conn.js';
import { RpcStream } from '../../lib/conn/rpc-stream.js';
import { jsonEncoding } from '../../lib/encoding/encoding.js';
import { EventLog, Gate } from './helpers/event-log.js';
import { TestService, type TestServiceOptions } from './helpers/test-service.js';

let log: EventLog;
let gate: Gate;
let produced: number;

beforeEach(() => {
  log = new EventLog();
  gate = new Gate();
  produced = 0;
});

const BLOCK = 'x'.repeat(100_000);
const WINDOW = 256 * 1024;

@Controller()
class ProducingController {
  @MessagePattern('generator')
  async *generator(): AsyncGenerator<string> {
    for (;;) {
      produced++;
      yield BLOCK;
    }
  }

  @MessagePattern('paced observable')
  pacedObservable(@Payload() count: number, @Ctx() ctx: DrpcContext): Observable<string> {
    return new Observable((subscriber) => {
      const produce = async (): Promise<void> => {
        while (produced < count && !subscriber.closed) {
          produced++;
          subscriber.next(BLOCK);
          if (ctx.drained) {
            log.add('waits');
            await ctx.drained;
            log.add('goes on');
          }
        }
        log.add('producer ended');
        subscriber.complete();
      };
      void produce();
    });
  }

  @MessagePattern('observable that can not wait')
  hasty(): Observable<string> {
    return new Observable((subscriber) => {
      for (let i = 0; i < 1000 && !subscriber.closed; i++) {
        produced++;
        subscriber.next(BLOCK);
      }
      log.add('producer ended');
    });
  }

  @MessagePattern('more than the window, and then')
  tooMuch(
    @Payload() last: 'nothing' | 'a value that is too large' | 'a value that is none',
  ): Observable<unknown> {
    return new Observable((subscriber) => {
      for (let i = 0; i < 5; i++) subscriber.next(BLOCK);
      log.add('waits');
      if (last === 'a value that is too large') subscriber.next(BLOCK.repeat(10));
      if (last === 'a value that is none') subscriber.next(1n);
      return () => log.add('stopped');
    });
  }

  @MessagePattern('paced loop')
  async pacedLoop(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<unknown>): Promise<number> {
    let count = 0;
    for await (const _value of values) if (count++ === 0) await gate.opened;
    return count;
  }

  @MessagePattern('echo')
  echo(@Payload() value: unknown): unknown {
    return value;
  }
}

/** A client of this library: it has windows. */
async function start(server: DrpcServerOptions = {}, prepare?: TestServiceOptions['prepare']) {
  const service = await TestService.start([ProducingController], { server, prepare });
  const conn = await PeerConn.connect(connect(service.port, '127.0.0.1'), { streamWindow: WINDOW });
  const open = (rpc: string, data: unknown): RpcStream => {
    const stream = new RpcStream((sink) => conn.open(rpc, sink), jsonEncoding);
    void stream.msgSend(data);
    stream.closeSend();
    return stream;
  };
  return { service, conn, open };
}

describe('a handler and a client that does not read', () => {
  it('pulls a generator only as far as the window goes', async () => {
    const { conn, open } = await start();
    const stream = open('generator', 1);
    expect(await stream.msgRecv()).toBe(BLOCK);
    expect(await conn.invoke('echo', jsonEncoding, 'still quick')).toBe('still quick');
    const before = produced;
    expect(before).toBeLessThan(2 + (WINDOW / BLOCK.length) * 2);
    for (let i = 0; i < 20; i++) await stream.msgRecv();
    expect(produced).toBeGreaterThan(before);
    await conn.close();
  });

  it('lets an Observable pace itself by ctx.drained', async () => {
    const { conn, open } = await start();
    const stream = open('paced observable', 50);
    expect(await stream.msgRecv()).toBe(BLOCK);
    await log.seen('waits');
    expect(produced).toBeLessThan(10);
    let received = 1;
    for await (const value of stream) received += value === BLOCK ? 1 : 0;
    expect(received).toBe(50);
    await conn.close();
  });

  it('wakes an Observable that waits when its call ends', async () => {
    const { conn, open } = await start();
    const stream = open('paced observable', 50);
    await log.seen('waits');
    stream.sendCancel();
    await log.seen('producer ended');
    expect(produced).toBeLessThan(10);
    await conn.close();
  });

  it('ends the call of a source that can not wait with code 8 when too much waits', async () => {
    const { conn, open } = await start({ sendQueueSize: 1_000_000, maxSendSize: 500_000 });
    const stream = open('observable that can not wait', 1);
    await log.seen('producer ended');
    expect(produced).toBeLessThan(20);
    await expect(stream.msgRecv()).rejects.toMatchObject({ code: 8 });
    expect(await conn.invoke('echo', jsonEncoding, 1)).toBe(1);
    await conn.close();
  });
});

describe('a handler whose call ends in an error behind values that wait', () => {
  it.each([
    ['a value that is too large', 8],
    ['a value that is none', 2],
  ])('is stopped at once when it gives %s', async (last, code) => {
    const { conn, open } = await start({ maxSendSize: 500_000 });
    const stream = open('more than the window, and then', last);
    await log.seen('stopped');
    for (let i = 0; i < 5; i++) expect(await stream.msgRecv()).toBe(BLOCK);
    await expect(stream.msgRecv()).rejects.toMatchObject({ code });
    await conn.close();
  });

  it('is stopped at once when the hook that let it begin fails', async () => {
    const hook = (_id: unknown, _context: unknown, done: () => Promise<unknown>): unknown => {
      void done();
      return log.seen('waits').then(() => Promise.reject(new Error('any')));
    };
    const { conn, open } = await start({}, (_app, server) => server.setOnProcessingStartHook(hook));
    const stream = open('more than the window, and then', 'nothing');
    await log.seen('stopped');
    for (let i = 0; i < 5; i++) expect(await stream.msgRecv()).toBe(BLOCK);
    await expect(stream.msgRecv()).rejects.toMatchObject({ code: 2, message: 'Internal server error' });
    await conn.close();
  });
});

describe('a handler that reads slowly', () => {
  it('holds the sender up by the pace of its loop', async () => {
    const { conn } = await start({ streamWindow: WINDOW });
    const stream = new RpcStream((sink) => conn.open('paced loop', sink), jsonEncoding);
    let sent = 0;
    const sending = (async () => {
      for (; sent < 50; sent++) await stream.msgSend(BLOCK);
      stream.closeSend();
    })();
    for (let i = 0; i < 5; i++) await conn.invoke('echo', jsonEncoding, i);
    expect(sent).toBeLessThan(2 + (WINDOW / BLOCK.length) * 2);
    gate.open();
    await sending;
    expect(await stream.msgRecv()).toBe(50);
    await conn.close();
  });
});
