import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import {
  createServer,
  getDefaultAutoSelectFamily,
  setDefaultAutoSelectFamily,
  type AddressInfo,
  type LookupFunction,
  type Server,
  type Socket,
} from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { PassThrough, type Duplex } from 'node:stream';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ClosedError } from '../../lib/errors/drpc-error.js';
import type { Address } from '../../lib/pool/address.js';
import { Dial, keepAlive, type DialOptions } from '../../lib/pool/dialer.js';
import { TestClock } from './helpers/test-clock.js';

const pem = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}`, import.meta.url));

async function listen(server: Server, at: { port: number; host: string } | { path: string }): Promise<void> {
  server.listen(at);
  await once(server, 'listening');
  onTestFinished(() => void server.close());
}

/** A server that hands over its connections, and where it is. */
async function tcpServer(): Promise<{ address: Address; accepted: Promise<Socket> }> {
  const server = createServer();
  await listen(server, { port: 0, host: '127.0.0.1' });
  return { address: tcp((server.address() as AddressInfo).port), accepted: accept(server) };
}

async function accept(server: Server, event = 'connection'): Promise<Socket> {
  const [socket] = (await once(server, event)) as [Socket];
  onTestFinished(() => void socket.destroy());
  return socket;
}

function tcp(port: number): Address {
  return { kind: 'tcp', host: '127.0.0.1', port, path: '' };
}

const CUSTOM: Address = { kind: 'custom', host: '', port: 0, path: '' };

function dial(address: Address, options: Partial<DialOptions> = {}): Dial {
  const attempt = new Dial(address, { clock: new TestClock(), connectTimeout: 1000, ...options });
  onTestFinished(async () => void (await attempt.socket.catch(() => undefined))?.destroy());
  return attempt;
}

/** Everything that comes until `size` bytes are here, copied while it is lent. */
function read(socket: Duplex, size: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  return new Promise((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      chunks.push(Buffer.from(chunk));
      length += chunk.length;
      if (length >= size) resolve(Buffer.concat(chunks));
    });
  });
}

describe('Dial', () => {
  it('connects over TCP and reads what comes', async () => {
    const { address, accepted } = await tcpServer();
    const socket = await dial(address).socket;
    const sent = Buffer.alloc(300_000, 'abcdefg');
    (await accepted).write(sent);
    expect((await read(socket, sent.length)).equals(sent)).toBe(true);
  });

  it('lends one buffer for every chunk', async () => {
    const { address, accepted } = await tcpServer();
    const socket = await dial(address).socket;
    const buffers = new Set<ArrayBufferLike>();
    socket.on('data', (chunk: Buffer) => buffers.add(chunk.buffer));
    (await accepted).write(Buffer.alloc(500_000));
    await read(socket, 500_000);
    expect(buffers.size).toBe(1);
  });

  it('stands still while paused and goes on afterwards', async () => {
    const { address, accepted } = await tcpServer();
    const socket = await dial(address).socket;
    const far = await accepted;
    const all = read(socket, 2);
    far.write('a');
    await once(socket, 'data');
    socket.pause();
    const came: string[] = [];
    socket.on('data', (chunk: Buffer) => came.push(chunk.toString()));
    // What is written back comes to the far end after 'b' was put on its way.
    far.write('b');
    const echoed = once(far, 'data');
    socket.write('x');
    await echoed;
    expect(came).toEqual([]);
    socket.resume();
    expect((await all).toString()).toBe('ab');
  });

  it('tells the end of the other side', async () => {
    const { address, accepted } = await tcpServer();
    const socket = await dial(address).socket;
    socket.resume();
    const ended = once(socket, 'end');
    (await accepted).end('bye');
    await ended;
    expect(socket.readableEnded).toBe(true);
  });

  it('connects by a name with addresses of both families', async () => {
    const { address, accepted } = await tcpServer();
    const socket = await dial({ ...address, host: 'localhost' }).socket;
    (await accepted).write('x');
    expect((await read(socket, 1)).toString()).toBe('x');
  });

  it('connects to what a name was found to mean, by the family that answers', async () => {
    const { address, accepted } = await tcpServer();
    const found = [
      { address: '::1', family: 6 },
      { address: '127.0.0.1', family: 4 },
    ];
    const socket = await dial({ ...address, host: 'service.test', found }).socket;
    (await accepted).write('x');
    expect((await read(socket, 1)).toString()).toBe('x');
  });

  it('connects to the first of them where trying both families is switched off', async () => {
    const isOn = getDefaultAutoSelectFamily();
    setDefaultAutoSelectFamily(false);
    onTestFinished(() => setDefaultAutoSelectFamily(isOn));
    const { address, accepted } = await tcpServer();
    const found = [{ address: '127.0.0.1', family: 4 }];
    const socket = await dial({ ...address, host: 'service.test', found }).socket;
    (await accepted).write('x');
    expect((await read(socket, 1)).toString()).toBe('x');
  });

  it('connects to a unix socket', async () => {
    const path = join(tmpdir(), `drpc-${randomUUID()}.sock`);
    const server = createServer();
    await listen(server, { path });
    const accepted = accept(server);
    const socket = await dial({ kind: 'unix', host: '', port: 0, path }).socket;
    (await accepted).write('x');
    expect((await read(socket, 1)).toString()).toBe('x');
  });

  it('connects over TLS, under the name that stands in the certificate', async () => {
    const server = createTlsServer({ cert: pem('server.crt'), key: pem('server.key') });
    await listen(server, { port: 0, host: '127.0.0.1' });
    const accepted = accept(server, 'secureConnection');
    const { port } = server.address() as AddressInfo;
    const address: Address = { kind: 'tls', host: '127.0.0.1', port, path: '', name: 'localhost' };
    const socket = await dial(address, { tls: { ca: pem('ca.crt') } }).socket;
    (await accepted).write('x');
    expect((await read(socket, 1)).toString()).toBe('x');
  });

  it.each<[string, Partial<Address>, string | false]>([
    ['a name', { host: 'localhost' }, 'localhost'],
    ['the name behind an address', { host: '127.0.0.1', name: 'localhost' }, 'localhost'],
    ['no IP address', { host: '127.0.0.1' }, false],
  ])('names the server it wants over TLS: %s', async (_, where, expected) => {
    const server = createTlsServer({ cert: pem('server.crt'), key: pem('server.key') });
    await listen(server, { port: 0, host: '127.0.0.1' });
    const accepted = accept(server, 'secureConnection');
    const { port } = server.address() as AddressInfo;
    const found = [{ address: '127.0.0.1', family: 4 }];
    const address: Address = { kind: 'tls', host: '', port, path: '', found, ...where };
    await dial(address, { tls: { ca: pem('ca.crt'), checkServerIdentity: () => undefined } }).socket;
    expect(((await accepted) as TLSSocket & { servername: string | false }).servername).toBe(expected);
  });

  describe('with the preamble before TLS', () => {
    const tls = { ca: pem('ca.crt') };
    const address = (port: number): Address => ({ kind: 'tls', host: 'localhost', port, path: '' });

    /** Takes the preamble off, and makes TLS of what follows. */
    async function behindPreamble(): Promise<{ port: number; accepted: Promise<TLSSocket> }> {
      const secure = createTlsServer({ cert: pem('server.crt'), key: pem('server.key') });
      const server = createServer((socket) => {
        socket.once('readable', () => {
          expect(String(socket.read(8))).toBe('DRPC!!!1');
          secure.emit('connection', socket);
        });
      });
      await listen(server, { port: 0, host: '127.0.0.1' });
      const accepted = accept(secure, 'secureConnection') as Promise<TLSSocket>;
      return { port: (server.address() as AddressInfo).port, accepted };
    }

    it('connects, under the name that stands in the certificate', async () => {
      const { port, accepted } = await behindPreamble();
      const socket = await dial(address(port), { tls, isPreambleBeforeTls: true }).socket;
      const far = await accepted;
      expect((far as TLSSocket & { servername: string }).servername).toBe('localhost');
      const sent = Buffer.alloc(300_000, 'abcdefg');
      far.write(sent);
      expect((await read(socket, sent.length)).equals(sent)).toBe(true);
      socket.write('x');
      expect((await read(far, 1)).toString()).toBe('x');
    });

    it('connects to what a name was found to mean, by the family that answers', async () => {
      const { port } = await behindPreamble();
      const found = [
        { address: '::1', family: 6 },
        { address: '127.0.0.1', family: 4 },
      ];
      const socket = await dial({ ...address(port), found }, { tls, isPreambleBeforeTls: true }).socket;
      expect((socket as Socket).remoteAddress).toBe('127.0.0.1');
    });

    it('says which address refused', async () => {
      const server = createServer();
      await listen(server, { port: 0, host: '127.0.0.1' });
      const { port } = server.address() as AddressInfo;
      await new Promise((resolve) => server.close(resolve));
      await expect(dial(address(port), { tls, isPreambleBeforeTls: true }).socket).rejects.toThrow(
        `cannot connect to drpcs://localhost:${port}: ECONNREFUSED`,
      );
    });

    it('refuses a certificate that nobody vouches for', async () => {
      const { port } = await behindPreamble();
      await expect(dial(address(port), { isPreambleBeforeTls: true }).socket).rejects.toThrow(
        /UNABLE_TO_VERIFY_LEAF_SIGNATURE$/,
      );
    });

    it('closes its socket when it is given up amidst the handshake', async () => {
      const { address: where, accepted } = await tcpServer();
      const attempt = dial(address(where.port), { tls, isPreambleBeforeTls: true });
      const far = await accepted;
      await once(far, 'readable');
      const closed = once(far, 'close');
      far.on('error', () => undefined).resume();
      attempt.cancel(new ClosedError('not needed'));
      await expect(attempt.socket).rejects.toThrow('not needed');
      await closed;
    });
  });

  it('falls back to the other family where its own can not be reached', async () => {
    const { address, accepted } = await tcpServer();
    const found = [
      { address: '::1', family: 6 },
      { address: '127.0.0.1', family: 4 },
    ];
    const socket = await dial({ ...address, host: '::1', name: 'service.test', found }).socket;
    (await accepted).write('x');
    expect((await read(socket, 1)).toString()).toBe('x');
  });

  it('holds the certificate of a name against the name, whatever was found for it', async () => {
    const server = createTlsServer({ cert: pem('server.crt'), key: pem('server.key') });
    await listen(server, { port: 0, host: '127.0.0.1' });
    const { port } = server.address() as AddressInfo;
    const found = [{ address: '127.0.0.1', family: 4 }];
    const at = (host: string): Address => ({ kind: 'tls', host, port, path: '', found });
    const tls = { ca: pem('ca.crt') };
    await dial(at('localhost'), { tls }).socket;
    await expect(dial(at('service.test'), { tls }).socket).rejects.toThrow(/ERR_TLS_CERT_ALTNAME_INVALID$/);
  });

  it('leaves the look-up to the settings of TLS where they have one', async () => {
    const server = createTlsServer({ cert: pem('server.crt'), key: pem('server.key') });
    await listen(server, { port: 0, host: '127.0.0.1' });
    const { port } = server.address() as AddressInfo;
    // Nobody has this address: it is kept for documents.
    const found = [{ address: '192.0.2.1', family: 4 }];
    const address: Address = { kind: 'tls', host: 'localhost', port, path: '', found };
    const own = { address: '127.0.0.1', family: 4 };
    const lookup: LookupFunction = (_host, { all }, done) =>
      all ? done(null, [own]) : done(null, own.address, own.family);
    const socket = await dial(address, { tls: { ca: pem('ca.crt'), lookup } }).socket;
    expect((socket as Socket).remoteAddress).toBe('127.0.0.1');
  });

  it('refuses a certificate that nobody vouches for', async () => {
    const server = createTlsServer({ cert: pem('server.crt'), key: pem('server.key') });
    await listen(server, { port: 0, host: '127.0.0.1' });
    server.on('tlsClientError', () => undefined);
    const { port } = server.address() as AddressInfo;
    const error: unknown = await dial({ kind: 'tls', host: '127.0.0.1', port, path: '' }).socket.catch(
      (failure: unknown) => failure,
    );
    expect(error).toBeInstanceOf(ClosedError);
    expect(error).toMatchObject({
      code: 14,
      message: expect.stringMatching(/^cannot connect to drpcs:.*UNABLE_TO_VERIFY/),
    });
  });

  it("says which address refused, with Node's error as cause", async () => {
    const server = createServer();
    await listen(server, { port: 0, host: '127.0.0.1' });
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    await expect(dial(tcp(port)).socket).rejects.toMatchObject({
      name: 'ClosedError',
      code: 14,
      message: `cannot connect to drpc://127.0.0.1:${port}: ECONNREFUSED`,
      cause: expect.objectContaining({ code: 'ECONNREFUSED' }),
    });
  });

  it('gives up after its time, and closes what connects later', async () => {
    const clock = new TestClock();
    const late = new PassThrough();
    let connect!: (duplex: Duplex) => void;
    const attempt = dial(CUSTOM, {
      clock,
      connectTimeout: 500,
      dial: () => new Promise((resolve) => (connect = resolve)),
    });
    clock.advance(499);
    expect(clock.pendingTimers).toBe(1);
    clock.advance(1);
    await expect(attempt.socket).rejects.toThrow('cannot connect to dial(): no connection within 500 ms');
    connect(late);
    await once(late, 'close');
    expect(late.destroyed).toBe(true);
  });

  it('can be given up, once', async () => {
    const { address } = await tcpServer();
    const attempt = dial(address);
    attempt.cancel(new ClosedError('not needed'));
    attempt.cancel(new ClosedError('still not needed'));
    await expect(attempt.socket).rejects.toThrow('not needed');
  });

  it('is not hurt by being given up after it has connected', async () => {
    const { address } = await tcpServer();
    const attempt = dial(address);
    const socket = await attempt.socket;
    attempt.cancel(new ClosedError('too late'));
    expect(socket.destroyed).toBe(false);
  });

  it('leaves no timer behind', async () => {
    const clock = new TestClock();
    const { address } = await tcpServer();
    await dial(address, { clock }).socket;
    await dial(CUSTOM, { clock, dial: () => Promise.reject(new Error('no')) }).socket.catch(() => undefined);
    expect(clock.pendingTimers).toBe(0);
  });

  it('takes a rejection and a closed duplex of the dial option for a failure', async () => {
    const failure = new Error('no way');
    await expect(dial(CUSTOM, { dial: () => Promise.reject(failure) }).socket).rejects.toMatchObject({
      message: 'cannot connect to dial()',
      cause: failure,
    });
    const none = {} as Duplex;
    await expect(dial(CUSTOM, { dial: async () => none }).socket).rejects.toThrow(
      'cannot connect to dial(): option dial resolved with an Object: it must be a Duplex',
    );
    const closed = new PassThrough().destroy();
    await expect(dial(CUSTOM, { dial: async () => closed }).socket).rejects.toThrow('closed at once');
  });

  it('leaves a socket with a listener for errors', async () => {
    const { address } = await tcpServer();
    const socket = await dial(address).socket;
    expect(socket.listenerCount('error')).toBeGreaterThan(0);
    const custom = await dial(CUSTOM, { dial: async () => new PassThrough() }).socket;
    expect(custom.listenerCount('error')).toBeGreaterThan(0);
  });
});

describe('keepAlive', () => {
  it('asks the kernel to watch a socket, and leaves other duplexes alone', async () => {
    const { address } = await tcpServer();
    const socket = (await dial(address).socket) as Socket;
    const asked: unknown[] = [];
    socket.setKeepAlive = (...args) => {
      asked.push(args);
      return socket;
    };
    keepAlive(socket);
    expect(asked).toEqual([[true, 30_000]]);
    expect(() => keepAlive(new PassThrough())).not.toThrow();
  });
});
