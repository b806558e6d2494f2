import { connect, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { connect as connectTls } from 'node:tls';
import { Controller, Logger } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { DrpcError, DrpcStream } from 'nestjs-drpc';
import { finalize, map, range, type Observable } from 'rxjs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { EventLog, Gate } from './helpers/event-log.js';
import { pem, TestService } from './helpers/test-service.js';
import { startSlow } from './helpers/slow-service.js';

describe('limits of a DrpcServer', () => {
  it('ends a TLS handshake that takes longer than tlsHandshakeTimeout', async () => {
    const service = await TestService.start([], { over: 'tls', server: { tlsHandshakeTimeout: 20 } });
    const error = new Promise<Error>((resolve) => service.server.on('error', resolve));
    const silent = connect(service.port, '127.0.0.1');
    silent.resume();
    await once(silent, 'close');
    expect((await error).message).toMatch(
      /^TLS handshake with 127\.0\.0\.1:\d+ failed: TLS handshake timeout$/,
    );
  });

  it.each([
    ['DRPC', Buffer.from('0301010161', 'hex'), 'wrong version number'],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n'), 'http request'],
  ])('says in one line that a client of a TLS port speaks %s', async (_protocol, bytes, reason) => {
    const service = await TestService.start([], { over: 'tls' });
    const error = new Promise<Error>((resolve) => service.server.on('error', resolve));
    const plain = connect(service.port, '127.0.0.1');
    plain.on('error', () => undefined);
    await once(plain, 'connect');
    const from = `127.0.0.1:${plain.localPort}`;
    plain.write(bytes);
    expect((await error).message).toBe(
      `TLS handshake with ${from} failed: ${reason}: the client does not speak TLS`,
    );
    plain.destroy();
  });

  it('escapes what a callback of TLS says of the name that a client asks for', async () => {
    const SNICallback = (name: string, callback: (error: Error) => void): void =>
      callback(new Error(`no certificate for ${name}`));
    const tls = { cert: pem('server.crt'), key: pem('server.key'), SNICallback };
    const service = await TestService.start([], { over: 'tls', server: { tls } });
    const error = new Promise<Error>((resolve) => service.server.on('error', resolve));
    const servername = 'x\n\x1b[31m[Nest] fake';
    const client = connectTls({ port: service.port, servername, rejectUnauthorized: false });
    client.on('error', () => undefined);
    expect((await error).message).toMatch(/failed: no certificate for x\\n\\x1b\[31m\[Nest\] fake$/);
  });

  it.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'says why it refuses the certificate of a client over %s',
    async (maxVersion) => {
      // Signed by the tests' own authority, which this server does not know.
      const tls = {
        ...{ cert: pem('server.crt'), key: pem('server.key'), maxVersion },
        ...{ requestCert: true, rejectUnauthorized: true },
      };
      const service = await TestService.start([], { over: 'tls', server: { tls } });
      const error = new Promise<Error>((resolve) => service.server.on('error', resolve));
      const own = { cert: pem('client.crt'), key: pem('client.key') };
      const client = connectTls({ port: service.port, rejectUnauthorized: false, ...own });
      client.on('error', () => undefined);
      expect((await error).message).toMatch(
        /^TLS handshake with .+ failed: its certificate is refused: UNABLE_TO_/,
      );
    },
  );

  it.each(['tcp', 'tls'] as const)('says nothing of a look whether its %s port is open', async (over) => {
    const service = await TestService.start([], { over });
    const errors: string[] = [];
    service.server.on('error', ({ message }) => errors.push(message));
    const socket = service.app.unwrap<Server>();
    const gone = once(socket, 'connection').then(([accepted]) => once(accepted as Socket, 'close'));
    const probe = connect(service.port, '127.0.0.1');
    await once(probe, 'connect');
    probe.destroy();
    await gone;
    await expect((await service.connect()).call('x')).rejects.toMatchObject({ code: 12 });
    expect(errors).toEqual([]);
  });

  it.each(['tcp', 'memory'] as const)('closes connections beyond maxConnections over %s', async (over) => {
    const service = await TestService.start([], { over, server: { maxConnections: 1 } });
    const error = new Promise<Error>((resolve) => service.server.on('error', resolve));
    const caller = await service.connect();
    await caller.fence();
    const second = await service.connect();
    await expect(second.call('x')).rejects.toMatchObject({ code: 14 });
    expect((await error).message).toBe('connection refused: 1 are open, which is as many as may');
    await expect(caller.call('x')).rejects.toMatchObject({ code: 12 });
    const gone = new Promise((resolve) => service.server.on('disconnect', resolve));
    await caller.close();
    await gone;
    await expect((await service.connect()).call('x')).rejects.toMatchObject({ code: 12 });
  });

  it('refuses handlers beyond maxHandlers, of all connections together', async () => {
    const { log, gate, service, caller } = await startSlow({ maxHandlers: 2 });
    const first = caller.call('slow', 1);
    await caller.all('event', 1);
    await caller.fence();
    const other = await service.connect();
    await expect(other.call('echo', 1)).rejects.toMatchObject({
      code: 8,
      message: 'the server is busy: 2 handlers are running, which is as many as may',
    });
    await expect(other.call('event', 1)).rejects.toMatchObject({ code: 8 });
    gate.open();
    expect(await first).toBe('in time');
    await log.seen('event ended');
    expect(await other.call('echo', 1)).toBe(1);
  });

  it('counts a handler that runs on after its call was canceled', async () => {
    const { log, gate, caller } = await startSlow({ maxHandlers: 1 });
    const call = caller.open('slow', [1]);
    await log.seen('started');
    call.cancel();
    await log.seen('aborted: canceled');
    await expect(caller.call('echo', 1)).rejects.toMatchObject({ code: 8 });
    gate.open();
    await caller.fence();
    expect(await caller.call('echo', 1)).toBe(1);
  });

  it('refuses names beyond maxPatternLength', async () => {
    const service = await TestService.start([], { server: { maxPatternLength: 30 } });
    const caller = await service.connect();
    await expect(caller.call('x'.repeat(31))).rejects.toMatchObject({ code: 3 });
    await expect(caller.call('x'.repeat(30))).rejects.toMatchObject({ code: 12 });
  });

  it('takes the limits of a connection: a message over maxReceiveSize ends its call', async () => {
    const { caller } = await startSlow({ maxReceiveSize: 4096 });
    await expect(caller.call('echo', 'x'.repeat(5000))).rejects.toMatchObject({ code: 8 });
    expect(await caller.call('echo', 'x'.repeat(4000))).toHaveLength(4000);
  });

  it('refuses streams of a connection beyond maxStreams', async () => {
    const { log, gate, service, caller } = await startSlow({ maxStreams: 1 });
    const call = caller.call('slow', 1);
    await log.seen('started');
    await expect(caller.call('echo', 1)).rejects.toMatchObject({ code: 8 });
    expect(await (await service.connect()).call('echo', 1)).toBe(1);
    gate.open();
    expect(await call).toBe('in time');
  });

  it('refuses metadata beyond maxMetadataSize', async () => {
    const { caller } = await startSlow({ maxMetadataSize: 300 });
    const metadata = { key: 'x'.repeat(300) };
    await expect(caller.call('echo', 1, { metadata })).rejects.toMatchObject({ code: 8 });
    expect(await caller.call('echo', 1, { metadata: { key: 'x' } })).toBe(1);
  });

  it('holds no more messages of all connections than maxServerReceivedBytes', async () => {
    const log = new EventLog();
    const gate = new Gate();
    @Controller()
    class IdleController {
      @MessagePattern('unread')
      async unread(@DrpcStream({ as: 'iterable' }) _values: AsyncIterable<unknown>): Promise<void> {
        log.add('started');
        await gate.opened;
      }
    }
    const service = await TestService.start([IdleController], {
      server: { maxServerReceivedBytes: 300_000 },
    });
    const calls = await Promise.all(
      [1, 2, 3].map(async () => {
        const call = (await service.connect()).open('unread');
        const ended = call.next().then(
          () => 'ended',
          (error: DrpcError) => error.code,
        );
        await call.send('x'.repeat(120_000));
        return { ended };
      }),
    );
    const ends = calls.map(({ ended }) => ended);
    expect(await Promise.race(ends)).toBe(8);
    gate.open();
    expect((await Promise.all(ends)).filter((end) => end === 8)).toHaveLength(1);
  });

  it('lets no more wait to be sent on all connections than maxServerQueuedBytes', async () => {
    const log = new EventLog();
    @Controller()
    class BulkController {
      @MessagePattern('bulk')
      bulk(@Payload() count: number): Observable<string> {
        return range(0, count).pipe(
          map(() => 'x'.repeat(100_000)),
          finalize(() => log.add(`given ${count}`)),
        );
      }
    }
    const service = await TestService.start([BulkController], {
      over: 'memory',
      server: { maxServerQueuedBytes: 1_500_000 },
    });
    const [great, small] = [await service.connect(), await service.connect()];
    // Nobody reads.
    for (const { socket } of [great, small]) socket.pause();
    const first = great.all('bulk', 12);
    await log.seen('given 12');
    const second = small.all('bulk', 9);
    await log.seen('given 9');
    for (const { socket } of [great, small]) socket.resume();
    await expect(first).rejects.toMatchObject({
      code: 8,
      message: expect.stringMatching(/^too much waits to be sent: \d+ bytes on all connections/) as string,
    });
    expect(await second).toHaveLength(9);
    expect(await great.all('bulk', 14)).toHaveLength(14);
  });

  it('limits the log lines that peers cause', async () => {
    const warn = vi.spyOn(Logger.prototype, 'warn');
    onTestFinished(() => warn.mockRestore());
    const service = await TestService.start([]);
    for (let i = 0; i < 30; i++) {
      const socket = connect(service.port, '127.0.0.1');
      socket.write('HELLO\n');
      socket.resume();
      await once(socket, 'close');
    }
    expect(warn).toHaveBeenCalledTimes(10);
  });
});
