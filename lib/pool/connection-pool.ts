import { AsyncResource } from 'node:async_hooks';
import type { Clock, Timer } from '../clock/clock.js';
import { KeepAlive } from '../clock/keep-alive.js';
import { DrpcCode } from '../errors/codes.js';
import { ClosedError, DeadlineError, DrpcError } from '../errors/drpc-error.js';
import { formatAddress, type Address } from './address.js';
import type { BackoffOptions } from './backoff.js';
import { Balancer, type Balanced } from './balancer.js';
import { Call, type CallHost, type CallObserver, type CallSpec } from './call.js';
import { Want, type EndpointHost } from './endpoint.js';
import { Link } from './link.js';
import { resolvePoolOptions, type PoolOptions, type ResolvedPoolOptions } from './pool.options.js';
import { SentAwayError } from './sent-away-error.js';
import { Target } from './target.js';

/** How calls pause that a server refused to start, in ms. */
const REFUSAL_BACKOFF = { initial: 20, max: 1000 };

export type PoolStatus = 'connected' | 'disconnected' | 'reconnecting' | 'closed';

export interface PoolHooks {
  /** The status has changed; `cause` says why a connection is no more, `address` where it led. */
  status?(status: PoolStatus, cause: Error | undefined, address: Address | undefined): void;
  /** A connection could not be made, or one of several was lost otherwise than because its server wants it. */
  error?(error: DrpcError): void;
  /** A server can not be reached, while others can; told once until it is reached again. */
  unreachable?(address: Address, error: DrpcError): void;
  /**
   * A server is not of this library, and is treated as the most careful profile demands; with `isSilent` that is
   * only a guess, as nothing was answered within `handshakeTimeout`.
   */
  plainPeer?(address: Address, isSilent: boolean): void;
}

/** One connection, for those who look at the pool. */
export interface PoolConnection {
  readonly url: string;
  readonly profile: 'own' | 'storj' | 'cockroach' | 'cockroach-fc';
  /** Calls in flight. */
  readonly calls: number;
  /** Whether it finishes its calls and takes no more. */
  readonly isDraining: boolean;
}

/** A server that carries one call a connection, as the balancer sees it among connections that carry many. */
class FreeServer implements Balanced {
  readonly hasRoom = true;
  /** The connection that takes the next call. */
  readonly link: Link;
  readonly #parts: number;

  constructor(link: Link, parts: number) {
    this.link = link;
    this.#parts = parts;
  }

  get load(): number {
    let load = 0;
    for (const each of this.link.endpoint.links) load += each.load;
    return load / this.#parts;
  }
}

/**
 * The connections of a client and the calls that wait for one. Made when first needed, kept up from then on;
 * servers that do not answer are left out until they do.
 *
 *     Pool -+- Target (a URL) -+- Endpoint (a server) -+- Link (a connection) -+- Call
 *           |                  |                       |                       +- Call
 *           +- Target          +- Endpoint             +- Link
 *           +- waiting calls
 */
export class ConnectionPool implements CallHost, EndpointHost {
  readonly options: ResolvedPoolOptions;
  readonly clock: Clock;
  readonly sendQueueSize: number;
  readonly refusalBackoff: BackoffOptions;
  readonly #hooks: PoolHooks;
  readonly #targets: readonly Target[];
  readonly #balancer: Balancer;
  /** Connections that take calls, of servers that carry many calls on one. */
  #shared: Link[] = [];
  /** Free connections of servers that carry one call at a time; the one free longest first. */
  #free: Link[] = [];
  /** Connections that take calls, of both kinds. */
  #open = 0;
  readonly #waiting = new Set<Call>();
  /** Endpoints that share in them, while all are asked for what they miss. */
  #sharing: number | undefined;
  /** Calls that a server refused to start, until they wait again. */
  readonly #pausing = new Set<Call>();
  readonly #keepAlive = new KeepAlive();
  /** Where connections are made: the AsyncLocalStorage of the call that needed one is nothing to those after it. */
  readonly #scope = new AsyncResource('DRPC');
  #connecting: { resolve: () => void; reject: (error: Error) => void }[] = [];
  #status: PoolStatus = 'disconnected';
  #hasConnected = false;
  #isFlushing = false;
  #isJudging = false;
  #idleTimer: Timer | undefined;
  #lastError: DrpcError | undefined;
  #isClosed = false;
  #closing: Promise<void> | undefined;

  constructor(options: PoolOptions, hooks: PoolHooks = {}) {
    this.options = resolvePoolOptions(options);
    this.clock = this.options.clock;
    this.sendQueueSize = this.options.sendQueueSize;
    this.refusalBackoff = { ...REFUSAL_BACKOFF, random: this.options.backoff.random };
    this.#hooks = hooks;
    this.#balancer = new Balancer(this.options.balance);
    this.#targets = this.options.addresses.map((address) => new Target(this, address));
  }

  get status(): PoolStatus {
    return this.#status;
  }

  /** Calls that wait for a connection. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Calls that a server refused to start, and that wait again after a pause. */
  get pausing(): number {
    return this.#pausing.size;
  }

  get connections(): PoolConnection[] {
    const endpoints = this.#targets.flatMap((target) => [...target.endpoints, ...target.retired]);
    return endpoints.flatMap(({ address, links }) =>
      [...links].map(({ conn, load, isDraining }) => ({
        url: formatAddress(address),
        profile: conn.profile,
        calls: load,
        isDraining,
      })),
    );
  }

  /**
   * Starts a call. Where a connection has room its request is written in this turn.
   * @param demand answers asked for; default: all that come
   */
  call(spec: CallSpec, observer: CallObserver<unknown>, demand?: number): Call {
    return new Call(this, spec, observer, demand).start();
  }

  /**
   * Resolves once a server has been reached; callers share what is under way.
   * @throws ClosedError when none could.
   */
  connect(): Promise<void> {
    if (this.#isClosed) return Promise.reject(new ClosedError('the client is closed'));
    if (this.#open > 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#connecting.push({ resolve, reject });
      this.#watchWaiting();
      this.#ensure(Want.Connect);
    });
  }

  /** Ends all connections and calls; resolves when all sockets are closed. May be called again. */
  close(): Promise<void> {
    this.#isClosed = true;
    this.#closing ??= this.#close(new ClosedError('the client is closed'));
    return this.#closing;
  }

  async #close(cause: ClosedError): Promise<void> {
    this.#idleTimer?.cancel();
    this.#shared = [];
    this.#free = [];
    this.#open = 0;
    this.#setStatus('closed', undefined);
    const closed = Promise.all(this.#targets.map((target) => target.close(cause)));
    this.#giveUp(cause);
    for (const call of this.#pausing) call.refuse(cause);
    await closed;
  }

  // ------------------------------------------------------------------ CallHost

  submit(call: Call): void {
    // Those that wait were first.
    if (this.#waiting.size === 0) {
      const link = this.#pick();
      if (link) return call.open(link);
    }
    this.#wait(call);
  }

  hold(call: Call): void {
    this.#pausing.add(call);
    this.#watchWaiting();
  }

  withdraw(call: Call): void {
    this.#waiting.delete(call);
    this.#pausing.delete(call);
    this.#watchWaiting();
  }

  waitedTooLong(): DeadlineError {
    if (this.#open > 0) return new DeadlineError();
    return new DeadlineError('deadline exceeded before a server could be reached', {
      cause: this.#lastError,
    });
  }

  #wait(call: Call): void {
    if (this.#isClosed) {
      const cause = new ClosedError('the client is closed');
      // One that moves has lost its connection to close() just now, and ends with all the others.
      return call.hasMoved ? call.refuse(cause) : call.refuseSoon(cause);
    }
    const { failFast, maxQueuedCalls } = this.options;
    // One that moves had its place already, and is not lost for want of another.
    if (!failFast && this.#open === 0 && this.#waiting.size >= maxQueuedCalls && !call.hasMoved) {
      return call.refuseSoon(
        new DrpcError(
          DrpcCode.ResourceExhausted,
          `${this.#waiting.size} calls wait for a connection: at most ${maxQueuedCalls} may`,
        ),
      );
    }
    this.#waiting.add(call);
    this.#watchWaiting();
    call.wait();
    this.#ensure(Want.Call);
    this.#judgeSoon();
  }

  // -------------------------------------------------------------- EndpointHost

  get isKeptUp(): boolean {
    return !this.#isClosed && (this.#hasConnected || (!this.options.failFast && this.#waiting.size > 0));
  }

  get isConnected(): boolean {
    return this.#open > 0;
  }

  get waitingShare(): number {
    return Math.ceil(this.#waiting.size / Math.max(this.#sharing ?? this.#countSharing(), 1));
  }

  countOnce(task: () => void): void {
    if (this.#sharing !== undefined) return task();
    this.#sharing = this.#countSharing();
    try {
      task();
    } finally {
      this.#sharing = undefined;
    }
  }

  shares(): void {
    if (this.#sharing !== undefined) this.#sharing++;
  }

  opened(link: Link): void {
    this.#open++;
    this.#hasConnected = true;
    this.#lastError = undefined;
    if (link.isSerial) this.#keep(link);
    else this.#shared.push(link);
    this.#setStatus('connected', undefined);
    const connecting = this.#connecting;
    this.#connecting = [];
    for (const { resolve } of connecting) resolve();
    this.#flush();
    // Servers that were given up before are wanted again, now that there is something to keep up.
    this.#ensure(Want.KeepUp);
  }

  lost(link: Link, cause: Error): void {
    if (this.#isClosed) return;
    this.#open--;
    if (link.isSerial) this.#free = this.#free.filter((free) => free !== link);
    else this.#shared = this.#shared.filter((shared) => shared !== link);
    const error = cause instanceof ClosedError ? cause : new ClosedError('connection lost', { cause });
    this.#lastError = error;
    if (this.#open === 0) this.#setStatus('disconnected', error, link.endpoint.address);
    else if (!(cause instanceof SentAwayError)) this.#hooks.error?.(error);
    this.#ensure(this.#waiting.size > 0 ? Want.Call : Want.KeepUp);
    this.#judge();
  }

  release(link: Link): void {
    link.isDraining = true;
    this.#free = this.#free.filter((free) => free !== link);
    this.#open--;
    link.endpoint.finishIdle(link);
  }

  freed(link: Link): void {
    if (link.isDraining) return link.endpoint.finishIdle(link);
    if (!link.isUsable) return;
    if (link.isSerial) this.#keep(link);
    if (this.#waiting.size > 0) this.#flush();
  }

  delayed(): void {
    if (this.#waiting.size > 0) this.#ensure(Want.Call);
  }

  failed(error: DrpcError): void {
    this.#lastError = error;
    this.#hooks.error?.(error);
    this.#ensure(Want.KeepUp);
    this.#judge();
  }

  unreachable(address: Address, error: DrpcError): void {
    this.#hooks.unreachable?.(address, error);
  }

  retry(): void {
    this.#ensure(Want.KeepUp);
    this.#judge();
  }

  tried(): void {
    this.#judge();
  }

  plainPeer(address: Address, isSilent: boolean): void {
    this.#hooks.plainPeer?.(address, isSilent);
  }

  // -------------------------------------------------------------------- inside

  #endpoints() {
    return this.#targets.flatMap(({ endpoints }) => endpoints);
  }

  #countSharing(): number {
    return this.#endpoints().filter(({ usable, dialing }) => usable + dialing > 0).length;
  }

  #pick(): Link | undefined {
    if (this.#free.length === 0) return this.#balancer.pick(this.#shared);
    if (this.#shared.length === 0) return this.#takeFree();
    const picked = this.#balancer.pick<Link | FreeServer>([...this.#shared, ...this.#freeServers()]);
    if (!(picked instanceof FreeServer)) return picked;
    this.#free = this.#free.filter((free) => free !== picked.link);
    return picked.link;
  }

  /** Servers of one call a connection that have a free one, each as often as the others have connections. */
  #freeServers(): FreeServer[] {
    const { connections } = this.options;
    return this.#endpoints().flatMap((endpoint) => {
      const link = this.#free.find((free) => free.endpoint === endpoint && free.isUsable);
      return link ? Array.from({ length: connections }, () => new FreeServer(link, connections)) : [];
    });
  }

  #takeFree(): Link | undefined {
    for (let link = this.#free.shift(); link; link = this.#free.shift()) {
      // It may have ended in this very turn.
      if (link.isUsable) return link;
    }
    return undefined;
  }

  #keep(link: Link): void {
    this.#free.push(link);
    this.#watchIdle();
  }

  /** Opens the calls that wait, as far as there is room, and dials for the others. */
  #flush(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    try {
      for (const call of this.#waiting) {
        const link = this.#pick();
        if (!link) break;
        this.#waiting.delete(call);
        call.open(link);
      }
    } finally {
      this.#isFlushing = false;
      this.#watchWaiting();
    }
    if (this.#waiting.size > 0) this.#ensure(Want.Call);
  }

  #ensure(want: Want): void {
    if (this.#isClosed) return;
    this.#scope.runInAsyncScope(() => {
      this.countOnce(() => {
        for (const target of this.#targets) target.ensure(want);
      });
    });
    if (this.#open === 0 && this.#hasConnected && this.#isDialing())
      this.#setStatus('reconnecting', undefined);
  }

  #isDialing(): boolean {
    return this.#targets.some(({ isDialing }) => isDialing);
  }

  /** Tells those who wait when there is nothing to wait for. */
  #judge(): void {
    if (this.#open > 0 || this.#isDialing()) return;
    const error = this.#lastError ?? new ClosedError('no connection');
    if (!this.isKeptUp) this.#setStatus('disconnected', error);
    if (this.options.failFast) return this.#giveUp(error);
    this.#rejectConnecting(error);
  }

  /** The same in another turn, for a call that was just made: who makes it anew at once would go on for ever. */
  #judgeSoon(): void {
    if (this.#isJudging || this.#open > 0 || this.#isDialing()) return;
    this.#isJudging = true;
    this.clock.yield(() => {
      this.#isJudging = false;
      if (!this.#isClosed) this.#judge();
    });
  }

  #giveUp(error: Error): void {
    this.#rejectConnecting(error);
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    this.#watchWaiting();
    for (const call of waiting) call.refuse(error);
  }

  #rejectConnecting(error: Error): void {
    const connecting = this.#connecting;
    this.#connecting = [];
    this.#watchWaiting();
    for (const { reject } of connecting) reject(error);
  }

  /** The process does not end while a call or connect() waits, as it would not for a call in flight. */
  #watchWaiting(): void {
    this.#keepAlive.isNeeded =
      this.#waiting.size > 0 || this.#pausing.size > 0 || this.#connecting.length > 0;
  }

  #setStatus(status: PoolStatus, cause: Error | undefined, address?: Address): void {
    if (this.#status === status) return;
    this.#status = status;
    this.#hooks.status?.(status, cause, address);
  }

  /** Ends free connections that nobody needed for long; each server keeps as many as it has anyway. */
  #watchIdle(): void {
    const { idleTimeout } = this.options;
    if (this.#idleTimer || idleTimeout === 0) return;
    const surplus = this.#surplus();
    if (surplus.length === 0) return;
    const age = this.clock.now() - Math.min(...surplus.map(({ idleSince }) => idleSince));
    this.#idleTimer = this.clock.after(Math.max(idleTimeout - age, 1), () => {
      this.#idleTimer = undefined;
      const now = this.clock.now();
      for (const link of this.#free) {
        if (now - link.idleSince >= idleTimeout && this.#isSurplus(link)) this.release(link);
      }
      this.#watchIdle();
    });
  }

  #surplus(): Link[] {
    return this.#free.filter((link) => this.#isSurplus(link));
  }

  #isSurplus(link: Link): boolean {
    return link.endpoint.usable > this.options.connections;
  }
}
