import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, connect, Server as NetServer, type AddressInfo } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import { once } from 'node:events';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import {
  ClosedError,
  DrpcServer,
  DrpcStatus,
  type DrpcListener,
  type DrpcServerOptions,
  type ListenerHooks,
} from 'nestjs-drpc';
import { createInMemoryNetwork, createInMemoryPair } from 'nestjs-drpc/testing';
import { map, range, type Observable } from 'rxjs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Caller } from './helpers/caller.js';
import { PeerConn } from '../../lib/control/peer-conn.js';
import { EventLog, Gate } from './helpers/event-log.js';
import { socketPath, TestService } from './helpers/test-service.js';
import { controllerOf, startSlow } from './helpers/slow-service.js';

function listen(server: DrpcServer): Promise<unknown[]> {
  return new Promise((resolve) => server.listen((...args) => resolve(args)));
}

/** A server without an application, closed at the end of the test. */
function bare(options: DrpcServerOptions): DrpcServer {
  const server = new DrpcServer(options);
  onTestFinished(() => server.close());
  return server;
}

async function takePort(): Promise<number> {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  onTestFinished(() => void taken.close());
  return (taken.address() as AddressInfo).port;
}

/** A listener whose clients the test makes by hand. */
function handListener(closing: () => void = () => undefined): {
  listener: DrpcListener;
  connect: () => Caller;
} {
  let hooks!: ListenerHooks;
  const listener: DrpcListener = {
    listen: async (given) => {
      hooks = given;
    },
    address: () => null,
    stop: () => undefined,
    close: async () => closing(),
  };
  const connect = (): Caller => {
    const [near, far] = createInMemoryPair();
    hooks.connection(far);
    return new Caller(near);
  };
  return { listener, connect };
}

describe('DrpcServer.listen', () => {
  it('listens on a free port for port 0 and tells which', async () => {
    const { service } = await startSlow();
    expect(service.server.address()).toMatchObject({ address: '127.0.0.1', family: 'IPv4' });
    expect(service.port).toBeGreaterThan(0);
  });

  it.each([
    ['a URL', () => ({ url: 'drpc://localhost:0' })],
    ['a URL with IPv6', () => ({ url: 'drpc://[::1]:0' })],
    ['host and port', () => ({ host: 'localhost', port: 0 })],
  ])('takes %s', async (_what, options) => {
    const server = bare(options());
    expect(await listen(server)).toEqual([]);
    expect((server.address() as AddressInfo).port).toBeGreaterThan(0);
  });

  it('takes the URL of a unix socket', async () => {
    const path = socketPath();
    const server = bare({ url: `drpc+unix:${path}` });
    expect(await listen(server)).toEqual([]);
    expect(server.address()).toBe(path);
  });

  it('rejects app.listen() when the port is taken', async () => {
    const port = await takePort();
    const module = await Test.createTestingModule({}).compile();
    const app = module.createNestMicroservice({ strategy: new DrpcServer({ port }) });
    app.useLogger(false);
    await expect(app.listen()).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await app.close();
  });

  it.each<[what: string, options: () => Promise<DrpcServerOptions>]>([
    ['a port that is taken', async () => ({ port: await takePort() })],
    ['a host that is not of this machine', async () => ({ host: '192.0.2.1', port: 0 })],
    ['settings of TLS that Node refuses', async () => ({ port: 0, tls: { SNICallback: 5 as never } })],
    ['a directory that does not exist', async () => ({ path: '/does/not/exist.sock' })],
    [
      'a listener that throws',
      async () => ({
        listener: {
          listen: () => {
            throw new Error('no');
          },
          address: () => null,
          stop: () => undefined,
          close: async () => undefined,
        },
      }),
    ],
  ])('calls back once with the error for %s, and may be tried again', async (_what, options) => {
    const server = bare(await options());
    const callback = vi.fn<(error?: unknown) => void>();
    await new Promise<void>((resolve) => server.listen((error) => resolve(callback(error))));
    expect(await listen(server)).toEqual([expect.any(Error)]);
    expect(callback).toHaveBeenCalledTimes(1);
    expect(callback).toHaveBeenCalledWith(expect.any(Error));
    expect(server.address()).toBeNull();
  });

  it('refuses to listen twice, and goes on as before', async () => {
    const server = bare({ port: 0 });
    const seen: string[] = [];
    server.status.subscribe((status) => seen.push(status));
    expect(await listen(server)).toEqual([]);
    expect(await listen(server)).toEqual([
      new Error('DrpcServer is listening already: close it before it listens again'),
    ]);
    expect(seen).toEqual([DrpcStatus.Connected]);
  });

  it('takes over the socket file of a process that died', async () => {
    const path = socketPath();
    // A server that closes removes its file; a process that is killed does not.
    const dead = spawn(process.execPath, [
      '-e',
      `require('node:net').createServer().listen(${JSON.stringify(path)}, () => console.log('listening'))`,
    ]);
    await once(dead.stdout, 'data');
    dead.kill('SIGKILL');
    await once(dead, 'exit');
    expect(existsSync(path)).toBe(true);
    const server = bare({ path });
    expect(await listen(server)).toEqual([]);
  });

  it('leaves a file alone that is no socket', async () => {
    const path = socketPath();
    writeFileSync(path, 'precious');
    onTestFinished(() => rmSync(path));
    expect(await listen(bare({ path }))).toEqual([expect.objectContaining({ code: 'EADDRINUSE' })]);
    expect(readFileSync(path, 'utf8')).toBe('precious');
  });

  it('leaves the socket file of a process that lives alone', async () => {
    const path = socketPath();
    const alive = createServer().listen(path);
    await once(alive, 'listening');
    onTestFinished(() => void alive.close());
    expect(await listen(bare({ path }))).toEqual([expect.objectContaining({ code: 'EADDRINUSE' })]);
    expect(alive.listening).toBe(true);
  });
});

describe('DrpcServer.status and .on', () => {
  it('tells a status to app.status from before it listens, again after it closed', async () => {
    const module = await Test.createTestingModule({}).compile();
    const server = new DrpcServer({ port: 0 });
    const app = module.createNestMicroservice({ strategy: server });
    app.useLogger(false);
    const seen: string[] = [];
    app.status.subscribe((status) => seen.push(status));
    await app.listen();
    await app.close();
    expect(await listen(server)).toEqual([]);
    await server.close();
    expect(seen).toEqual([
      DrpcStatus.Connected,
      DrpcStatus.Disconnected,
      DrpcStatus.Connected,
      DrpcStatus.Disconnected,
    ]);
  });

  it('tells listeners, added before it listens, what happens', async () => {
    const seen: unknown[] = [];
    const service = await TestService.start([], {
      prepare: (app, server) => {
        app.on('listening', (address: AddressInfo) => seen.push(['listening', address.address]));
        server
          .on('connection', (peer) => seen.push(['connection', peer.connectionId]))
          .on('disconnect', (peer, cause) => seen.push(['disconnect', peer.connectionId, cause.name]))
          .on('close', () => seen.push(['close']));
      },
    });
    const caller = await service.connect();
    await caller.fence();
    const gone = new Promise((resolve) => service.server.on('disconnect', resolve));
    await caller.close();
    await gone;
    await service.app.close();
    expect(seen).toEqual([
      ['listening', '127.0.0.1'],
      ['connection', 1],
      ['disconnect', 1, 'ClosedError'],
      ['close'],
    ]);
  });

  it('survives a listener that throws', async () => {
    const service = await TestService.start([], {
      prepare: (_app, server) =>
        void server.on('connection', () => {
          throw new Error('any');
        }),
    });
    const caller = await service.connect();
    await expect(caller.call('x')).rejects.toMatchObject({ code: 12 });
  });

  it('tells what another protocol looks like, and closes that connection only', async () => {
    const service = await TestService.start([]);
    const caller = await service.connect();
    await caller.fence();
    const error = new Promise<Error>((resolve) => service.server.on('error', resolve));
    const browser = connect(service.port, '127.0.0.1');
    browser.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    browser.resume();
    await once(browser, 'close');
    expect((await error).message).toMatch(/^connection 2 from 127\.0\.0\.1:\d+: HTTP on a DRPC port/);
    await expect(caller.call('x')).rejects.toMatchObject({ code: 12 });
  });
});

describe('DrpcServer.on', () => {
  it('refuses what never happens, of which app.on() takes any name', async () => {
    const module = await Test.createTestingModule({}).compile();
    const app = module.createNestMicroservice({ strategy: new DrpcServer({ port: 0 }) });
    expect(() => app.on('disconnected', () => undefined) as unknown).toThrow(
      new TypeError(
        'event disconnected is not known, did you mean disconnect? There are close, connection, disconnect, error, listening, overload',
      ),
    );
    await app.close();
  });
});

describe('DrpcServer.unwrap', () => {
  it('gives the net.Server, the tls.Server, or the listener', async () => {
    const tcp = await TestService.start([]);
    expect(tcp.app.unwrap()).toBeInstanceOf(NetServer);
    expect(tcp.app.unwrap<NetServer>().listening).toBe(true);
    const tls = await TestService.start([], { over: 'tls' });
    expect(tls.app.unwrap()).toBeInstanceOf(TlsServer);
    const memory = await TestService.start([], { over: 'memory' });
    expect(memory.app.unwrap()).toHaveProperty('listen');
    expect(memory.server.address()).toBeNull();
  });

  it('throws before it listens and after it closed', async () => {
    const server = bare({ port: 0 });
    const message = 'DrpcServer is not listening: call listen() before unwrap()';
    expect(() => server.unwrap()).toThrow(message);
    await listen(server);
    await server.close();
    expect(() => server.unwrap()).toThrow(message);
  });
});

describe('DrpcServer.close', () => {
  it('lets calls in flight finish, and takes no new ones', async () => {
    const { log, gate, service, caller } = await startSlow({ gracePeriod: 60_000 });
    const call = caller.call('slow', 1);
    await log.seen('started');
    const closed = service.app.close();
    await expect(caller.call('echo', 1)).rejects.toMatchObject({
      code: 14,
      message: 'the server is shutting down',
    });
    gate.open();
    expect(await call).toBe('in time');
    await closed;
    expect(log.entries).toEqual(['started']);
  });

  it('refuses new connections while calls in flight finish', async () => {
    const { log, gate, service } = await startSlow({ gracePeriod: 60_000 });
    const { port } = service;
    const caller = await service.connect();
    const call = caller.call('slow', 1);
    await log.seen('started');
    const closed = service.app.close();
    const late = connect(port, '127.0.0.1');
    await expect(once(late, 'connect')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    gate.open();
    await call;
    await closed;
  });

  it('lets events in flight finish', async () => {
    const { log, gate, service, caller } = await startSlow({ gracePeriod: 60_000 });
    await caller.all('event', 1);
    await log.seen('started');
    const closed = service.app.close();
    gate.open();
    await closed;
    expect(log.entries).toEqual(['started', 'event ended']);
  });

  it('cancels with code 14 what is left after the grace period', async () => {
    const { log, service, caller } = await startSlow({ gracePeriod: 20 });
    const call = caller.call('slow', 1);
    const endless = caller.open('endless', [1]).rest();
    await caller.all('event', 1);
    await caller.fence();
    await Promise.all([
      expect(call).rejects.toMatchObject({ code: 14, message: 'the server is shutting down' }),
      expect(endless).rejects.toMatchObject({ code: 14 }),
      service.app.close(),
    ]);
    expect(log.entries).toEqual([
      ...['started', 'started', 'started'],
      ...['aborted: the server is shutting down', 'aborted: the server is shutting down'],
    ]);
  });

  it('tells a client of this library that it goes, and still answers its calls', async () => {
    const { log, gate, service } = await startSlow({ gracePeriod: 60_000 });
    const goaway = new Gate();
    const conn = await PeerConn.connect(
      connect(service.port, '127.0.0.1'),
      {},
      { goaway: () => goaway.open() },
    );
    const answer = new Promise<string>((resolve) => {
      const sink = {
        message: (bytes: Buffer, start: number, end: number) => resolve(bytes.toString('utf8', start, end)),
        end: () => undefined,
        terminated: () => undefined,
      };
      conn.openUnary('slow', '1', sink).request(1);
    });
    await log.seen('started');
    const closed = service.app.close();
    await goaway.opened;
    expect(conn.isDraining).toBe(true);
    gate.open();
    expect(await answer).toBe('"in time"');
    await closed;
    expect(await conn.closed).toBeInstanceOf(ClosedError);
  });

  it('waits for answers that wait for their reader, though their handler has ended', async () => {
    @Controller()
    class ManyController {
      @MessagePattern('many')
      many(): Observable<string> {
        return range(50).pipe(map((at) => String(at).padStart(10_000)));
      }
    }
    const service = await TestService.start([ManyController], { server: { gracePeriod: 60_000 } });
    const goaway = new Gate();
    const conn = await PeerConn.connect(
      connect(service.port, '127.0.0.1'),
      { streamWindow: 64 * 1024 },
      { goaway: () => goaway.open() },
    );
    const first = new Gate();
    let count = 0;
    const cause = new Promise<Error | undefined>((resolve) => {
      const sink = {
        message: () => {
          count++;
          first.open();
        },
        end: resolve,
        terminated: () => undefined,
      };
      const stream = conn.openUnary('many', '1', sink);
      stream.request(1);
      void goaway.opened.then(() => stream.request(Infinity));
    });
    await first.opened;
    const closed = service.app.close();
    expect(await cause).toBeUndefined();
    expect(count).toBe(50);
    await closed;
  });

  it('gives a slow reader the rest of the grace period to take answers that are on their way', async () => {
    @Controller()
    class LargeController {
      @MessagePattern('large')
      large(): string {
        return 'x'.repeat(150_000);
      }
    }
    const service = await TestService.start([LargeController], {
      over: 'memory',
      server: { gracePeriod: 10_000 },
    });
    const caller = await service.connect();
    caller.socket.pause();
    const answer = caller.call('large', 1);
    const nextTurn = () => new Promise((resolve) => setImmediate(resolve));
    await nextTurn();
    await nextTurn();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const closed = service.server.close();
    await nextTurn();
    vi.advanceTimersByTime(9000);
    caller.socket.resume();
    expect(await answer).toHaveLength(150_000);
    await closed;
  });

  it('may be called twice, at once and one after the other, and on a server that never listened', async () => {
    const server = new DrpcServer({ port: 0 });
    await server.close();
    await listen(server);
    await Promise.all([server.close(), server.close()]);
    await server.close();
    expect(server.address()).toBeNull();
  });

  it('may be called while the server begins to listen', async () => {
    const server = new DrpcServer({ port: 0 });
    const listening = listen(server);
    await server.close();
    expect(await listening).toEqual([expect.any(ClosedError)]);
    expect(server.address()).toBeNull();
    expect(await listen(server)).toEqual([]);
    await server.close();
  });

  it.each(['tcp', 'tls', 'unix', 'memory'] as const)('may listen again over %s', async (over) => {
    const log = new EventLog();
    const service = await TestService.start([controllerOf(log, new Gate())], { over });
    for (const round of [1, 2]) {
      await service.server.close();
      expect(await listen(service.server)).toEqual([]);
      const caller = await service.connect();
      expect(await caller.call('echo', round)).toBe(round);
    }
  });

  it('tells a client that comes while it goes, as a TLS handshake may end late', async () => {
    const { listener, connect } = handListener();
    const log = new EventLog();
    const gate = new Gate();
    const server = { port: undefined, listener, gracePeriod: 60_000 };
    const service = await TestService.start([controllerOf(log, gate)], { server });
    const call = connect().call('slow', 1);
    await log.seen('started');
    const closed = service.app.close();
    const late = connect();
    await expect(late.call('echo', 1)).rejects.toMatchObject({
      code: 14,
      message: 'the server is shutting down',
    });
    gate.open();
    expect(await call).toBe('in time');
    await closed;
    await late.conn.closed;
  });

  it('closes a client that comes when the others were closed', async () => {
    let late!: Caller;
    const { listener, connect } = handListener(() => void (late = connect()));
    const service = await TestService.start([], { server: { port: undefined, listener } });
    await service.server.close();
    expect(await late.conn.closed).toBeInstanceOf(ClosedError);
  });

  it.each(['stop', 'close'] as const)(
    'finishes calls and closes all although %s() of its listener throws, and tells that',
    async (method) => {
      const { listener, dial } = createInMemoryNetwork();
      const faulty: DrpcListener = {
        listen: (hooks) => listener.listen(hooks),
        address: () => null,
        stop: () => listener.stop(),
        close: () => listener.close(),
        [method]: () => {
          throw new Error(`no ${method}`);
        },
      };
      const log = new EventLog();
      const gate = new Gate();
      const server = { port: undefined, listener: faulty, gracePeriod: 60_000 };
      const service = await TestService.start([controllerOf(log, gate)], { server });
      const statuses: string[] = [];
      service.server.status.subscribe((status) => statuses.push(status));
      const caller = new Caller(await dial());
      const call = caller.call('slow', 1);
      await log.seen('started');
      const closed = service.server.close();
      gate.open();
      expect(await call).toBe('in time');
      await expect(closed).rejects.toThrow(`no ${method}`);
      await caller.conn.closed;
      expect(statuses).toEqual([DrpcStatus.Connected, DrpcStatus.Disconnected]);
    },
  );

  it('closes connections that never said anything', async () => {
    const service = await TestService.start([]);
    const accepted = new Promise((resolve) => service.server.on('connection', resolve));
    const silent = connect(service.port, '127.0.0.1');
    await accepted;
    silent.resume();
    await Promise.all([once(silent, 'close'), service.app.close()]);
    expect(silent.destroyed).toBe(true);
  });

  it('closes a connection whose TLS handshake has not ended', async () => {
    const service = await TestService.start([], { over: 'tls' });
    const accepted = once(service.app.unwrap<TlsServer>(), 'connection');
    const silent = connect(service.port, '127.0.0.1');
    await accepted;
    silent.resume();
    await Promise.all([once(silent, 'close'), service.app.close()]);
    expect(silent.destroyed).toBe(true);
  });
});
