import { connect, type Socket } from 'node:net';
import { connect as connectTls, type Server as TlsServer } from 'node:tls';
import { once } from 'node:events';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern } from '@nestjs/microservices';
import { DrpcContext, type DrpcServerOptions } from 'nestjs-drpc';
import { describe, expect, it, onTestFinished } from 'vitest';
import { encodeFrame, parseFrame } from '../../lib/wire/frame.js';
import { Kind } from '../../lib/wire/kind.js';
import { Caller } from './helpers/caller.js';
import { pem, TestService } from './helpers/test-service.js';
import { startSlow } from './helpers/slow-service.js';

describe('DrpcServer and the kinds of clients', () => {
  const HELLO = Buffer.from('DRPC!!!1');

  /** What the server answers an unknown rpc with: the bytes of an Error frame. */
  async function errorBytes(server: DrpcServerOptions): Promise<Buffer> {
    const service = await TestService.start([], { server });
    const socket = connect(service.port, '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    socket.write(
      encodeFrame({
        streamId: 1,
        messageId: 1,
        kind: Kind.Invoke,
        done: true,
        control: false,
        data: Buffer.from('x'),
      }),
    );
    const [bytes] = (await once(socket, 'data')) as [Buffer];
    return bytes;
  }

  it.each<[NonNullable<DrpcServerOptions['plainClients']> | undefined, boolean]>([
    [undefined, true],
    ['storj', true],
    ['cockroach', false],
    ['cockroach-fc', false],
  ])('answers plain clients with errors in the form of plainClients %s', async (plainClients, isStorj) => {
    const frame = parseFrame(await errorBytes({ plainClients }), 0)!.frame;
    expect(frame.kind).toBe(Kind.Error);
    // The storj form begins with the code in eight bytes, the status form with a protobuf field.
    expect(Buffer.from(frame.data).readBigUInt64BE() === 12n).toBe(isStorj);
  });

  it.each([
    ['accept', true, true],
    ['accept', false, true],
    ['require', true, true],
    ['require', false, false],
    ['off', true, false],
    ['off', false, true],
  ] as const)('with preamble %s, sent: %s, serves: %s', async (preamble, isSent, serves) => {
    const { service } = await startSlow({ preamble });
    const socket = connect(service.port, '127.0.0.1');
    if (isSent) socket.write(HELLO);
    const caller = new Caller(socket);
    onTestFinished(() => caller.close());
    const answer = await caller.call('echo', 1).catch((error: unknown) => error);
    expect(answer === 1).toBe(serves);
  });
});

describe('DrpcServer over TLS', () => {
  const tls = { cert: pem('server.crt'), key: pem('server.key') };

  @Controller()
  class PeerController {
    @MessagePattern('peer')
    peer(@Ctx() { peer }: DrpcContext): unknown {
      const { isEncrypted, isAuthorized, certificate, address } = peer;
      return { isEncrypted, isAuthorized, name: certificate?.subject.CN, address };
    }
  }

  it('takes a drpcs URL, and shows handlers the certificate of the client', async () => {
    const service = await TestService.start([PeerController], {
      server: {
        port: undefined,
        url: 'drpcs://127.0.0.1:0',
        tls: { ...tls, ca: pem('ca.crt'), requestCert: true, rejectUnauthorized: true },
      },
    });
    const socket = connectTls({
      port: service.port,
      host: '127.0.0.1',
      ca: pem('ca.crt'),
      cert: pem('client.crt'),
      key: pem('client.key'),
    });
    const caller = new Caller(socket);
    onTestFinished(() => caller.close());
    expect(await caller.call('peer', 1)).toEqual({
      isEncrypted: true,
      isAuthorized: true,
      name: 'nestjs-drpc test client',
      address: '127.0.0.1',
    });
  });

  it('refuses a client without a certificate where one is required', async () => {
    const service = await TestService.start([PeerController], {
      server: { port: 0, tls: { ...tls, ca: pem('ca.crt'), requestCert: true, rejectUnauthorized: true } },
    });
    const socket = connectTls({ port: service.port, host: '127.0.0.1', ca: pem('ca.crt') });
    const caller = new Caller(socket);
    onTestFinished(() => caller.close());
    await expect(caller.call('peer', 1)).rejects.toMatchObject({ code: 14 });
  });

  describe("with preamble 'beforeTls'", () => {
    const hello = Buffer.from('DRPC!!!1');

    /** A client that sends this in front of TLS, in as many pieces as there are. */
    async function connectBehind(service: TestService, pieces: readonly Buffer[]): Promise<Caller> {
      const below = connect({ port: service.port, host: '127.0.0.1', noDelay: true });
      await once(below, 'connect');
      for (const piece of pieces) {
        // Each by itself, as far as the kernel lets them.
        await new Promise<void>((resolve) => below.write(piece, () => setImmediate(resolve)));
      }
      const caller = new Caller(connectTls({ socket: below, host: 'localhost', ca: pem('ca.crt') }));
      onTestFinished(() => caller.close());
      return caller;
    }

    it.each<[string, Buffer[]]>([
      ['one', [hello]],
      ['one in pieces', [...hello].map((byte) => Buffer.of(byte))],
      ['none', []],
    ])('serves a client that sends %s in front of TLS', async (_, pieces) => {
      const service = await TestService.start([PeerController], {
        over: 'tls',
        server: { preamble: 'beforeTls' },
      });
      const caller = await connectBehind(service, pieces);
      expect(await caller.call('peer', 1)).toMatchObject({ isEncrypted: true, address: '127.0.0.1' });
    });

    it('serves a client that sends it in TLS', async () => {
      const service = await TestService.start([PeerController], {
        over: 'tls',
        server: { preamble: 'beforeTls' },
      });
      const socket = connectTls({ port: service.port, host: '127.0.0.1', ca: pem('ca.crt') });
      socket.write(hello);
      const caller = new Caller(socket);
      onTestFinished(() => caller.close());
      expect(await caller.call('peer', 1)).toMatchObject({ isEncrypted: true });
    });

    it('refuses what is neither, and says so', async () => {
      const service = await TestService.start([], { over: 'tls', server: { preamble: 'beforeTls' } });
      const error = new Promise<Error>((resolve) => service.server.on('error', resolve));
      const socket = connect(service.port, '127.0.0.1');
      socket.on('error', () => undefined).resume();
      socket.write('DRPC!!!2');
      await once(socket, 'close');
      expect((await error).message).toMatch(
        /^TLS handshake with .* failed: .*: the client does not speak TLS$/,
      );
    });

    it('says that a client has not begun within tlsHandshakeTimeout, and closes it', async () => {
      const service = await TestService.start([], {
        over: 'tls',
        server: { preamble: 'beforeTls', tlsHandshakeTimeout: 20 },
      });
      const error = new Promise<Error>((resolve) => service.server.on('error', resolve));
      const silent = connect(service.port, '127.0.0.1');
      silent.resume().write('DRPC');
      await once(silent, 'close');
      expect((await error).message).toMatch(
        /^TLS handshake with 127\.0\.0\.1:\d+ failed: TLS handshake timeout$/,
      );
    });

    it('says nothing of a client that leaves before it has begun, and closes one that has not at its end', async () => {
      const service = await TestService.start([], { over: 'tls', server: { preamble: 'beforeTls' } });
      const errors: Error[] = [];
      service.server.on('error', (error) => errors.push(error as Error));
      const accepted = once(service.app.unwrap<TlsServer>(), 'connection') as Promise<[Socket]>;
      const leaving = connect(service.port, '127.0.0.1');
      const [far] = await accepted;
      leaving.end('DR');
      await once(far, 'close');
      const silent = connect(service.port, '127.0.0.1');
      silent.resume();
      await once(service.app.unwrap<TlsServer>(), 'connection');
      await Promise.all([once(silent, 'close'), service.app.close()]);
      expect(errors).toEqual([]);
    });
  });

  it('shows no certificate of a client that has none', async () => {
    const service = await TestService.start([PeerController], { over: 'tls' });
    const caller = await service.connect();
    expect(await caller.call('peer', 1)).toEqual({
      isEncrypted: true,
      isAuthorized: false,
      address: '127.0.0.1',
    });
  });
});
