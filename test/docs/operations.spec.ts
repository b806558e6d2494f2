import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import {
  connect as connectTls,
  type ConnectionOptions,
  type Server as TlsServer,
  type TLSSocket,
} from 'node:tls';
import type { AddressInfo } from 'node:net';
import { Controller, Get, Inject, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientsModule, Ctx, MessagePattern, type MicroserviceOptions } from '@nestjs/microservices';
import { HealthCheck, HealthCheckService, TerminusModule, type HealthCheckResult } from '@nestjs/terminus';
import { Test } from '@nestjs/testing';
import {
  DrpcClient,
  drpcClient,
  DrpcContext,
  DrpcHealthIndicator,
  DrpcServer,
  type DrpcClientInterceptor,
  type DrpcServerOptions,
} from 'nestjs-drpc';
import { instrumentClient, instrumentServer, telemetryInterceptor } from 'nestjs-drpc/opentelemetry';
import { SpanKind, trace } from '@opentelemetry/api';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Telemetry } from '../telemetry/helpers.js';
import { pem } from '../transport/helpers/test-service.js';

const root = new URL('../../', import.meta.url);
const page = readFileSync(new URL('docs/operations.md', root), 'utf8');
const ownCode = trimLines(readFileSync(new URL(import.meta.url), 'utf8'));

/** Code without the white space that only lays it out. */
function trimLines(code: string): string {
  return code
    .split('\n')
    .map((line) => line.trim())
    .join('\n');
}

/** Each test file that the page names, with each test of it that stands in quotes behind it. */
const references = [...page.matchAll(/`(test\/[\w./-]+)`(?::\s+((?:"[^"]+"(?:,\s+)?)+))?/g)].flatMap(
  ([, file, titles]) =>
    [...(titles ?? '""').matchAll(/"([^"]*)"/g)].map(
      ([, title]) => [file!, title!.replace(/\s+/g, ' ')] as const,
    ),
);

describe('docs/operations.md', () => {
  it('names tests', () => {
    expect(references.length).toBeGreaterThan(25);
  });

  it.each(references)('%s has the test: %s', (file, title) => {
    const path = new URL(file, root);
    expect(existsSync(path)).toBe(true);
    expect(readFileSync(path, 'utf8')).toContain(title);
  });

  it.each([...page.matchAll(/```ts\n([^]*?)```/g)].map(([, code]) => [code!.split('\n')[0]!, code!]))(
    'takes its code from what runs here: %s',
    (_first, code) => {
      expect(ownCode).toContain(trimLines(code).trim());
    },
  );

  it('links to pages and headings that are there', () => {
    const links = [...page.matchAll(/\]\(([^)]+)\)/g)].map(
      ([, link]) => link!.split('#') as [string, string?],
    );
    expect(links.length).toBeGreaterThan(2);
    for (const [file, anchor] of links) {
      const target = file === '' ? page : readFileSync(new URL(`docs/${file}`, root), 'utf8');
      const anchors = [...target.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
        heading!
          .toLowerCase()
          .replace(/[^\w -]/g, '')
          .replace(/ /g, '-'),
      );
      expect([undefined, ...anchors]).toContain(anchor);
    }
  });
});

describe('the log lines of docs/operations.md', () => {
  const [, table] = /<!-- log -->([^]*)<!-- \/log -->/.exec(page)!;
  const lines = [...table!.matchAll(/^\| `(.+?)` +\|/gm)].map(([, line]) => line!);
  const sources = readdirSync(new URL('lib/', root), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => readFileSync(new URL(`lib/${file}`, root), 'utf8'));

  it.each(lines)('are written by the library: %s', (line) => {
    const parts = line.split('…').map((part) => part.trim());
    for (const part of parts) expect(sources.some((source) => source.includes(part))).toBe(true);
  });

  it('are all there are', () => {
    const logged = sources.flatMap((source) =>
      [
        ...source.matchAll(/(?:[lL]ogger\.(?:log|warn|error)|#\w+Log\.(?:log|warn|error))\(\s*`([^`]+)`/g),
      ].map(([, text]) => text!),
    );
    expect(logged.length).toBeGreaterThan(12);
    for (const text of logged) {
      // What stands between what is put in, without punctuation at its ends.
      const parts = text.split(/\$\{[^}]*\}/).map((part) => part.replace(/^[^\w]+|[^\w]+$/g, ''));
      const longest = parts.reduce((best, part) => (part.length > best.length ? part : best));
      expect(longest.length).toBeGreaterThan(5);
      expect(table).toContain(longest);
    }
  });
});

describe('the code of docs/operations.md', () => {
  const cert = pem('server.crt');
  const key = pem('server.key');
  const ca = pem('ca.crt');
  const clientCert = pem('client.crt');
  const clientKey = pem('client.key');

  const ends: string[] = [];

  @Controller()
  class WhoController {
    @MessagePattern('who')
    who(@Ctx() { peer, metadata }: DrpcContext): unknown {
      return [peer.isAuthorized, peer.certificate?.subject.CN, metadata['traceparent']];
    }

    @MessagePattern('steps')
    async *steps(): AsyncGenerator<number> {
      try {
        yield 1;
        yield 2;
      } finally {
        ends.push('generator');
      }
    }
  }

  @Module({ controllers: [WhoController] })
  class WhoModule {}

  async function listen(server: DrpcServer) {
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(WhoModule, {
      strategy: server,
      logger: false,
    });
    onTestFinished(() => app.close());
    await app.listen();
    return { app, port: (server.address() as AddressInfo).port };
  }

  function closing(client: DrpcClient): DrpcClient {
    onTestFinished(() => client.close());
    return client;
  }

  async function startTls() {
    // Only clients with a certificate of our own authority get in.
    const server = new DrpcServer({
      url: 'drpcs://127.0.0.1:0',
      tls: { cert, key, ca, requestCert: true, rejectUnauthorized: true },
    });
    return listen(server);
  }

  it('lets clients in by their certificates', async () => {
    const { port } = await startTls();
    const client = new DrpcClient({
      url: `drpcs://localhost:${port}`,
      tls: { ca, cert: clientCert, key: clientKey },
    });
    closing(client);
    expect(await client.call('who', 1)).toEqual([true, 'nestjs-drpc test client', null]);
    const stranger = closing(new DrpcClient({ url: `drpcs://localhost:${port}`, tls: { ca } }));
    await expect(stranger.call('who', 1)).rejects.toMatchObject({
      code: 14,
      message: expect.stringMatching(/^cannot connect to drpcs:.+ \(ERR_SSL_\w+\)$/),
    });
  });

  it('gives new connections a new certificate, and keeps the old ones', async () => {
    const { app, port } = await startTls();
    const newCert = clientCert;
    const newKey = clientKey;
    const client = closing(
      new DrpcClient({ url: `drpcs://localhost:${port}`, tls: { ca, cert: clientCert, key: clientKey } }),
    );
    const shown = async (): Promise<unknown> => {
      const socket = connectTls({ port, rejectUnauthorized: false, cert: clientCert, key: clientKey });
      await once(socket, 'secureConnect');
      const { CN } = socket.getPeerCertificate().subject;
      socket.destroy();
      return CN;
    };
    await client.call('who', 1);
    const before = await shown();
    app.unwrap<TlsServer>().setSecureContext({ cert: newCert, key: newKey });
    expect(await shown()).toBe('nestjs-drpc test client');
    expect(before).not.toBe('nestjs-drpc test client');
    expect(await client.call('who', 1)).toEqual([true, 'nestjs-drpc test client', null]);
  });

  it.each<[string, DrpcServerOptions]>([
    ['TLS where there is none', {}],
    ['no TLS where there is', { tls: { cert, key } }],
  ])('is told what %s looks like', async (_what, options) => {
    const { port } = await listen(new DrpcServer({ ...options, port: 0 }));
    const url = options.tls ? `drpc://127.0.0.1:${port}` : `drpcs://127.0.0.1:${port}`;
    const failure = options.tls ? 'connection closed by the peer' : 'ECONNRESET';
    await expect(closing(new DrpcClient({ url })).call('who', 1)).rejects.toMatchObject({
      code: 14,
      message: `cannot connect to ${url}: ${failure}`,
    });
  });

  it('measures a stream until it has ended', async () => {
    const measured = (pattern: string, code: number | undefined, time: number): unknown =>
      ends.push(`${pattern} ${code} ${typeof time}`);
    const server = new DrpcServer({ port: 0 });
    const begun = new WeakMap<object, number>();
    server.setOnProcessingStartHook((_transport, context, done) => {
      begun.set(context as DrpcContext, performance.now());
      void done();
    });
    server.setOnProcessingEndHook((_transport, context) => {
      const { pattern, code } = context as DrpcContext;
      measured(pattern, code, performance.now() - begun.get(context as DrpcContext)!);
    });
    const { port } = await listen(server);
    const client = closing(new DrpcClient({ port }));
    for await (const _ of client.stream('steps'));
    expect(ends).toEqual(['generator', 'steps 0 number']);
  });

  it('dials with the certificate that its options have by then', async () => {
    const { app, port } = await startTls();
    const accepted = once(app.unwrap<TlsServer>(), 'secureConnection') as Promise<[TLSSocket]>;
    const tls: ConnectionOptions = { ca, cert: clientCert, key: clientKey };
    const client = closing(new DrpcClient({ url: `drpcs://localhost:${port}`, tls }));
    expect(await client.call('who', 1)).toEqual([true, 'nestjs-drpc test client', null]);
    const newCert = cert;
    const newKey = key;
    tls.cert = newCert;
    tls.key = newKey;
    const lost = new Promise<void>((resolve) => client.on('disconnect', () => resolve()));
    const [socket] = await accepted;
    socket.destroy();
    await lost;
    expect(await client.call('who', 1)).toEqual([true, 'nestjs-drpc test server', null]);
  });

  it('makes spans of both sides', async () => {
    Telemetry.useContexts();
    const telemetry = new Telemetry();
    trace.setGlobalTracerProvider(telemetry.options.tracerProvider);
    onTestFinished(() => trace.disable());
    const server = instrumentServer(new DrpcServer({ url: 'drpc://127.0.0.1:0' }));
    const { app, port } = await listen(server);
    const client = new DrpcClient({ port, interceptors: [telemetryInterceptor()] });
    instrumentClient(client); // where it is injected, say
    closing(client);
    await client.call('who', 1);
    await app.close();
    expect(telemetry.ends(SpanKind.CLIENT)).toEqual(['who OK']);
    expect(telemetry.ends(SpanKind.SERVER)).toEqual(['who OK']);
  });

  it('tells health by terminus', async () => {
    const { port } = await listen(new DrpcServer({ port: 0 }));

    @Controller()
    class HealthController {
      constructor(
        @Inject(HealthCheckService) private readonly health: HealthCheckService,
        @Inject(DrpcHealthIndicator) private readonly drpc: DrpcHealthIndicator,
        @Inject('WORK') private readonly client: DrpcClient,
      ) {}

      @Get('ready')
      @HealthCheck()
      ready(): Promise<HealthCheckResult> {
        return this.health.check([
          () => this.drpc.pingCheck('work', this.client, { timeout: 500 }),
          () => this.drpc.callCheck('who', this.client, 'who', { data: 1 }),
        ]);
      }
    }
    const module = await Test.createTestingModule({
      imports: [TerminusModule, ClientsModule.register([drpcClient({ name: 'WORK', port })])],
      controllers: [HealthController],
      providers: [DrpcHealthIndicator],
    }).compile();
    onTestFinished(() => module.close());
    const up = { status: 'up', responseTime: expect.any(Number) as number };
    expect(await module.get(HealthController).ready()).toMatchObject({
      status: 'ok',
      info: { work: up, who: up },
    });
  });

  it('tells health, and carries a trace', async () => {
    const { port } = await listen(new DrpcServer({ port: 0 }));
    const currentTrace = () => '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const traced: DrpcClientInterceptor = (call, next) =>
      next({ ...call, metadata: { ...call.metadata, traceparent: currentTrace() } });
    const client = closing(new DrpcClient({ port, interceptors: [traced] }));
    expect(await client.call('who', 1)).toEqual([false, null, currentTrace()]);
    const print = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    onTestFinished(() => print.mockRestore());
    const { work } = await new DrpcHealthIndicator().pingCheck('work', client, { timeout: 500 });
    console.log(work.status);
    expect(print.mock.calls).toEqual([['up']]);
    expect(client.unwrap().connections).toEqual([
      { url: `drpc://127.0.0.1:${port}`, profile: 'own', calls: 0, isDraining: false },
    ]);
    expect(client.stats).toEqual({ connections: 1, calls: 0, waiting: 0 });
  });
});
