import { setImmediate as pollPhase } from 'node:timers/promises';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { DrpcStream } from 'nestjs-drpc';
import { lastValueFrom, of, Subject, toArray, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';

import { CONTROL_RPC, marshalControl } from '../../lib/control/control-message.js';
import type { Stream } from '../../lib/stream/stream.js';
import { ConnectionSet } from '../../lib/transport/connection-set.js';
import { Kind } from '../../lib/wire/kind.js';
import { Service } from '../client/helpers/service.js';
import { FakeSocket } from '../helpers/fake-socket.js';
import { invoke, message, parseFrames } from '../helpers/frames.js';
import { VirtualClock } from '../helpers/virtual-clock.js';

const AGE = 60_000;
const SETTINGS = marshalControl({ type: 'settings', streamWindow: 100_000, maxMessageSize: 50_000 });
const CONTROL = Buffer.concat([invoke(1, CONTROL_RPC), message(1, 2, SETTINGS)]);

/** Connections of a server on a clock that stands still, with clients that the test plays. */
class Clients {
  readonly clock = new VirtualClock();
  readonly accepted: string[] = [];
  readonly #set: ConnectionSet;

  constructor(maxConnectionAge: number | undefined) {
    const nothing = (): void => undefined;
    const accept = ({ rpc }: Stream): void => void this.accepted.push(rpc);
    const hooks = { opened: nothing, accept, closed: nothing, failed: nothing };
    const options = { clock: this.clock, pingInterval: 0, maxConnectionAge };
    this.#set = new ConnectionSet(options, Infinity, { ...hooks, overloaded: nothing, refused: nothing });
  }

  /** One that begins so. */
  async connect(bytes: Uint8Array): Promise<FakeSocket> {
    const socket = new FakeSocket();
    this.#set.add(socket);
    socket.push(bytes);
    await pollPhase();
    return socket;
  }

  /** The reasons of the goaways that were sent to it by now. */
  reasons(socket: FakeSocket): string[] {
    do this.clock.turn();
    while (socket.release());
    return parseFrames(socket.takeWritten())
      .filter(({ kind, streamId }) => kind === Kind.Message && streamId === 1)
      .map(({ data }) => JSON.parse(Buffer.from(data).toString()) as { type: string; reason: string })
      .filter(({ type }) => type === 'goaway')
      .map(({ reason }) => reason);
  }
}

describe('maxConnectionAge', () => {
  it('tells a client to go within a tenth of the age, once', async () => {
    const clients = new Clients(AGE);
    const socket = await clients.connect(CONTROL);
    clients.clock.advance(0.9 * AGE - 1);
    expect(clients.reasons(socket)).toEqual([]);
    clients.clock.advance(0.2 * AGE + 1);
    expect(clients.reasons(socket)).toEqual(['the connection has reached maxConnectionAge']);
    clients.clock.advance(10 * AGE);
    expect(clients.reasons(socket)).toEqual([]);
  });

  it('is counted from when the client has said who it is', async () => {
    const clients = new Clients(AGE);
    const socket = await clients.connect(Buffer.alloc(0));
    clients.clock.advance(2 * AGE);
    socket.push(CONTROL);
    await pollPhase();
    clients.clock.advance(0.9 * AGE - 1);
    expect(clients.reasons(socket)).toEqual([]);
    clients.clock.advance(0.2 * AGE + 1);
    expect(clients.reasons(socket)).toHaveLength(1);
  });

  it('takes the calls that a client sends until it has heard of it', async () => {
    const clients = new Clients(AGE);
    const socket = await clients.connect(CONTROL);
    clients.clock.advance(1.1 * AGE);
    expect(clients.reasons(socket)).toHaveLength(1);
    socket.push(invoke(2, 'rpc'));
    await pollPhase();
    expect(clients.accepted).toEqual(['rpc']);
  });

  it('does not send clients away together that came together', async () => {
    const clients = new Clients(AGE);
    const sockets: FakeSocket[] = [];
    for (let i = 0; i < 100; i++) sockets.push(await clients.connect(CONTROL));
    clients.clock.advance(0.9 * AGE);
    const gone: number[] = [];
    for (let step = 0; step < 10; step++) {
      clients.clock.advance(0.02 * AGE);
      gone.push(sockets.filter((socket) => clients.reasons(socket).length > 0).length);
    }
    expect(gone.reduce((a, b) => a + b)).toBe(100);
    expect(Math.max(...gone)).toBeLessThan(50);
  });

  it('leaves clients alone that know no goaway', async () => {
    const clients = new Clients(AGE);
    const socket = await clients.connect(invoke(1, 'rpc'));
    clients.clock.advance(2 * AGE);
    expect(parseFrames(socket.takeWritten())).toEqual([]);
    expect(socket.destroyed).toBe(false);
  });

  it.each([undefined, 0])('is without end by default: %s', async (age) => {
    const clients = new Clients(age);
    const socket = await clients.connect(CONTROL);
    expect(clients.clock.pendingTimers).toBe(0);
    clients.clock.advance(2 ** 31);
    expect(clients.reasons(socket)).toEqual([]);
  });

  it('leaves nothing behind of a connection that ends before', async () => {
    const clients = new Clients(AGE);
    const socket = await clients.connect(CONTROL);
    expect(clients.clock.pendingTimers).toBe(1);
    socket.destroy();
    await pollPhase();
    expect(clients.clock.pendingTimers).toBe(0);
  });
});

@Controller()
class Handlers {
  @MessagePattern('echo')
  echo(@Payload() n: number): number {
    return n;
  }

  @MessagePattern('relay')
  relay(@DrpcStream() numbers: Observable<number>): Observable<number> {
    return numbers;
  }
}

/** So that connections of some ms are not taken for those of a server that closes each as soon as it is open. */
const CLIENT = { reconnectDelay: 1 };

describe('a client whose connections are sent away', () => {
  it('loses no call, and streams go on where they began', async () => {
    const service = await Service.start([Handlers], { server: { maxConnectionAge: 20 } });
    const client = service.client(CLIENT);
    let connections = 0;
    service.server.on('connection', () => void connections++);
    const numbers = new Subject<number>();
    const relayed = lastValueFrom(client.send<number>('relay', numbers).pipe(toArray()));
    let n = 0;
    while (connections < 10) {
      const small = client.send<number>('relay', of(++n, -n)).pipe(toArray());
      expect(await Promise.all([client.call('echo', n), lastValueFrom(small)])).toEqual([n, [n, -n]]);
      numbers.next(n);
    }
    numbers.complete();
    expect(await relayed).toEqual(Array.from({ length: n }, (_, at) => at + 1));
  });

  it('is told why', async () => {
    const service = await Service.start([Handlers], { server: { maxConnectionAge: 20 } });
    const client = service.client(CLIENT);
    const gone = new Promise<Error | undefined>((resolve) => client.on('disconnect', resolve));
    await client.connect();
    expect(await gone).toMatchObject({ code: 14, message: 'the connection has reached maxConnectionAge' });
  });
});
