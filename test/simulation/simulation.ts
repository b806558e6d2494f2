import { PeerConn } from '../../lib/control/peer-conn.js';
import { PeerServer } from '../../lib/control/peer-server.js';
import { CanceledError, ClosedError } from '../../lib/errors/drpc-error.js';
import type { Manager } from '../../lib/manager/manager.js';
import { resolveManagerOptions, type ResolvedManagerOptions } from '../../lib/manager/manager.options.js';
import { MemoryBudget } from '../../lib/manager/memory-budget.js';
import { ClientCall, ServerCall, type World } from './application.js';
import { undisturbedOutcome } from './call-plan.js';
import { Link } from './link.js';
import { Random } from './random.js';
import { drawScenario, type Fault, type Scenario } from './scenario.js';
import { ClockView, VirtualClock } from './virtual-clock.js';
import { WireRules } from './wire-rules.js';

/** When nothing has ended a simulation by then, something hangs; in virtual ms after the last planned event. */
const PATIENCE = 20 * 60_000;
/** When the system notices by itself that the other end is gone. */
const KEEPALIVE = 120_000;
/** How long a server that has finished waits for its client's FIN, in ms. */
const FINISH_TIMEOUT = 2000;
/** What a connection may append beyond its cap: one turn of a sender and one frame. */
const WRITER_SLACK = 256 * 1024;

/** What the control stream may hold, which is no stream of an application. */
const CONTROL = 4096;

/** What a run came to. */
export interface Run {
  /** How often each outcome occurred. */
  outcomes: Map<string, number>;
  /** Frames that went over the link. */
  frames: number;
  /** Events of the virtual clock. */
  steps: number;
  /** Situations that occurred. */
  met: Set<string>;
  /** What happened, line by line. */
  log: string[];
}

/** A rule was broken; `log` tells what led to it. */
export class Violation extends Error {
  override name = 'Violation';
  readonly log: readonly string[];

  constructor(message: string, log: readonly string[], cause: unknown) {
    super(message, { cause });
    this.log = log;
  }
}

/**
 * Runs the scenario of `seed` to its end: a client and a server, real Managers on simulated sockets, under
 * virtual time. The same seed gives the same run.
 * @throws Violation when an invariant does not hold.
 */
export async function simulate(seed: number): Promise<Run> {
  const simulation = new Simulation(drawScenario(seed));
  try {
    return await simulation.run();
  } catch (error) {
    throw new Violation(error instanceof Error ? error.message : String(error), simulation.lines, error);
  }
}

function must(claim: boolean, what: () => string): asserts claim {
  if (!claim) throw new Error(what());
}

/** Lets Node run everything that waits for the end of the turn. */
const endOfTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

class Simulation implements World {
  readonly clock = new VirtualClock();
  /** What the connections are given. */
  readonly #theirClock = new ClockView(this.clock);
  readonly rules: WireRules;
  readonly seed: number;
  readonly closesAnswered = false;
  readonly lines: string[] = [];

  readonly #scenario: Scenario;
  readonly #link: Link;
  readonly #server: PeerServer;
  readonly #limits: { client: ResolvedManagerOptions; server: ResolvedManagerOptions };
  readonly #budget: MemoryBudget | undefined;
  readonly #callers = new Map<number, ClientCall>();
  readonly #handlers = new Map<number, ServerCall>();
  #conn: PeerConn | undefined;
  #connectError: Error | undefined;
  /** Something threw where nobody catches: an event handler, a task of the clock. */
  #fault: Error | undefined;
  #isFaulty = false;
  #hasEnding = false;
  #steps = 0;
  readonly #met = new Set<string>();

  constructor(scenario: Scenario) {
    this.#scenario = scenario;
    this.seed = scenario.seed;
    const { peer, streamWindow, weather, server } = scenario;
    const window = peer === 'auto' || peer === 'cockroach-fc' ? streamWindow : 0;
    this.#limits = {
      client: resolveManagerOptions({ role: 'client', ...scenario.client }),
      server: resolveManagerOptions({ role: 'server', ...server }),
    };
    this.rules = new WireRules({
      needsControl: peer === 'auto',
      upWindow: window,
      downWindow: window,
      splitSize: Math.max(this.#limits.client.splitSize, this.#limits.server.splitSize),
      preamble: scenario.preamble,
    });
    this.#link = new Link(this.clock, new Random(scenario.seed, 7), weather, this.rules.up, this.rules.down);
    this.#budget = scenario.budget === undefined ? undefined : new MemoryBudget(scenario.budget);
    this.#server = new PeerServer(
      this.#link.server,
      {
        clock: this.#theirClock,
        plainClients: peer === 'auto' ? 'storj' : peer,
        streamWindow,
        ...server,
        ...(this.#budget ? { receiveBudget: this.#budget } : {}),
      },
      {
        accept: (stream) => {
          const id = Number(/^\/call\/(\d+)$/.exec(stream.rpc)?.[1]);
          const plan = scenario.calls.find((call) => call.id === id);
          must(plan !== undefined, () => `an rpc that nobody called: ${stream.rpc}`);
          must(!this.#handlers.has(id), () => `call ${id} runs twice`);
          this.#handlers.set(id, new ServerCall(this, plan, this.#server.manager, stream));
        },
        terminated: (cause) => this.log(`server: connection over, ${String(cause)}`),
        failed: (stream, error) => this.#sinkFailed(error),
      },
    );
    // What a connection was given, it has read, or copied.
    for (const socket of [this.#link.client, this.#link.server]) {
      socket.on('error', (error) => this.log(`socket: ${String(error)}`));
    }
  }

  log(what: string): void {
    this.lines.push(`${this.clock.now().toFixed(1)} ${what}`);
  }

  async run(): Promise<Run> {
    const { calls, fault, stalls, seed } = this.#scenario;
    this.log(`seed ${seed}`);
    this.#connect();
    for (const { at, direction, ms } of stalls) {
      this.clock.after(at, () => {
        this.log(`${direction} stalls for ${ms} ms`);
        this.#link[direction].stall(ms);
      });
    }
    if (fault) this.clock.after(fault.at, () => this.#happen(fault.what));
    const last = Math.max(...calls.map(({ startsAt }) => startsAt));
    while (await this.#step()) {
      must(this.clock.now() < last + PATIENCE, () => `something hangs: ${this.#describeOpen()}`);
      this.#checkBounds();
      if (!this.#hasEnding && this.#isIdle) {
        this.#hasEnding = true;
        this.#happen(this.#scenario.ending);
      }
      if (this.#isOver) break;
    }
    // Whatever an application of the simulation has still to do must make no difference.
    await this.#endTurn();
    const left = this.#theirClock.pending;
    must(left === 0, () => `${left} timers are left`);
    while (await this.#step()) this.#checkBounds();
    return this.#judge();
  }

  /** Runs one event, and all that follows from it in the same turn. Answers false when nothing is left. */
  async #step(): Promise<boolean> {
    this.#steps++;
    await this.#endTurn();
    try {
      return this.clock.runYielded() || this.clock.step();
    } catch (error) {
      throw new Error('thrown out of an event', { cause: error });
    }
  }

  async #endTurn(): Promise<void> {
    await endOfTurn();
    while (this.clock.endTurn()) await endOfTurn();
    if (this.#fault) throw this.#fault;
  }

  #connect(): void {
    const { peer, client, streamWindow, preamble, calls } = this.#scenario;
    const { client: socket } = this.#link;
    PeerConn.connect(
      socket,
      { clock: this.#theirClock, peer, streamWindow, preamble, ...client },
      {
        terminated: (cause) => this.log(`client: connection over, ${String(cause)}`),
        goaway: () => this.#move(),
        failed: (_stream, error) => this.#sinkFailed(error),
      },
    ).then(
      (conn) => {
        this.log(`client: connected, ${conn.profile}`);
        this.#conn = conn;
        socket.on('data', (chunk: Buffer) => chunk.fill(0xaa));
        const since = this.clock.now();
        if (peer === 'storj') this.#startNext(0);
        else
          for (const plan of calls)
            this.clock.after(Math.max(0, plan.startsAt - since), () => this.#start(plan.id));
      },
      (error: Error) => {
        this.log(`client: not connected, ${String(error)}`);
        this.#connectError = error;
        this.#happen('reset');
      },
    );
    this.#link.server.on('data', (chunk: Buffer) => chunk.fill(0xaa));
  }

  #start(id: number, onOver: () => void = () => undefined): void {
    const plan = this.#scenario.calls.find((call) => call.id === id)!;
    const call = new ClientCall(this, plan, this.#conn!, onOver);
    this.#callers.set(id, call);
    // After goaway a pool would take another connection.
    if (this.#conn!.isDraining || this.#conn!.manager.isTerminated) {
      call.openError = this.#conn!.manager.cause ?? new ClosedError('draining');
      call.isSkipped = true;
      return onOver();
    }
    call.start();
  }

  /** Peers of one stream a connection: a call begins when the one before has ended. */
  #startNext(index: number): void {
    const plan = this.#scenario.calls[index];
    if (!plan) return;
    this.#start(plan.id, () => {
      this.clock.after(0, () => this.#startNext(index + 1));
    });
  }

  /** The server takes no more: what it never started goes elsewhere. */
  #move(): void {
    const last = this.#conn!.goawayLastId!;
    this.log(`client: goaway after ${last}`);
    for (const call of this.#callers.values()) {
      if (call.stream && !call.stream.isTerminated && call.stream.id > last) {
        call.wasMoved = true;
        call.cancel(new CanceledError('moved'));
      }
    }
  }

  #happen(what: Fault): void {
    if (this.#isFaulty && what !== 'reset') return;
    this.#isFaulty = true;
    this.log(`--- ${what}`);
    const { up, down } = this.#link;
    switch (what) {
      case 'reset':
        return this.#link.reset();
      case 'black':
        up.blacken();
        down.blacken();
        this.clock.after(KEEPALIVE, () => this.#link.reset('ETIMEDOUT'));
        return;
      case 'half black':
        (this.seed % 2 === 0 ? up : down).blacken();
        this.clock.after(KEEPALIVE, () => this.#link.reset('ETIMEDOUT'));
        return;
      case 'client closes':
        if (this.#conn) this.#conn.close().catch((error: Error) => this.#failed(error));
        else this.#link.client.destroy();
        return;
      case 'server ends':
        return this.#server.manager.terminate(new ClosedError('the server ends'));
      case 'drain':
        this.#server.drain('drain');
        return this.#finishWhenIdle();
      default:
        what satisfies never;
    }
  }

  #finishWhenIdle(): void {
    const { manager } = this.#server;
    if (manager.isTerminated) return;
    if (manager.slots === 0) {
      this.log('server: finishes');
      // In good weather both ends bring each other their FIN, and nobody has to wait for the timeout. Where bytes
      // take time, the client's FIN stands behind all that it had sent for calls which have ended, maybe for long;
      // and a client without windows that has answers to take may stand still before it reads ours.
      const { fault, stalls, weather } = this.#scenario;
      const isCalm =
        (!fault || fault.what === 'drain') &&
        stalls.length === 0 &&
        weather.bandwidth === Infinity &&
        [...this.#callers.values()].every((call) => call.isOver);
      const since = this.clock.now();
      this.#link.server.once('close', () => {
        if (isCalm && this.clock.now() - since >= FINISH_TIMEOUT)
          this.#failed(new Error('the FIN of a finished server did not arrive'));
      });
      manager.finish(new ClosedError('drained'), FINISH_TIMEOUT);
    } else this.clock.after(20, () => this.#finishWhenIdle());
  }

  #sinkFailed(error: unknown): void {
    // Handlers of some plans throw; nothing else may.
    if (error instanceof Error && error.message === 'handler bug') return;
    this.#failed(error instanceof Error ? error : new Error(String(error)));
  }

  #failed(error: Error): void {
    this.#fault ??= error;
  }

  get #managers(): Manager[] {
    return this.#conn ? [this.#conn.manager, this.#server.manager] : [this.#server.manager];
  }

  /** Whether all calls have been made and have ended, on both sides. */
  get #isIdle(): boolean {
    if (this.#connectError) return true;
    return (
      this.#callers.size === this.#scenario.calls.length &&
      [...this.#callers.values()].every((call) => call.isOver) &&
      [...this.#handlers.values()].every((call) => call.isOver)
    );
  }

  /** Whether both sockets are closed and nobody is in the middle of a call. */
  get #isOver(): boolean {
    return this.#link.client.closed && this.#link.server.closed && this.#isIdle;
  }

  /** The counters of both ends, at any time. */
  #checkBounds(): void {
    if (this.#conn) this.#checkManager(this.#conn.manager, this.#callers.values(), this.#limits.client);
    const { manager } = this.#server;
    const running = this.#checkManager(manager, this.#handlers.values(), this.#limits.server);
    if (running > this.#limits.server.maxStreams) throw new Error(`server: ${running} handlers run`);
    // Invokes of which a part has arrived take slots too.
    const begun = this.#callers.size - this.#handlers.size;
    if (manager.slots < running || manager.slots > running + begun) {
      throw new Error(`server: ${manager.slots} slots taken, ${running} handlers run`);
    }
    const budget = this.#budget;
    if (!budget) return;
    if (budget.used !== manager.heldBytes)
      throw new Error(`budget: ${budget.used}, ${manager.heldBytes} held`);
    if (budget.used > budget.limit) throw new Error(`budget: ${budget.used} of ${budget.limit} used`);
  }

  /** Answers how many of the calls are not over. */
  #checkManager(
    manager: Manager,
    calls: Iterable<ClientCall | ServerCall>,
    limits: ResolvedManagerOptions,
  ): number {
    const end = manager.isServer ? 'server' : 'client';
    let held = 0;
    let queued = 0;
    let running = 0;
    for (const call of calls) {
      if (call.stream) {
        held += call.stream.heldBytes;
        queued += call.stream.queuedBytes;
      }
      if (!call.isOver) running++;
    }
    const { heldBytes, queuedBytes, writer } = manager;
    if (heldBytes < held || heldBytes > held + CONTROL) {
      throw new Error(`${end}: ${heldBytes} bytes held, ${held} by its streams`);
    }
    if (heldBytes > limits.maxReceivedBytes) throw new Error(`${end}: ${heldBytes} bytes held`);
    if (queuedBytes < queued || queuedBytes > queued + CONTROL) {
      throw new Error(`${end}: ${queuedBytes} bytes queued, ${queued} by its streams`);
    }
    if (queuedBytes > limits.maxQueuedBytes) throw new Error(`${end}: ${queuedBytes} bytes queued`);
    if (writer.pending > limits.writerBufferSize + WRITER_SLACK) {
      throw new Error(`${end}: ${writer.pending} bytes wait in the writer`);
    }
    if (manager.isPaused) this.#met.add('reading stood still');
    if (held > 0) this.#met.add('received messages waited');
    if (queued > 0) this.#met.add('messages waited to be sent');
    if (writer.waiting > 8) this.#met.add('many streams waited for the writer');
    if (writer.inFlight > 256 * 1024)
      throw new Error(`${end}: ${writer.inFlight} bytes at the socket at once`);
    return running;
  }

  #judge(): Run {
    must(this.#isIdle, () => `nothing moves any more: ${this.#describeOpen()}`);
    for (const socket of [this.#link.client, this.#link.server])
      must(socket.destroyed, () => 'a socket is open');
    for (const manager of this.#managers) {
      const end = manager.isServer ? 'server' : 'client';
      must(manager.isTerminated, () => `${end}: the connection is open`);
      must(manager.openStreams === 0, () => `${end}: ${manager.openStreams} streams are open`);
      must(manager.slots === 0, () => `${end}: ${manager.slots} slots are taken`);
      must(manager.heldBytes === 0, () => `${end}: ${manager.heldBytes} bytes are held`);
      must(manager.queuedBytes === 0, () => `${end}: ${manager.queuedBytes} bytes are queued`);
      must(manager.pool.usage.lent === 0, () => `${end}: ${manager.pool.usage.lent} buffers are lent`);
    }
    const outcomes = new Map<string, number>();
    const { calls, mayExhaust, fault } = this.#scenario;
    for (const call of this.#callers.values()) {
      const handler = this.#handlers.get(call.plan.id);
      const outcome = call.outcome(handler, mayExhaust);
      this.log(`call ${call.plan.id}: ${outcome}`);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      must(
        !(call.wasUnsent || call.wasMoved) || !handler,
        () => `call ${call.plan.id} was never sent, or moved, but ran`,
      );
      const isUndisturbed = !fault && !mayExhaust && !this.#connectError;
      const expected = isUndisturbed ? undisturbedOutcome(call.plan) : undefined;
      must(
        expected === undefined || outcome === expected,
        () => `call ${call.plan.id} ended with ${outcome}, undisturbed`,
      );
    }
    if (this.#connectError) outcomes.set('not connected', calls.length);
    return { outcomes, frames: this.rules.frames, steps: this.#steps, met: this.#met, log: this.lines };
  }

  #describeOpen(): string {
    const open = [...this.#callers.values(), ...this.#handlers.values()].filter((call) => !call.isOver);
    return `${open.map((call) => call.name).join(', ') || 'nothing is open'}; ${this.#callers.size} of ${this.#scenario.calls.length} calls made`;
  }
}
