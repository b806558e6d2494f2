import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { DrpcClient, DrpcCode, DrpcException, DrpcHealthIndicator, DrpcMetadata } from 'nestjs-drpc';
import { createInMemoryNetwork } from 'nestjs-drpc/testing';
import { NEVER, type Observable } from 'rxjs';
import { describe, expect, expectTypeOf, it, onTestFinished } from 'vitest';
import { TestClock } from '../pool/helpers/test-clock.js';
import { JoinedApps } from '../e2e/helpers/joined-apps.js';

@Controller()
class ReadyController {
  @MessagePattern('ready')
  ready(@Payload() what: unknown, @DrpcMetadata('token') token: string): string {
    if (token !== 'good') throw DrpcException.unavailable(`${String(what)} is not ready`);
    return 'ready';
  }

  @MessagePattern('silent')
  silent(): Observable<never> {
    return NEVER;
  }

  @EventPattern<string>('event')
  event(_data: unknown): void {
    // Accepted.
  }
}

let pingCode: DrpcCode;

/** Answers pings otherwise than our server does. */
@Controller()
class PingController {
  @MessagePattern('/nestjs.drpc.v1.Health/Ping')
  ping(): never {
    throw new DrpcException(pingCode, 'as the test wants it');
  }
}

const health = new DrpcHealthIndicator();
const UP = { service: { status: 'up', responseTime: expect.any(Number) as number } };

function down(code: DrpcCode, message: string): object {
  return { service: { status: 'down', responseTime: expect.any(Number) as number, code, message } };
}

/** A client of a place where nobody listens. */
function lonely(): DrpcClient {
  const client = new DrpcClient({ dial: createInMemoryNetwork().dial });
  client.on('error', () => undefined);
  onTestFinished(() => client.close());
  return client;
}

describe('DrpcHealthIndicator.pingCheck', () => {
  it('is up when the server answers, whether it was connected before or not', async () => {
    const { client, tap } = await JoinedApps.start([ReadyController]);
    expect(await health.pingCheck('service', client)).toEqual(UP);
    expect(await health.pingCheck('service', client)).toEqual(UP);
    expect(tap.duplexes).toHaveLength(1);
  });

  it.each([
    ['up', 'which is what storj/drpc says of an unknown rpc', DrpcCode.Unknown],
    ['up', 'which says that it is there', DrpcCode.PermissionDenied],
    ['up', 'which says that it is there', DrpcCode.Unauthenticated],
    ['down', 'which says that it takes no calls', DrpcCode.Unavailable],
    ['down', 'which says that it has too much to do', DrpcCode.ResourceExhausted],
    ['down', 'which says that it is broken', DrpcCode.Internal],
  ])('is %s when the server answers with an error %s', async (status, _why, code) => {
    pingCode = code;
    const { client } = await JoinedApps.start([PingController]);
    expect(await health.pingCheck('service', client)).toMatchObject({ service: { status } });
  });

  it('is down when nobody can be reached', async () => {
    expect(await health.pingCheck('service', lonely())).toEqual(
      down(DrpcCode.Unavailable, 'cannot connect to dial(): ECONNREFUSED'),
    );
  });

  it('is down when an open connection is silent', async () => {
    const clock = new TestClock();
    const { client, tap } = await JoinedApps.start([ReadyController], { client: { clock } });
    await client.connect();
    // As if the cable were cut: nothing comes, and nothing says so.
    tap.duplexes[0]!.pause();
    const before = clock.pendingTimers;
    const report = health.pingCheck('service', client, { timeout: 500 });
    await clock.timers(before + 1);
    clock.advance(500);
    expect(await report).toEqual(down(DrpcCode.DeadlineExceeded, 'deadline exceeded'));
  });

  it('is down when the server has gone', async () => {
    const { client, service } = await JoinedApps.start([ReadyController]);
    expect(await health.pingCheck('service', client)).toEqual(UP);
    await service.close();
    expect(await health.pingCheck('service', client)).toMatchObject({
      service: { status: 'down', code: 14 },
    });
  });
});

describe('DrpcHealthIndicator.callCheck', () => {
  it('is up when the call is answered without an error', async () => {
    const { client } = await JoinedApps.start([ReadyController]);
    const options = { data: 'database', metadata: { token: 'good' } };
    expect(await health.callCheck('service', client, 'ready', options)).toEqual(UP);
    expect(await health.callCheck('service', client, 'event')).toEqual(UP);
  });

  it('is down with the error of the service', async () => {
    const { client } = await JoinedApps.start([ReadyController]);
    expect(await health.callCheck('service', client, 'ready', { data: 'database' })).toEqual(
      down(DrpcCode.Unavailable, 'database is not ready'),
    );
  });

  it('is down when nobody serves the rpc', async () => {
    const { client } = await JoinedApps.start([ReadyController]);
    expect(await health.callCheck('service', client, 'missing')).toMatchObject({
      service: { status: 'down', code: DrpcCode.Unimplemented },
    });
  });

  it('is down after a second without an answer', async () => {
    const clock = new TestClock();
    const { client } = await JoinedApps.start([ReadyController], { client: { clock } });
    await client.connect();
    const before = clock.pendingTimers;
    const report = health.callCheck('service', client, 'silent');
    await clock.timers(before + 1);
    clock.advance(1000);
    expect(await report).toEqual(down(DrpcCode.DeadlineExceeded, 'deadline exceeded'));
  });

  it('does not reject for options that are wrong either', async () => {
    expect(await health.callCheck('service', lonely(), 'ready', { timeout: -1 })).toMatchObject({
      service: { status: 'down', code: DrpcCode.InvalidArgument },
    });
  });

  it('keeps the key in the type, and takes clients with a map of patterns', () => {
    const typed = new DrpcClient<{ sum(numbers: number[]): number }>();
    onTestFinished(() => typed.close());
    expectTypeOf(health.pingCheck('math', typed)).resolves.toHaveProperty('math');
    expectTypeOf(health.callCheck('math', typed, 'anything')).resolves.toHaveProperty('math');
  });
});
