import type { Duplex } from 'node:stream';

import { unknownRpc } from '../../lib/conn/serve-one.js';
import { PeerServer } from '../../lib/control/peer-server.js';
import { bytesEncoding } from '../../lib/encoding/encoding.js';
import { DrpcCode } from '../../lib/errors/codes.js';
import { CanceledError, ClosedError, DeadlineError, DrpcError } from '../../lib/errors/drpc-error.js';
import { isStreamRefused } from '../../lib/errors/error-info.js';
import { MemoryBudget } from '../../lib/manager/memory-budget.js';
import type { Address, LookupAddress } from '../../lib/pool/address.js';
import type { Call, CallObserver } from '../../lib/pool/call.js';
import { ConnectionPool, type PoolStatus } from '../../lib/pool/connection-pool.js';
import type { RequestFeed, RequestSink } from '../../lib/pool/outbox.js';
import { ServerCall } from './application.js';
import { contentOf, type CallPlan } from './call-plan.js';
import { Link } from './link.js';
import { drawPoolScenario, type PoolEvent, type PoolScenario } from './pool-scenario.js';
import { Random } from './random.js';
import { Violation, type Run } from './simulation.js';
import { ClockView, VirtualClock } from './virtual-clock.js';
import { WireRules } from './wire-rules.js';

/** When nothing has ended a simulation by then, something hangs; in virtual ms after the last planned event. */
const PATIENCE = 20 * 60_000;
/** When the system notices by itself that the other end is gone. */
const KEEPALIVE = 120_000;
/** How long a process that ends waits for the FIN of its clients, in ms. */
const FINISH_TIMEOUT = 2000;
/** Between the restarts of a deployment, in ms. */
const BETWEEN_ROLLS = 50;
/** What the name server may know. */
const NAMES = ['10.0.0.1', '10.0.0.2', '10.0.0.3'];
/** A connection that lives no longer counts as one that the server would not have, in ms. */
const EARLY = 150;
/** What both ends announce by default. */
const STREAM_WINDOW = 2 * 1024 * 1024;

function must(claim: boolean, what: () => string): asserts claim {
  if (!claim) throw new Error(what());
}

const endOfTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** The application's end of a call of the pool. */
class PooledCall implements CallObserver<unknown>, RequestFeed {
  readonly plan: CallPlan;
  outcome: string | undefined;
  failure: Error | undefined;
  received = 0;
  /** Something was taken from the source of its request stream. */
  hasPulled = false;
  #call: Call | undefined;
  #sink: RequestSink | undefined;
  #sent = 0;
  readonly #clock: VirtualClock;
  readonly #random: Random;
  readonly #log: (what: string) => void;

  constructor(plan: CallPlan, clock: VirtualClock, seed: number, log: (what: string) => void) {
    this.plan = plan;
    this.#clock = clock;
    this.#random = new Random(seed, plan.id);
    this.#log = log;
  }

  start(sink: RequestSink): void {
    this.#sink = sink;
    this.#goOn();
  }

  stop(): void {
    this.#sink = undefined;
  }

  begin(pool: ConnectionPool): void {
    const { plan } = this;
    this.#log(`call ${plan.id}: start`);
    const spec = {
      rpc: `/call/${plan.id}`,
      encoding: bytesEncoding,
      ...(plan.isUnary ? { payload: contentOf(plan, 'up', 0) } : { source: this }),
      ...(plan.metadata ? { metadata: { caller: `number ${plan.id}` } } : {}),
      ...(plan.timeout === undefined ? {} : { timeout: plan.timeout }),
    };
    this.#call = pool.call(spec, this);
    if (plan.cancelAfter === 0 || plan.cancelAt === 0) this.cancel();
    else if (plan.cancelAfter !== undefined) this.#clock.after(plan.cancelAfter, () => this.cancel());
  }

  cancel(): void {
    if (this.outcome) return;
    this.#over('canceled');
    this.#call!.cancel(new CanceledError());
  }

  next(value: unknown): void {
    must(!this.outcome, () => `call ${this.plan.id}: a message after its end`);
    const expected = contentOf(this.plan, 'down', this.received++);
    must(
      expected.equals(value as Buffer),
      () => `call ${this.plan.id}: message ${this.received} is another one`,
    );
    if (this.received === this.plan.cancelAt) this.cancel();
  }

  complete(): void {
    must(!this.outcome, () => `call ${this.plan.id}: ends again, well, after ${this.outcome}`);
    this.#over('ok');
  }

  error(error: Error): void {
    must(
      !this.outcome,
      () => `call ${this.plan.id}: ends again, with ${String(error)}, after ${this.outcome}`,
    );
    this.failure = error;
    this.#over('failed');
  }

  #over(outcome: string): void {
    this.outcome = outcome;
    this.#log(`call ${this.plan.id}: ${outcome} ${this.failure ? String(this.failure) : ''}`);
  }

  #goOn(): void {
    const { sizes, pause, waits } = this.plan.requests;
    while (this.#sink && this.#sent < sizes.length) {
      const content = contentOf(this.plan, 'up', this.#sent++);
      this.hasPulled = true;
      if (waits) {
        const sent = this.#sink.msgSend(content);
        if (sent !== true) return void sent.then(() => this.#goOn());
      } else this.#sink.trySend(content);
      if (pause > 0) return void this.#clock.after(this.#random.int(0, pause), () => this.#goOn());
    }
    this.#sink?.closeSend();
    this.#sink = undefined;
  }
}

/**
 * Runs a pool of connections to servers that are restarted, crash, and are cut off, under virtual time. The same
 * seed gives the same run.
 * @throws Violation when a call has not one allowed end, may run twice, or something is left.
 */
export async function simulatePool(seed: number): Promise<Run> {
  const simulation = new PoolSimulation(drawPoolScenario(seed));
  try {
    return await simulation.run();
  } catch (error) {
    throw new Violation(error instanceof Error ? error.message : String(error), simulation.lines, error);
  }
}

/** One connection, from the servers' side. */
interface ServerEnd {
  link: Link;
  peer: PeerServer;
  rules: WireRules;
  /** Which of the processes serves it. */
  process: number;
  since: number;
}

class PoolSimulation {
  readonly lines: string[] = [];
  readonly #clock = new VirtualClock();
  readonly #theirClock = new ClockView(this.#clock);
  readonly #scenario: PoolScenario;
  readonly #random: Random;
  readonly #pool: ConnectionPool;
  readonly #budget: MemoryBudget | undefined;
  readonly #calls = new Map<number, PooledCall>();
  readonly #handlers = new Map<number, ServerCall>();
  readonly #ends = new Set<ServerEnd>();
  readonly #all: ServerEnd[] = [];
  readonly #downUntil: number[];
  #silentUntil = 0;
  #stalledUntil = 0;
  #names: string[] = NAMES.slice(1);
  #isNameLost = false;
  /** Restarts that met a connection on which nothing of the server had arrived, and those that met a new one. */
  #rollsInHandshake = 0;
  #earlyRolls = 0;
  #connecting = 0;
  #status: PoolStatus = 'disconnected';
  #isPoolClosed = false;
  #fault: Error | undefined;
  #steps = 0;
  readonly #met = new Set<string>();

  constructor(scenario: PoolScenario) {
    this.#scenario = scenario;
    this.#random = new Random(scenario.seed, 5);
    this.#downUntil = Array.from({ length: scenario.processes }, () => 0);
    this.#budget = scenario.budget === undefined ? undefined : new MemoryBudget(scenario.budget);
    const { peer, connections, maxConnections, maxStreamsPerConnection, balance, failFast } = scenario;
    this.#pool = new ConnectionPool(
      {
        ...scenario.client,
        clock: this.#theirClock,
        addresses: this.#addresses(scenario.addresses),
        dial: () => this.#dial(),
        lookup: () => this.#lookup(),
        random: () => this.#random.uint32() / 2 ** 32,
        peer,
        connections,
        maxConnections,
        maxStreamsPerConnection,
        balance,
        failFast,
        maxQueuedCalls: scenario.maxQueuedCalls,
        idleTimeout: scenario.idleTimeout,
      },
      {
        status: (status) => {
          this.#log(`pool: ${status}`);
          if (status === this.#status) this.#failed(new Error(`${status} is told twice`));
          if (this.#status === 'closed') this.#failed(new Error(`${status} after the end`));
          this.#status = status;
        },
        error: (error) => this.#log(`pool: ${String(error)}`),
      },
    );
  }

  async run(): Promise<Run> {
    const { plans, events, seed } = this.#scenario;
    this.#log(`seed ${seed}`);
    for (const plan of plans) {
      this.#clock.after(plan.startsAt, () => {
        const call = new PooledCall(plan, this.#clock, seed, (what) => this.#log(what));
        this.#calls.set(plan.id, call);
        call.begin(this.#pool);
      });
    }
    for (const { at, what, ms } of events) this.#clock.after(at, () => this.#happen(what, ms));
    const last = Math.max(0, ...plans.map(({ startsAt }) => startsAt), ...events.map(({ at }) => at));
    while (!this.#isIdle) {
      must((await this.#step()) || this.#isIdle, () => `nothing moves any more: ${this.#describeOpen()}`);
      must(this.#clock.now() < last + PATIENCE, () => `something hangs: ${this.#describeOpen()}`);
      this.#checkBounds();
    }
    let isClosed = false;
    void this.#pool.close().then(() => {
      isClosed = true;
    });
    const isOver = (): boolean => isClosed && this.#all.every(({ link }) => link.server.closed);
    while (!isOver()) must((await this.#step()) || isOver(), () => 'the pool does not close');
    await this.#endTurn();
    must(this.#theirClock.pending === 0, () => `${this.#theirClock.pending} timers are left`);
    while (await this.#step());
    return this.#judge();
  }

  #log(what: string): void {
    this.lines.push(`${this.#clock.now().toFixed(1)} ${what}`);
  }

  #failed(error: Error): void {
    this.#fault ??= error;
  }

  async #step(): Promise<boolean> {
    this.#steps++;
    await this.#endTurn();
    return this.#clock.runYielded() || this.#clock.step();
  }

  async #endTurn(): Promise<void> {
    await endOfTurn();
    while (this.#clock.endTurn()) await endOfTurn();
    if (this.#fault) throw this.#fault;
  }

  get #isIdle(): boolean {
    return (
      this.#calls.size === this.#scenario.plans.length &&
      this.#connecting === 0 &&
      [...this.#calls.values()].every(({ outcome }) => outcome) &&
      [...this.#handlers.values()].every((call) => call.isOver)
    );
  }

  #addresses(count: number): Address[] {
    if (count === 0) return [{ kind: 'tcp', host: 'service', port: 1, path: '' }];
    return Array.from({ length: count }, () => ({ kind: 'custom', host: '', port: 0, path: '' }));
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.#clock.after(ms, () => resolve()));
  }

  async #lookup(): Promise<LookupAddress[]> {
    await this.#wait(this.#random.int(0, 5));
    if (this.#isNameLost) throw new Error('queryA ENOTFOUND service');
    return this.#names.map((address) => ({ address, family: 4 }));
  }

  /** What stands before the servers leads each connection to one of them. */
  async #dial(): Promise<Duplex> {
    const { weather, peer, seed, maxStreams, server: limits, plans, processes } = this.#scenario;
    await this.#wait(weather.latency * 2);
    const process = this.#random.int(0, processes - 1);
    if (this.#clock.now() < this.#downUntil[process]!) {
      throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
    }
    const window = peer === 'auto' || peer === 'cockroach-fc' ? STREAM_WINDOW : 0;
    const rules = new WireRules({
      needsControl: peer === 'auto',
      upWindow: window,
      downWindow: window,
      splitSize: 65_536,
      preamble: false,
      invoked: (rpc) => this.#invoked(rpc, rules),
    });
    const number = this.#all.length + 1;
    const link = new Link(this.#clock, new Random(seed, 1000 + number), weather, rules.up, rules.down);
    this.#log(`connection ${number} to process ${process}: open`);
    const server = new PeerServer(
      link.server,
      {
        ...limits,
        clock: this.#theirClock,
        plainClients: peer === 'auto' ? 'storj' : peer,
        ...(maxStreams === undefined ? {} : { maxStreams }),
        ...(this.#budget ? { receiveBudget: this.#budget } : {}),
      },
      {
        accept: (stream) => {
          const id = Number(/^\/call\/(\d+)$/.exec(stream.rpc)?.[1]);
          const plan = plans.find((candidate) => candidate.id === id);
          if (!plan) {
            stream.sendError(unknownRpc(stream.rpc));
            stream.discard();
            return stream.handlerEnded();
          }
          must(!this.#handlers.has(id), () => `call ${id} runs twice`);
          const log = (what: string): void => this.#log(what);
          const world = { clock: this.#clock, rules, seed, closesAnswered: true, log };
          this.#handlers.set(id, new ServerCall(world, plan, server.manager, stream));
        },
        terminated: (cause) => {
          this.#log(`connection ${number}: over, ${String(cause)}`);
          this.#ends.delete(end);
        },
        failed: (_stream, error) => {
          if (error instanceof Error && error.message !== 'handler bug') this.#failed(error);
        },
      },
    );
    const end = { link, peer: server, rules, process, since: this.#clock.now() };
    this.#ends.add(end);
    this.#all.push(end);
    link.client.on('error', () => undefined);
    const now = this.#clock.now();
    if (now < this.#silentUntil) {
      link.down.blacken();
      this.#notice(link);
    }
    if (now < this.#stalledUntil) {
      link.up.stall(this.#stalledUntil - now);
      link.down.stall(this.#stalledUntil - now);
    }
    return link.client;
  }

  /** A call is handed to the socket of a connection: wherever it was before, that must have given it free. */
  #invoked(rpc: string, rules: WireRules): void {
    for (const { rules: before } of this.#all) {
      if (before === rules || !before.hasInvoked(rpc)) continue;
      // An Invoke that waited for the socket still goes out behind a goaway, and counts for nothing there.
      must(
        before.isReleased(rpc) || rules.isReleased(rpc),
        () => `${rpc} is sent again, but the server may have run it`,
      );
      this.#met.add('a call moved');
    }
  }

  /** The system finds out that nothing comes through. */
  #notice(link: Link): void {
    this.#clock.after(KEEPALIVE, () => link.reset('ETIMEDOUT'));
  }

  #happen(what: PoolEvent, ms: number): void {
    this.#log(`--- ${what} ${ms}`);
    const now = this.#clock.now();
    const process = this.#random.int(0, this.#scenario.processes - 1);
    const ends = [...this.#ends];
    switch (what) {
      case 'roll':
        return this.#roll(process);
      case 'roll all':
        for (let each = 0; each < this.#scenario.processes; each++) {
          this.#clock.after(each * BETWEEN_ROLLS, () => this.#roll(each));
        }
        return;
      case 'age':
        return this.#age(ends.filter(() => this.#random.chance(0.5)));
      case 'crash':
        this.#downUntil[process] = Math.max(this.#downUntil[process]!, now + ms);
        for (const end of ends) if (end.process === process) end.link.reset();
        return;
      case 'reset':
        if (ends.length > 0) this.#random.pick(ends).link.reset();
        return;
      case 'black':
      case 'half black':
        for (const { link } of ends) {
          const isUp = this.#random.chance(0.5);
          if (what === 'black' || isUp) link.up.blacken();
          if (what === 'black' || !isUp) link.down.blacken();
          this.#notice(link);
        }
        return;
      case 'no answer':
        this.#silentUntil = Math.max(this.#silentUntil, now + ms);
        return;
      case 'stall':
        this.#stalledUntil = Math.max(this.#stalledUntil, now + ms);
        for (const { link } of ends) {
          link.up.stall(ms);
          link.down.stall(ms);
        }
        return;
      case 'move': {
        const gone = this.#random.pick(NAMES);
        this.#names = NAMES.filter((name) => name !== gone);
        return this.#roll(process);
      }
      case 'rename':
        this.#isNameLost = this.#random.chance(0.3);
        this.#names = NAMES.filter(() => this.#random.chance(0.6));
        this.#clock.after(ms, () => {
          this.#isNameLost = false;
          if (this.#names.length === 0) this.#names = [...NAMES];
        });
        return;
      case 'connect':
        return this.#connect();
      case 'close':
        return this.#close();
      default:
        what satisfies never;
    }
  }

  /** A process is replaced: new connections reach the new one at once. */
  #roll(process: number): void {
    const ends = [...this.#ends].filter((end) => end.process === process);
    this.#countEarly(ends);
    for (const end of ends) {
      end.peer.drain('restart');
      this.#finishWhenIdle(end);
    }
  }

  /** The server goes on, and takes what is on its way. */
  #age(ends: readonly ServerEnd[]): void {
    const own = ends.filter(({ peer }) => peer.isOwnPeer);
    if (own.length === 0) return;
    this.#met.add('a connection was old');
    this.#countEarly(own);
    for (const { peer } of own) peer.retire('old');
  }

  #countEarly(ends: readonly ServerEnd[]): void {
    if (ends.some(({ rules }) => !rules.hasAnswered)) this.#rollsInHandshake++;
    if (ends.some(({ since }) => this.#clock.now() - since < EARLY)) this.#earlyRolls++;
  }

  #finishWhenIdle(end: ServerEnd): void {
    const { manager } = end.peer;
    if (manager.isTerminated) return;
    if (manager.slots === 0) manager.finish(new ClosedError('restarted'), FINISH_TIMEOUT);
    else this.#clock.after(10, () => this.#finishWhenIdle(end));
  }

  #connect(): void {
    const settled = (what: string): void => {
      this.#connecting--;
      this.#log(`pool: connect() ${what}`);
    };
    this.#connecting++;
    this.#pool.connect().then(
      () => settled('resolves'),
      (error: Error) => {
        settled(`rejects, ${String(error)}`);
        if (!this.#isLossAllowed && this.#status !== 'closed')
          this.#failed(new Error(`connect() fails: ${String(error)}`));
      },
    );
  }

  #close(): void {
    this.#isPoolClosed = true;
    void this.#pool.close();
    const open = [...this.#calls.values()].filter(({ outcome }) => !outcome);
    if (open.length > 0) this.#failed(new Error(`${this.#describeOpen()} after close()`));
  }

  #checkBounds(): void {
    const { maxStreamsPerConnection = Infinity, maxStreams = Infinity, peer } = this.#scenario;
    // A plain server's limit is not known; where the probe had no answer the server counts as a serial one.
    const most = Math.min(maxStreamsPerConnection, peer === 'auto' ? maxStreams : Infinity);
    let usable = 0;
    for (const { calls, profile, isDraining } of this.#pool.connections) {
      if (!isDraining) usable++;
      const capacity = profile === 'storj' ? 1 : most;
      if (calls > capacity) throw new Error(`${calls} calls on a connection for ${capacity}`);
    }
    if ((this.#status === 'connected') !== usable > 0) {
      throw new Error(`the pool is ${this.#status} with ${usable} connections`);
    }
    if (!this.#budget) return;
    const { used, limit } = this.#budget;
    const held = this.#all.reduce((sum, { peer: { manager } }) => sum + manager.heldBytes, 0);
    if (used !== held || used > limit) throw new Error(`budget: ${used} of ${limit}, ${held} held`);
  }

  #judge(): Run {
    must(this.#pool.waiting === 0, () => `${this.#pool.waiting} calls wait`);
    must(this.#pool.connections.length === 0, () => `${this.#pool.connections.length} connections are left`);
    must(this.#status === 'closed', () => `the pool is ${this.#status}`);
    for (const { peer, link } of this.#all) {
      must(link.client.destroyed, () => 'a socket is open');
      const { slots, heldBytes, queuedBytes, openStreams, pool } = peer.manager;
      const left = [slots, heldBytes, queuedBytes, openStreams, pool.usage.lent];
      must(
        left.every((count) => count === 0),
        () => `a server keeps ${left.join()}`,
      );
    }
    const outcomes = new Map<string, number>();
    for (const call of this.#calls.values()) {
      const outcome = this.#explain(call);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
    const frames = this.#all.reduce((sum, { rules }) => sum + rules.frames, 0);
    return { outcomes, frames, steps: this.#steps, met: this.#met, log: this.lines };
  }

  /** Whether servers may have been out of reach. */
  get #isLossAllowed(): boolean {
    const { isRolling, peer, events } = this.#scenario;
    if (this.#isPoolClosed) return true;
    if (!isRolling) return events.length > 0;
    // Whoever was sent away tries again at once, and only once; and restarts must leave a connection some time to
    // live, or the fourth in a row is not believed. Plain peers are lost without a word.
    return peer === 'auto' ? this.#rollsInHandshake > 1 || this.#earlyRolls > 3 : events.length > 0;
  }

  /** Names the end of a call. @throws when it is not an allowed one. */
  #explain(call: PooledCall): string {
    const { plan, outcome, failure: error, received } = call;
    const { isRolling, isAging, maxStreams, failFast, maxQueuedCalls, peer, server, client } = this.#scenario;
    const name = `call ${plan.id}`;
    const handler = this.#handlers.get(plan.id);
    const wasInvoked = this.#all.some(({ rules }) => rules.hasInvoked(`/call/${plan.id}`));
    if (outcome === 'canceled') return outcome;
    if (outcome === 'ok') {
      must(handler !== undefined, () => `${name}: an answer, but no handler ran`);
      must(handler.finish === 'ok' || handler.finish === 'close', () => `${name}: ok, but ${handler.finish}`);
      must(received === plan.responses.sizes.length, () => `${name}: ${received} answers`);
      return 'ok';
    }
    must(error instanceof DrpcError, () => `${name}: ended with a foreign ${String(error)}`);
    if (error.message === 'the client is closed') {
      must(this.#isPoolClosed, () => `${name}: ${error.message}`);
      return 'client closed';
    }
    if (error instanceof DeadlineError || error.code === DrpcCode.DeadlineExceeded) {
      must(plan.timeout !== undefined, () => `${name}: ${String(error)} without a deadline`);
      return 'deadline';
    }
    // A client of ours is never refused by a draining server: goaway comes first, with the same reason.
    const mayDrain = peer !== 'auto' || !isRolling;
    const isDrained = error.message === 'restart' && mayDrain;
    if (isStreamRefused(error) || isDrained || error.message.startsWith('too many concurrent streams')) {
      must(!handler, () => `${name}: ${String(error)}, but it ran`);
      must(
        error.message === 'restart' ? mayDrain : maxStreams !== undefined,
        () => `${name}: ${String(error)}`,
      );
      return 'refused';
    }
    if (/calls wait for a connection/.test(error.message)) {
      must(!failFast && maxQueuedCalls !== undefined && !wasInvoked, () => `${name}: ${String(error)}`);
      return 'queue full';
    }
    const isOurs =
      handler &&
      (error.message === handler.error.message ||
        (handler.finish === 'cancel' && error instanceof CanceledError) ||
        (handler.finish === 'throw' && error.code === DrpcCode.Unknown));
    if (isOurs) return `handler: ${handler.finish}`;
    if (error.code === DrpcCode.ResourceExhausted) {
      const limits = [server, client].flatMap((side) => Object.values({ ...side, splitSize: undefined }));
      const isTight = this.#budget !== undefined || limits.some((limit) => limit !== undefined);
      must(isTight, () => `${name}: ${String(error)}`);
      return 'exhausted';
    }
    must(error.code === DrpcCode.Unavailable, () => `${name}: ${String(error)}`);
    // What never left the client, nor its source, waits, or fails with failFast only.
    must(
      wasInvoked || call.hasPulled || failFast,
      () => `${name}: ${String(error)}, but it was never sent and may wait`,
    );
    // A restart in peace lets handlers finish. What did not begin moves, unless part of its request is gone.
    must(
      !isRolling || !handler,
      () => `${name}: ${String(error)}, but it ran on a server that was restarted`,
    );
    const mayHaveBegun = call.hasPulled && !isAging;
    must(this.#isLossAllowed || mayHaveBegun, () => `${name}: ${String(error)}, without a reason`);
    return 'unavailable';
  }

  #describeOpen(): string {
    const open = [...this.#calls.values()]
      .filter(({ outcome }) => !outcome)
      .map(({ plan }) => `call ${plan.id}`);
    const handlers = [...this.#handlers.values()].filter((call) => !call.isOver).map((call) => call.name);
    if (this.#connecting > 0) open.push(`${this.#connecting} connect()`);
    return [...open, ...handlers].join(', ') || 'calls are not begun';
  }
}
