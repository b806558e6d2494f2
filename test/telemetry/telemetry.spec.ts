import { SpanKind, trace } from '@opentelemetry/api';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import {
  DrpcClient,
  DrpcException,
  DrpcStream,
  type DrpcClientOptions,
  type DrpcContext,
  type DrpcServerOptions,
} from 'nestjs-drpc';
import { instrumentClient, instrumentServer, telemetryInterceptor } from 'nestjs-drpc/opentelemetry';
import { lastValueFrom, map, NEVER, range, take, type Observable } from 'rxjs';
import { beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { EventLog } from '../transport/helpers/event-log.js';
import { TestService, type TestServiceOptions } from '../transport/helpers/test-service.js';
import { Telemetry } from './helpers.js';

/** The id of the span within which this runs. */
const here = (): string | undefined => trace.getActiveSpan()?.spanContext().spanId;

describe('telemetry', () => {
  let telemetry: Telemetry;
  let log: EventLog;

  beforeAll(() => Telemetry.useContexts());

  beforeEach(() => {
    telemetry = new Telemetry();
    log = new EventLog();
  });

  @Controller()
  class TracedController {
    @MessagePattern('value')
    value(): string | undefined {
      return here();
    }

    @MessagePattern('later')
    async later(): Promise<string | undefined> {
      await new Promise(setImmediate);
      return here();
    }

    @MessagePattern('generator')
    async *generator(@Payload() count: number): AsyncGenerator<string | undefined> {
      for (let i = 0; i < count; i++) {
        yield here();
        await new Promise(setImmediate);
      }
    }

    @MessagePattern('observable')
    observable(@Payload() count: number): Observable<string | undefined> {
      return range(0, count).pipe(map(here));
    }

    @MessagePattern('requests')
    async requests(@DrpcStream({ as: 'iterable' }) values: AsyncIterable<number>): Promise<unknown[]> {
      const seen: unknown[] = [];
      for await (const _ of values) seen.push(here());
      return seen;
    }

    @MessagePattern('fails')
    fails(@Payload() code: number): never {
      throw new DrpcException(code, 'any reason');
    }

    @MessagePattern('endless')
    endless(): Observable<never> {
      log.add('started');
      return NEVER;
    }

    @EventPattern<string>('event')
    event(@Payload() _data: unknown, @Ctx() { metadata }: DrpcContext): void {
      log.add(`event of ${metadata['traceparent']}`);
    }

    @MessagePattern('metadata')
    metadata(@Ctx() { metadata }: DrpcContext): unknown {
      return metadata;
    }
  }

  async function start(options: { server?: DrpcServerOptions; client?: DrpcClientOptions } = {}) {
    const prepare: TestServiceOptions['prepare'] = (_app, server) => {
      server.setOnProcessingEndHook((_id, context) => log.add(`ended ${(context as DrpcContext).pattern}`));
      instrumentServer(server, telemetry.options);
    };
    const service = await TestService.start([TracedController], { server: options.server ?? {}, prepare });
    const interceptors = [telemetryInterceptor(telemetry.options), ...(options.client?.interceptors ?? [])];
    const client = new DrpcClient({ port: service.port, ...options.client, interceptors });
    onTestFinished(() => client.close());
    return { service, client };
  }

  it('makes a span of a call on both sides, parts of the trace of the caller', async () => {
    const { client, service } = await start();
    const inside = await telemetry.within('job', () => client.call<string>('value', 1));
    await log.seen('ended value');
    const [server, outgoing, job] = telemetry.spans;
    expect([server!.kind, outgoing!.kind, job!.name]).toEqual([SpanKind.SERVER, SpanKind.CLIENT, 'job']);
    expect([server!.name, outgoing!.name]).toEqual(['value', 'value']);
    expect(inside).toBe(server!.spanContext().spanId);
    expect(server!.parentSpanContext).toMatchObject({
      spanId: outgoing!.spanContext().spanId,
      isRemote: true,
    });
    expect(outgoing!.parentSpanContext!.spanId).toBe(job!.spanContext().spanId);
    expect(new Set(telemetry.spans.map((span) => span.spanContext().traceId)).size).toBe(1);
    const known = { 'rpc.system.name': 'drpc', 'rpc.method': 'value', 'rpc.status_code': 'OK' };
    expect(outgoing!.attributes).toEqual(known);
    expect(server!.attributes).toEqual({
      ...known,
      'network.peer.address': '127.0.0.1',
      'network.peer.port': expect.any(Number) as number,
    });
    expect(server!.instrumentationScope.name).toBe('nestjs-drpc');
    expect(service.server.stats.calls).toBe(0);
  });

  it.each([
    ['later', 1, 1],
    ['generator', 300, 300],
    ['observable', 1000, 1000],
  ])('runs a handler within its span, to the end of its answers: %s', async (rpc, payload, count) => {
    const { client } = await start();
    const spans: unknown[] = [];
    for await (const span of client.stream(rpc, payload)) spans.push(span);
    await log.seen(`ended ${rpc}`);
    const server = telemetry.spans.find(({ kind }) => kind === SpanKind.SERVER)!;
    expect(spans).toHaveLength(count);
    expect(new Set(spans)).toEqual(new Set([server.spanContext().spanId]));
  });

  it('runs a loop over requests within it', async () => {
    const { client } = await start();
    const seen = await lastValueFrom(client.send<string[]>('requests', range(0, 50)));
    await log.seen('ended requests');
    const server = telemetry.spans.find(({ kind }) => kind === SpanKind.SERVER)!;
    expect(seen).toHaveLength(50);
    expect(new Set(seen)).toEqual(new Set([server.spanContext().spanId]));
  });

  it.each([
    [3, 'INVALID_ARGUMENT', false],
    [4, 'DEADLINE_EXCEEDED', true],
    [5, 'NOT_FOUND', false],
    [13, 'INTERNAL', true],
    [2, 'UNKNOWN', true],
  ])(
    'counts an end with code %i as a fault of the caller, or also of the server',
    async (code, name, isServers) => {
      const { client } = await start();
      await expect(client.call('fails', code)).rejects.toMatchObject({ code });
      await log.seen('ended fails');
      expect(telemetry.ends(SpanKind.CLIENT)).toEqual([`fails ${name} ! any reason`]);
      expect(telemetry.ends(SpanKind.SERVER)).toEqual([`fails ${name}${isServers ? ' !' : ''}`]);
      const types = telemetry.spans.map(({ kind, attributes }) => [kind, attributes['error.type']]);
      expect(new Map(types as [SpanKind, string][])).toEqual(
        new Map([
          [SpanKind.CLIENT, name],
          [SpanKind.SERVER, isServers ? name : undefined],
        ]),
      );
    },
  );

  it('takes it for no fault when a caller has read enough', async () => {
    const { client } = await start();
    await lastValueFrom(client.send('generator', 1_000_000_000).pipe(take(3)));
    await log.seen('ended generator');
    expect(telemetry.ends(SpanKind.CLIENT)).toEqual(['generator CANCELLED']);
    expect(telemetry.ends(SpanKind.SERVER)).toEqual(['generator CANCELLED']);
  });

  it.each<[string, object, string]>([
    ['a timeout', { timeout: 20 }, 'endless DEADLINE_EXCEEDED ! deadline exceeded'],
    ['a signal', { signal: AbortSignal.abort() }, 'endless CANCELLED ! canceled'],
  ])('takes %s for a fault', async (_what, options, end) => {
    const { client } = await start();
    await expect(client.call('endless', 1, options)).rejects.toThrow(/./);
    expect(telemetry.ends(SpanKind.CLIENT)).toEqual([end]);
  });

  it('makes spans of events', async () => {
    const { client } = await start();
    await lastValueFrom(client.emit('event', 1), { defaultValue: undefined });
    await log.seen('ended event');
    expect(telemetry.ends(SpanKind.CLIENT)).toEqual(['event OK']);
    expect(telemetry.ends(SpanKind.SERVER)).toEqual(['event OK']);
  });

  it('leaves the metadata of a call as they are, and adds the trace', async () => {
    const { client } = await start();
    const metadata = Object.freeze({ user: 'ann' });
    const seen = await client.call<Record<string, string>>('metadata', 1, { metadata });
    await log.seen('ended metadata');
    const outgoing = telemetry.spans.find(({ kind }) => kind === SpanKind.CLIENT)!.spanContext();
    expect(seen).toEqual({ user: 'ann', traceparent: `00-${outgoing.traceId}-${outgoing.spanId}-01` });
  });

  it('writes the attributes of its options to spans, not to metrics', async () => {
    const attributes = { 'server.address': 'work' };
    const service = await TestService.start([TracedController]);
    const interceptors = [telemetryInterceptor({ ...telemetry.options, attributes })];
    const client = new DrpcClient({ port: service.port, interceptors });
    onTestFinished(() => client.close());
    await client.call('value', 1);
    expect(telemetry.spans[0]!.attributes).toMatchObject(attributes);
    const [duration] = await telemetry.metric('rpc.client.call.duration');
    expect(duration!.attributes).not.toHaveProperty('server.address');
  });

  it.each([
    ['rpc.client.call.duration', 'NOT_FOUND'],
    ['rpc.server.call.duration', undefined],
  ])('measures calls in seconds: %s', async (metric, errorType) => {
    const { client } = await start();
    for (let i = 0; i < 3; i++) await client.call('value', 1);
    await expect(client.call('fails', 5)).rejects.toMatchObject({ code: 5 });
    await log.seen('ended fails');
    const system = { 'rpc.system.name': 'drpc' };
    const failed = { ...system, 'rpc.method': 'fails', 'rpc.status_code': 'NOT_FOUND' };
    const points = await telemetry.metric(metric);
    expect(points.map(({ attributes }) => attributes)).toEqual([
      { ...system, 'rpc.method': 'value', 'rpc.status_code': 'OK' },
      errorType === undefined ? failed : { ...failed, 'error.type': errorType },
    ]);
    const [value] = points.map((point) => point.value as { count: number; sum: number });
    expect(value!.count).toBe(3);
    expect(value!.sum).toBeLessThan(30);
  });

  it("makes metrics of a server's numbers while it listens", async () => {
    const { client, service } = await start({ server: { maxHandlers: 1 } });
    const { port } = service;
    const subscription = client.send('endless', 1).subscribe();
    await log.seen('started');
    await expect(client.call('value', 1, { timeout: 50 })).rejects.toThrow(/./);
    const attributes = { 'server.address': '127.0.0.1', 'server.port': port };
    expect(await telemetry.metric('drpc.server.handlers')).toEqual([{ attributes, value: 1 }]);
    expect(await telemetry.metric('drpc.server.connections')).toEqual([{ attributes, value: 1 }]);
    // The metadata of the open call.
    const [received] = await telemetry.metric('drpc.server.received');
    expect(received!.value).toBe(service.server.stats.receivedBytes);
    expect(received!.value).toBeGreaterThan(0);
    expect(await telemetry.metric('drpc.server.queued')).toEqual([{ attributes, value: 0 }]);
    const [overloads] = await telemetry.metric('drpc.server.overloads');
    expect(overloads!.value).toBeGreaterThan(0);
    subscription.unsubscribe();
    await service.app.close();
    // Once more, or the last values would stay for good.
    expect(await telemetry.metric('drpc.server.handlers')).toEqual([{ attributes, value: 0 }]);
    const stats = vi.spyOn(service.server, 'stats', 'get');
    expect(await telemetry.metric('drpc.server.connections')).toEqual([{ attributes, value: 0 }]);
    expect(stats).not.toHaveBeenCalled();
  });

  it("makes metrics of a client's numbers until it is closed, and again when it is opened", async () => {
    const { client, service } = await start({ server: { maxStreams: 1 } });
    expect(instrumentClient(client, telemetry.metricsOptions)).toBe(client);
    const attributes = { 'server.address': '127.0.0.1', 'server.port': service.port };
    const metric = (name: string) => telemetry.metric(`drpc.client.${name}`);
    expect(await metric('connections')).toEqual([{ attributes, value: 0 }]);
    const subscription = client.send('endless', 1).subscribe();
    await log.seen('started');
    const waits = client.call('value', 1);
    expect(client.stats).toEqual({ connections: 1, calls: 1, waiting: 1 });
    expect(await metric('connections')).toEqual([{ attributes, value: 1 }]);
    expect(await metric('calls')).toEqual([{ attributes, value: 1 }]);
    expect(await metric('waiting')).toEqual([{ attributes, value: 1 }]);
    subscription.unsubscribe();
    await waits;
    await client.close();
    expect(await metric('connections')).toEqual([{ attributes, value: 0 }]);
    const stats = vi.spyOn(client, 'stats', 'get');
    await metric('connections');
    expect(stats).not.toHaveBeenCalled();
    await client.connect();
    expect(await metric('connections')).toEqual([{ attributes, value: 1 }]);
  });

  it('adds up the numbers of clients that have the same servers, as long as each is open', async () => {
    const { service } = await start();
    const place = { 'server.address': '127.0.0.1', 'server.port': service.port };
    const connections = () => telemetry.metric('drpc.client.connections');
    const clients = [1, 2, 3].map(() => {
      const client = instrumentClient(new DrpcClient({ port: service.port }), telemetry.metricsOptions);
      onTestFinished(() => client.close());
      return client;
    });
    const [first, second, third] = clients as [DrpcClient, DrpcClient, DrpcClient];
    // Once more counts no more.
    instrumentClient(first, telemetry.metricsOptions);
    await first.connect();
    await second.connect();
    expect(await connections()).toEqual([{ attributes: place, value: 2 }]);
    await first.close();
    expect(await connections()).toEqual([{ attributes: place, value: 1 }]);
    await second.close();
    await third.close();
    await second.connect();
    expect(await connections()).toEqual([{ attributes: place, value: 1 }]);
  });

  it.each<[string, DrpcClientOptions, object]>([
    ['one server', { url: 'drpc://a:1' }, { 'server.address': 'a', 'server.port': 1 }],
    ['several servers', { urls: ['drpc://a:1', 'drpc://b:1', 'drpc://a:2'] }, { 'server.address': 'a,b' }],
    ['a unix socket', { path: '/run/a.sock' }, { 'server.address': '/run/a.sock' }],
    ['what only its dial() knows', { dial: () => Promise.reject(new Error('none')) }, {}],
  ])('names the place of %s', async (_what, options, attributes) => {
    const client = instrumentClient(new DrpcClient(options), telemetry.metricsOptions);
    onTestFinished(() => client.close());
    expect(await telemetry.metric('drpc.client.connections')).toEqual([{ attributes, value: 0 }]);
  });

  it('goes on without an SDK', async () => {
    const service = await TestService.start([TracedController], {
      prepare: (_app, server) => void instrumentServer(server),
    });
    const client = new DrpcClient({ port: service.port, interceptors: [telemetryInterceptor()] });
    onTestFinished(() => client.close());
    expect(await client.call('value', 1)).toBe('0000000000000000');
  });

  it('says which option it does not know', () => {
    const options = { tracer: 1 } as object;
    expect(() => telemetryInterceptor(options)).toThrow(
      'option tracer is not known: there are attributes, meterProvider, tracerProvider',
    );
  });
});
