import { once } from 'node:events';
import {
  Controller,
  Injectable,
  UseGuards,
  UseInterceptors,
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import {
  DrpcCode,
  DrpcContext,
  DrpcRecord,
  DrpcSignal,
  DrpcStream,
  type DrpcCallOptions,
  type DrpcClientOptions,
} from 'nestjs-drpc';
import {
  concat,
  finalize,
  ignoreElements,
  map,
  merge,
  NEVER,
  Observable,
  of,
  tap,
  type Subscription,
} from 'rxjs';
import { beforeEach, describe, expect, it, onTestFailed, onTestFinished, vi } from 'vitest';
import { TestClock } from '../pool/helpers/test-clock.js';
import { EventLog, Gate } from '../transport/helpers/event-log.js';
import { JoinedApps, TRANSPORTS, type TransportKind } from './helpers/joined-apps.js';

type Shape = 'unary' | 'server' | 'client' | 'bidi';
/** How values are given, by the handler and, for request streams, by the caller. */
type Form = 'observable' | 'iterable';

/** What one test looks at. */
class Scene {
  readonly log = new EventLog();
  /** Held by the guard; open unless a test is about it. */
  guard = new Gate();
  /** Whether the handler goes on to its last answer, and the caller's source to its end. */
  isLong = true;

  constructor() {
    this.guard.open();
  }

  /** The handler's Observable, or the caller's. */
  watched<T>(name: string, source: Observable<T>): Observable<T> {
    return new Observable((subscriber) => {
      this.log.add(`${name}: subscribed`);
      const inner = source.subscribe(subscriber);
      return () => {
        this.log.add(`${name}: unsubscribed`);
        inner.unsubscribe();
      };
    });
  }

  /** An iterator that gives `values` and then, unless it `ends`, nothing until it is told to return. */
  iterable<T>(name: string, values: readonly T[], ends: boolean): AsyncIterable<T> {
    const left = [...values];
    const gone = new Gate();
    const next = async (): Promise<IteratorResult<T, undefined>> => {
      if (left.length > 0) return { done: false, value: left.shift()! };
      if (ends) return { done: true, value: undefined };
      await gone.opened;
      return { done: true, value: undefined };
    };
    const leave = async (): Promise<IteratorResult<T, undefined>> => {
      this.log.add(`${name}: return`);
      gone.open();
      return { done: true, value: undefined };
    };
    return {
      [Symbol.asyncIterator]: () => {
        this.log.add(`${name}: begun`);
        return { next, return: leave };
      },
    };
  }
}

let scene: Scene;

beforeEach(() => {
  scene = new Scene();
  onTestFailed(() => console.error('seen:', scene.log.entries));
});

@Injectable()
class Guard implements CanActivate {
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const { signal } = context.switchToRpc().getContext<DrpcContext>();
    signal.addEventListener('abort', () => scene.log.add(`signal: ${(signal.reason as Error).name}`));
    scene.log.add('guard');
    await scene.guard.opened;
    scene.log.add('guard: over');
    return true;
  }
}

@Injectable()
class Watcher implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(
      tap({ unsubscribe: () => scene.log.add('interceptor: unsubscribed') }),
      finalize(() => scene.log.add('interceptor: finalized')),
    );
  }
}

@Controller()
@UseGuards(Guard)
@UseInterceptors(Watcher)
class MatrixController {
  @MessagePattern('unary observable')
  unaryObservable(): Observable<string> {
    return scene.watched('handler', scene.isLong ? NEVER : merge(of('last'), NEVER));
  }

  @MessagePattern('unary iterable')
  async unaryPromise(@DrpcSignal() signal: AbortSignal): Promise<string> {
    scene.log.add('handler: begun');
    if (!scene.isLong) return 'last';
    await once(signal, 'abort');
    scene.log.add('handler: woken');
    return 'never sent';
  }

  @MessagePattern('server observable')
  serverObservable(): Observable<string> {
    return scene.watched('handler', merge(scene.isLong ? of('first') : of('first', 'last'), NEVER));
  }

  @MessagePattern('server iterable')
  serverIterable(): AsyncIterable<string> {
    return scene.iterable('handler', scene.isLong ? ['first'] : ['first', 'last'], false);
  }

  @MessagePattern('client observable')
  clientObservable(@DrpcStream() requests: Observable<number>): Observable<string> {
    return scene.watched('handler', concat(requests.pipe(ignoreElements()), of('last'), NEVER));
  }

  @MessagePattern('client iterable')
  async clientLoop(@DrpcStream({ as: 'iterable' }) requests: AsyncIterable<number>): Promise<string> {
    scene.log.add('handler: begun');
    try {
      for await (const request of requests) scene.log.add(`handler: got ${request}`);
    } catch (error) {
      scene.log.add(`handler: ${(error as Error).name}`);
    }
    return 'last';
  }

  @MessagePattern('bidi observable')
  bidiObservable(@DrpcStream() requests: Observable<number>): Observable<string> {
    return scene.watched('handler', concat(requests.pipe(map(() => 'first')), of('last'), NEVER));
  }

  @MessagePattern('bidi iterable')
  async *bidiGenerator(
    @DrpcStream({ as: 'iterable' }) requests: AsyncIterable<number>,
    @DrpcSignal() signal: AbortSignal,
  ): AsyncGenerator<string> {
    scene.log.add('handler: begun');
    try {
      for await (const _request of requests) yield 'first';
      yield 'last';
      if (!signal.aborted) await once(signal, 'abort');
    } finally {
      scene.log.add('handler: left');
    }
  }
}

/** One row of the matrix: a shape in a form. */
class Row {
  readonly shape: Shape;
  readonly form: Form;

  constructor(shape: Shape, form: Form) {
    this.shape = shape;
    this.form = form;
  }

  get pattern(): string {
    return `${this.shape} ${this.form}`;
  }

  toString(): string {
    return this.pattern;
  }

  get streamsRequests(): boolean {
    return this.shape === 'client' || this.shape === 'bidi';
  }

  /** Whether the last answer comes with the end of the call. */
  get endsWithLast(): boolean {
    return this.form === 'iterable' && (this.shape === 'unary' || this.shape === 'client');
  }

  request(): unknown {
    if (!this.streamsRequests) return 'request';
    if (this.form === 'iterable') return scene.iterable('requests', [1], !scene.isLong);
    return scene.watched('requests', scene.isLong ? merge(of(1), NEVER) : of(1));
  }

  // What is expected ---------------------------------------------------------

  /** The frames of the request before anything went wrong. */
  get sent(): string[] {
    const invoke = `Invoke ${this.pattern}`;
    if (!this.streamsRequests) return [invoke, 'Message "request"', 'CloseSend'];
    return scene.isLong ? [invoke, 'Message 1'] : [invoke, 'Message 1', 'CloseSend'];
  }

  /** The answers before anything went wrong. */
  get answers(): string[] {
    const first = this.shape === 'server' || this.shape === 'bidi' ? ['first'] : [];
    return scene.isLong ? first : [...first, 'last'];
  }

  get received(): string[] {
    return this.answers.map((answer) => `Message "${answer}"`);
  }

  /** What is seen of the caller's source, once it has begun. */
  get source(): string[] {
    if (!this.streamsRequests) return [];
    if (this.form === 'observable') return ['requests: subscribed', 'requests: unsubscribed'];
    return scene.isLong ? ['requests: begun', 'requests: return'] : ['requests: begun'];
  }

  /** What is seen of a handler that has begun and is stopped by `cause`. */
  handler(cause: string): string[] {
    const got = this.pattern === 'client iterable' ? ['handler: got 1'] : [];
    return [...this.begun, ...got, ...this.stopped(cause)];
  }

  /** What an interceptor sees. An iterable is one value to Nest, and over for interceptors once it was given. */
  get teardown(): string[] {
    const isOver = this.form === 'iterable' && (this.shape === 'server' || this.shape === 'bidi');
    return isOver ? ['interceptor: finalized'] : ['interceptor: unsubscribed', 'interceptor: finalized'];
  }

  get begun(): string[] {
    return [this.form === 'observable' ? 'handler: subscribed' : 'handler: begun'];
  }

  stopped(cause: string): string[] {
    if (this.form === 'observable') return ['handler: unsubscribed'];
    switch (this.shape) {
      case 'unary':
        return ['handler: woken'];
      case 'server':
        return ['handler: return'];
      case 'client':
        return [`handler: ${cause}`];
      case 'bidi':
        return ['handler: left'];
    }
  }
}

/** A way to end a call that is under way. */
interface Ending {
  readonly how: string;
  /** What it needs from the beginning. */
  begin(): Way;
  end(apps: JoinedApps, call: Subscribed, way: Way): void | Promise<unknown>;
  /** The class of the reason that the handler is told. */
  readonly cause: string;
  /** Whether the client sends a Cancel. */
  readonly cancels: boolean;
  /** The Error frame that the server sends. */
  readonly error: string | undefined;
  /** The error that the subscriber hears. */
  readonly heard: unknown;
}

interface Way {
  readonly client?: DrpcClientOptions;
  readonly options?: DrpcCallOptions;
  readonly clock?: TestClock;
  readonly abort?: AbortController;
}

/** Shorter than the pause between two pings, in ms. */
const TIMEOUT = 5000;
const GIVEN_UP = new Error('not needed any more');

const ENDINGS: Ending[] = [
  {
    how: 'unsubscribing',
    begin: () => ({}),
    end: (_apps, call) => call.subscription.unsubscribe(),
    cause: 'CanceledError',
    cancels: true,
    error: undefined,
    heard: undefined,
  },
  {
    how: 'an AbortSignal',
    begin: () => {
      const abort = new AbortController();
      return { abort, options: { signal: abort.signal } };
    },
    end: (_apps, _call, { abort }) => abort!.abort(GIVEN_UP),
    cause: 'CanceledError',
    cancels: true,
    error: undefined,
    heard: GIVEN_UP,
  },
  {
    how: 'its deadline, seen first by the client',
    begin: () => {
      const clock = new TestClock();
      return { clock, client: { clock }, options: { timeout: TIMEOUT } };
    },
    end: (_apps, _call, { clock }) => clock!.advance(TIMEOUT),
    cause: 'CanceledError',
    cancels: true,
    error: undefined,
    heard: expect.objectContaining({ name: 'DeadlineError', code: DrpcCode.DeadlineExceeded }),
  },
  {
    how: 'its deadline, seen first by the server',
    begin: () => {
      // The server's clock is that of the process.
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
      onTestFinished(() => void vi.useRealTimers());
      return { client: { clock: new TestClock() }, options: { timeout: TIMEOUT } };
    },
    end: () => {
      vi.advanceTimersByTime(TIMEOUT);
      vi.useRealTimers();
    },
    cause: 'DeadlineError',
    cancels: false,
    error: 'Error 4 deadline exceeded',
    heard: expect.objectContaining({ code: DrpcCode.DeadlineExceeded }),
  },
  {
    how: 'the loss of its socket',
    begin: () => ({}),
    end: (apps) => void apps.tap.duplexes[0]!.destroy(),
    cause: 'ClosedError',
    cancels: false,
    error: undefined,
    heard: expect.objectContaining({ name: 'ClosedError', code: DrpcCode.Unavailable }),
  },
  {
    how: 'app.close() of the service',
    begin: () => ({}),
    end: (apps) => apps.service.close(),
    cause: 'ClosedError',
    cancels: false,
    error: 'Error 14 the server is shutting down',
    heard: expect.objectContaining({ code: DrpcCode.Unavailable, message: 'the server is shutting down' }),
  },
  {
    how: 'app.close() of its caller',
    begin: () => ({}),
    end: (apps) => apps.callerApp.close(),
    cause: 'ClosedError',
    cancels: false,
    error: undefined,
    heard: expect.objectContaining({ code: DrpcCode.Unavailable, message: 'the client is closed' }),
  },
];

const ROWS = (['unary', 'server', 'client', 'bidi'] as const).flatMap((shape) =>
  (['observable', 'iterable'] as const).map((form) => new Row(shape, form)),
);

const GUARD = ['guard', 'guard: over'];

/** What the service's side sees of a call that was stopped by `cause`. */
function toldOf(row: Row, cause: string): string[] {
  return [...GUARD, ...row.handler(cause), `signal: ${cause}`, ...row.teardown];
}

/** The same of a call that came to its end. */
function endOf(row: Row): string[] {
  const got = row.pattern === 'client iterable' ? ['handler: got 1'] : [];
  return [...GUARD, ...row.begun, ...got, 'interceptor: finalized'];
}

/** A call by `send()` and what its subscriber hears. */
class Subscribed {
  readonly heard: unknown[] = [];
  readonly subscription: Subscription;
  readonly #log = new EventLog();

  constructor(apps: JoinedApps, row: Row, options?: DrpcCallOptions) {
    const request = row.request();
    const data = options ? new DrpcRecord(request, options) : request;
    this.subscription = apps.client.send<string>(row.pattern, data).subscribe({
      next: (value) => this.#hear(value),
      error: (error: Error) => this.#hear(error),
      complete: () => this.#hear('complete'),
    });
  }

  /** Resolves when so much was heard. */
  async count(count: number): Promise<void> {
    if (count > 0) await this.#log.seen(String(count));
  }

  #hear(what: unknown): void {
    this.heard.push(what);
    this.#log.add(String(this.heard.length));
  }
}

/** Until the call is well under way: the handler has begun and what it gives at once is here. */
async function underWay(row: Row, call: Subscribed): Promise<void> {
  for (const entry of row.begun) await scene.log.seen(entry);
  if (row.pattern === 'client iterable') await scene.log.seen('handler: got 1');
  await call.count(row.answers.length);
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Checks that nothing else was seen, in whatever order. */
async function expectSeen(expected: string[]): Promise<void> {
  for (const entry of expected) await scene.log.seen(entry);
  // Whatever is still on its way from one callback to the next.
  await turn();
  expect([...scene.log.entries].sort()).toEqual([...expected].sort());
}

async function connectedApps(over: TransportKind, client: DrpcClientOptions = {}): Promise<JoinedApps> {
  const apps = await JoinedApps.start([MatrixController], { over, isTapped: true, client });
  await apps.client.connect();
  return apps;
}

const CELLS = TRANSPORTS.flatMap((over) => ROWS.map((row) => [row, over] as const));

describe.each(CELLS)('a call of %s over %s', (row, over) => {
  const start = (client?: DrpcClientOptions) => connectedApps(over, client);

  it('that is unsubscribed before it is connected leaves no trace', async () => {
    const gate = new Gate();
    const apps = await JoinedApps.start([MatrixController], { over, isTapped: true, mayDial: gate.opened });
    const call = new Subscribed(apps, row);
    call.subscription.unsubscribe();
    gate.open();
    await apps.client.connect();
    await apps.fence();
    expect(apps.tap.sent(row.pattern)).toEqual([]);
    expect(apps.tap.invoked).toEqual(['/nestjs.drpc.v1.Control/Open', 'no such rpc']);
    expect(call.heard).toEqual([]);
    await expectSeen([]);
  });

  it('that is unsubscribed during an async guard never reaches its handler', async () => {
    scene.guard = new Gate();
    const apps = await start();
    const call = new Subscribed(apps, row);
    await scene.log.seen('guard');
    await apps.fence();
    call.subscription.unsubscribe();
    await scene.log.seen('signal: CanceledError');
    scene.guard.open();
    await scene.log.seen('guard: over');
    await apps.fence();
    expect(apps.tap.sent(row.pattern)).toEqual([...row.sent, 'Cancel']);
    expect(apps.tap.received(row.pattern)).toEqual([]);
    expect(call.heard).toEqual([]);
    await expectSeen([...GUARD, 'signal: CanceledError', ...row.source]);
  });

  it('that is unsubscribed during the invoke never reaches its handler', async () => {
    const apps = await start();
    const call = new Subscribed(apps, row);
    call.subscription.unsubscribe();
    await apps.fence();
    // An iterable has not given its first request yet.
    const sent = row.streamsRequests && row.form === 'iterable' ? row.sent.slice(0, 1) : row.sent;
    expect(apps.tap.sent(row.pattern)).toEqual([...sent, 'Cancel']);
    expect(apps.tap.received(row.pattern)).toEqual([]);
    expect(call.heard).toEqual([]);
    await expectSeen([...GUARD, 'signal: CanceledError', ...row.source]);
  });

  it.each(ENDINGS.map((ending) => [ending.how, ending] as const))(
    'in mid-stream is stopped by %s',
    async (_how, ending) => {
      const way = ending.begin();
      const apps = await start(way.client);
      const call = new Subscribed(apps, row, way.options);
      await underWay(row, call);
      await ending.end(apps, call, way);
      await expectSeen([...toldOf(row, ending.cause), ...row.source]);
      await apps.fence();
      const { cancels, error, heard } = ending;
      expect(apps.tap.sent(row.pattern)).toEqual(cancels ? [...row.sent, 'Cancel'] : row.sent);
      expect(apps.tap.received(row.pattern)).toEqual(error ? [...row.received, error] : row.received);
      expect(call.heard).toEqual(heard ? [...row.answers, heard] : row.answers);
    },
  );

  it('that is unsubscribed after its last message sends a Cancel only if its end was still to come', async () => {
    scene.isLong = false;
    const apps = await start();
    const call = new Subscribed(apps, row);
    await call.count(row.answers.length + (row.endsWithLast ? 1 : 0));
    call.subscription.unsubscribe();
    await expectSeen([...(row.endsWithLast ? endOf(row) : toldOf(row, 'CanceledError')), ...row.source]);
    await apps.fence();
    expect(apps.tap.sent(row.pattern)).toEqual(row.endsWithLast ? row.sent : [...row.sent, 'Cancel']);
    expect(apps.tap.received(row.pattern)).toEqual(
      row.endsWithLast ? [...row.received, 'CloseSend'] : row.received,
    );
    expect(call.heard).toEqual(row.endsWithLast ? [...row.answers, 'complete'] : row.answers);
  });

  it('whose loop is left by break is stopped, unless it is over', async () => {
    scene.isLong = row.shape === 'server' || row.shape === 'bidi';
    const apps = await start();
    let answer: unknown;
    for await (answer of apps.client.stream(row.pattern, row.request())) break;
    expect(answer).toBe(row.answers[0]);
    await expectSeen([...(row.endsWithLast ? endOf(row) : toldOf(row, 'CanceledError')), ...row.source]);
    await apps.fence();
    expect(apps.tap.sent(row.pattern)).toEqual(row.endsWithLast ? row.sent : [...row.sent, 'Cancel']);
    expect(apps.tap.received(row.pattern)).toEqual(
      row.endsWithLast ? [...row.received, 'CloseSend'] : row.received,
    );
  });
});

describe.each(ROWS)('a call of %s, during an async guard,', (row) => {
  it.each(ENDINGS.map((ending) => [ending.how, ending] as const))(
    'is stopped by %s, and never reaches its handler',
    async (_how, ending) => {
      scene.guard = new Gate();
      const way = ending.begin();
      const apps = await connectedApps('memory', way.client);
      const call = new Subscribed(apps, row, way.options);
      await scene.log.seen('guard');
      // An iterable gives its first request when it is pulled.
      await turn();
      await ending.end(apps, call, way);
      await scene.log.seen(`signal: ${ending.cause}`);
      scene.guard.open();
      await expectSeen([...GUARD, `signal: ${ending.cause}`, ...row.source]);
      await apps.fence();
      const { cancels, error, heard } = ending;
      expect(apps.tap.sent(row.pattern)).toEqual(cancels ? [...row.sent, 'Cancel'] : row.sent);
      expect(apps.tap.received(row.pattern)).toEqual(error ? [error] : []);
      expect(call.heard).toEqual(heard ? [heard] : []);
    },
  );
});

describe.each(ROWS)('a call of %s, before it is connected,', (row) => {
  const AT_THE_CALLER = [
    'unsubscribing',
    'an AbortSignal',
    'its deadline, seen first by the client',
    'app.close() of its caller',
  ];

  it.each(
    ENDINGS.filter(({ how }) => AT_THE_CALLER.includes(how)).map((ending) => [ending.how, ending] as const),
  )('is stopped by %s, and leaves no trace', async (_how, ending) => {
    const gate = new Gate();
    const way = ending.begin();
    const apps = await JoinedApps.start([MatrixController], { mayDial: gate.opened, client: way.client });
    const call = new Subscribed(apps, row, way.options);
    await ending.end(apps, call, way);
    gate.open();
    await apps.client.connect();
    await apps.fence();
    expect(apps.tap.sent(row.pattern)).toEqual([]);
    expect(call.heard).toEqual(ending.heard ? [ending.heard] : []);
    await expectSeen([]);
  });
});

describe.each(ROWS)('a call of %s that has ended', (row) => {
  it.each(ENDINGS.map((ending) => [ending.how, ending] as const))(
    'is not touched by %s',
    async (_how, ending) => {
      scene.isLong = false;
      const way = ending.begin();
      const apps = await connectedApps('memory', way.client);
      const call = new Subscribed(apps, row, way.options);
      await call.count(row.answers.length);
      // Those of Observables stay open behind their last answer: they are ended by take().
      if (!row.endsWithLast) call.subscription.unsubscribe();
      await scene.log.seen('interceptor: finalized');
      await apps.fence();
      const [sent, received, heard] = [
        apps.tap.sent(row.pattern),
        apps.tap.received(row.pattern),
        [...call.heard],
      ];
      await ending.end(apps, call, way);
      await apps.fence();
      expect(apps.tap.sent(row.pattern)).toEqual(sent);
      expect(apps.tap.received(row.pattern)).toEqual(received);
      expect(call.heard).toEqual(heard);
    },
  );
});
