import type { Duplex } from 'node:stream';
import {
  DEFAULT_HANDSHAKE_TIMEOUT,
  PeerConn,
  SilentPeerError,
  type PeerProfile,
} from '../control/peer-conn.js';
import { ClosedError, DrpcError, messageWithCode } from '../errors/drpc-error.js';
import { formatAddress, type Address } from './address.js';
import { Dial, keepAlive } from './dialer.js';
import { Link, type LinkHost } from './link.js';
import { PlainGuess } from './plain-guess.js';
import type { ResolvedPoolOptions } from './pool.options.js';
import { RetryPause } from './retry-pause.js';
import { SentAwayError } from './sent-away-error.js';

/** Of so many rpcs it is remembered how their handlers behave. */
const MAX_KNOWN_RPCS = 1000;
/** So often in a row may connections be told to go away as soon as they are open. */
const MAX_GONE_EARLY = 3;
/** How long a server may take to close a connection that we are done with, in ms. */
const FINISH_TIME = 2000;

/** Why somebody wants connections. */
export enum Want {
  /** They are to be kept up, whether calls come or not. */
  KeepUp,
  /** A call has come. */
  Call,
  /** Somebody wants to know whether the server can be reached, whatever was tried before. */
  Connect,
}

/** What an endpoint knows of its pool and tells it. */
export interface EndpointHost extends LinkHost {
  readonly options: ResolvedPoolOptions;
  /** Whether connections are wanted even if no call comes. */
  readonly isKeptUp: boolean;
  /** An endpoint's part of the calls that wait. */
  readonly waitingShare: number;
  /** Runs what asks many endpoints for what they miss, so that those that share in the calls are counted once. */
  countOnce(task: () => void): void;
  /** An endpoint that had no connection is being dialled, and shares in the calls from now on. */
  shares(): void;
  /** A connection is open. */
  opened(link: Link): void;
  /** A connection takes no more calls: it ended, or the server said so. */
  lost(link: Link, cause: Error): void;
  /** A connection takes no more calls, as it is not needed. */
  release(link: Link): void;
  /** An attempt failed; the error has code 14. */
  failed(error: DrpcError): void;
  /** Whether calls can go on over other connections. */
  readonly isConnected: boolean;
  /** The server is not reached, while others are; told once until it is reached again. */
  unreachable(address: Address, error: DrpcError): void;
  /** A pause after a failure is over. */
  retry(): void;
  /** A name was looked up, and its servers are dialled if that is to be. */
  tried(): void;
  /** A probe found a server that is not of this library, or (`isSilent`) none that answered. */
  plainPeer(address: Address, isSilent: boolean): void;
}

/** What a connection tells once it is in the pool. */
interface ConnEvents {
  terminated?: (cause: Error) => void;
  goaway?: () => void;
}

/** What came of an attempt to connect. */
interface Attempt {
  conn: PeerConn | undefined;
  /** Why no calls can be made on it. */
  error: unknown;
  /** A socket was connected. */
  wasReached: boolean;
  /** The server is taken for a plain one because it was silent. */
  isGuess: boolean;
  /** Only asks who is there: a server that is silent is not dialled again. */
  readonly isQuestion: boolean;
  readonly events: ConnEvents;
}

/** One server: its connections, the attempts to make them, and what was learnt of it. */
export class Endpoint {
  /** Where it is dialled; what its name means can change. */
  address: Address;
  readonly #host: EndpointHost;
  readonly #pause: RetryPause;
  readonly #links = new Set<Link>();
  readonly #dials = new Set<Dial>();
  /** Connected sockets of which it is not known yet who is at the other end. */
  readonly #handshakes = new Set<Duplex>();
  #dialing = 0;
  /** So often in a row connections had to be left as soon as they were open, those made together counted once. */
  #goneEarly = 0;
  /** Of the connections made now: a new one begins when the first of those before has to be left. */
  #generation = 0;
  /** Attempts that ask who is there, and may still be answered. */
  #probes = 0;
  readonly #guess: PlainGuess;
  #isPlainTold = false;
  #isUnreachableTold = false;
  readonly #knownToRead = new Set<string>();
  #closeCause: Error | undefined;

  constructor(host: EndpointHost, address: Address) {
    this.address = address;
    this.#host = host;
    this.#pause = new RetryPause(host.clock, host.options.backoff);
    this.#guess = new PlainGuess(host.clock, () => void this.#askAgain());
  }

  /** Open connections, those included that take no more calls. */
  get links(): ReadonlySet<Link> {
    return this.#links;
  }

  /** Attempts under way. */
  get dialing(): number {
    return this.#dialing;
  }

  /** Whether the last attempt to connect has failed. */
  get isFailing(): boolean {
    return this.#pause.isFailing;
  }

  /** Connections that take calls. */
  get usable(): number {
    let count = 0;
    for (const link of this.#links) if (link.isUsable) count++;
    return count;
  }

  /** How long a server may take to say that it reads on, in ms. */
  get checkTimeout(): number {
    return this.#host.options.conn.handshakeTimeout ?? DEFAULT_HANDSHAKE_TIMEOUT;
  }

  /** Whether handlers of `rpc` take the one message of a request. */
  isKnownToRead(rpc: string): boolean {
    return this.#knownToRead.has(rpc);
  }

  /** A handler of `rpc` has taken the one message of a request. */
  learnThatItReads(rpc: string): void {
    if (this.#knownToRead.size < MAX_KNOWN_RPCS) this.#knownToRead.add(rpc);
  }

  /** How many connections should be dialled now. */
  missing(want: Want): number {
    return this.#isResting(want) ? 0 : this.#wanted(want);
  }

  /** Dials what is missing, or sees to it that this happens once a pause is over. */
  ensure(want: Want): void {
    const count = this.missing(want);
    if (count > 0) this.#pause.cancel();
    else if (this.#pause.isFailing && this.#wanted(want) > 0) this.#pause.arm(() => this.#host.retry());
    if (count > 0 && this.#dialing === 0 && this.usable === 0) this.#host.shares();
    for (let i = 0; i < count; i++) void this.#dial();
  }

  /** Takes no more calls; the connections end when theirs have. */
  retire(cause: Error): void {
    this.#stop(cause);
    for (const link of this.#links) {
      // What takes no calls any more was lost before.
      if (link.isDraining) continue;
      link.isDraining = true;
      this.#host.lost(link, cause);
      this.finishIdle(link);
    }
  }

  /** The server takes no more calls on this connection and finishes those it has. */
  drain(link: Link): void {
    const cause = new SentAwayError(link.conn);
    if (!link.isDraining) this.#leave(link, cause);
    // Also where the connection was left before, for a reason of our own: only now are these known not to begin.
    link.moveUnstarted(cause);
    this.finishIdle(link);
  }

  /** Makes no more calls on this connection; those that it has go on. */
  leave(link: Link, cause: Error): void {
    if (!link.isDraining) this.#leave(link, cause);
    this.finishIdle(link);
  }

  /** Ends a connection in peace that takes no more calls, once it has none. */
  finishIdle(link: Link): void {
    if (link.load > 0) return;
    link.conn.manager.finish(new ClosedError('the connection is not needed any more'), FINISH_TIME);
  }

  /** Ends everything now; resolves when all sockets are closed. */
  async close(cause: Error): Promise<void> {
    this.#stop(cause);
    const links = [...this.#links];
    for (const link of links) link.conn.manager.terminate(cause);
    await Promise.all(links.map((link) => link.conn.closed));
  }

  /** Whether a pause after failures has to be waited out. */
  #isResting(want: Want): boolean {
    return want !== Want.Connect && !this.#pause.isOver(want === Want.Call);
  }

  #wanted(want: Want): number {
    const { connections, maxConnections } = this.#host.options;
    if (this.#closeCause || (want === Want.KeepUp && !this.#host.isKeptUp)) return 0;
    let usable = 0;
    let soonFree = 0;
    for (const link of this.#links) {
      // Its end is being told right now; only then it is known what it means.
      if (link.conn.manager.isTerminated) return 0;
      if (link.isUsable) usable++;
      if (link.isSoonFree) soonFree++;
    }
    const have = usable + this.#dialing;
    // One attempt is enough to find out whether a server answers again.
    if (this.#pause.isFailing && usable === 0) return this.#dialing > 0 ? 0 : 1;
    if (!this.#isSerial()) return Math.max(connections - have, 0);
    const share = this.#host.waitingShare - this.#dialing - soonFree;
    const wanted = want === Want.Connect ? Math.max(share, connections - have) : share;
    const may = Math.max(Math.min(wanted, maxConnections - have), 0);
    // It may be busy only: each further connection asks again, and none is made while one asks.
    if (this.#guess.isMade && (this.#probes > 0 || !this.#hasAnswered())) {
      return this.#dialing > 0 ? 0 : Math.min(may, 1);
    }
    return may;
  }

  /** Whether the server carries one call a connection, as far as that is known. */
  #isSerial(): boolean {
    if (this.#host.options.peer === 'storj') return true;
    for (const link of this.#links) if (link.isSerial && !link.isDraining) return true;
    return this.#guess.isFresh;
  }

  /** Whether a server that was silent to the probe has answered anything else since. */
  #hasAnswered(): boolean {
    for (const link of this.#links) if (link.isGuess && link.wasHeard) this.#guess.isBacked = true;
    return this.#guess.isBacked;
  }

  /** Whether a connection is open to a server of this library. */
  #hasOwn(): boolean {
    for (const link of this.#links) if (link.conn.profile === 'own' && link.isUsable) return true;
    return false;
  }

  async #dial(): Promise<void> {
    this.#dialing++;
    let attempt = await this.#attempt();
    // A server that lets a connection in only to end it is being restarted, most likely, and its successor is
    // there already. One that does so again, or was not to be reached before, gets its pause.
    if (isSentAway(attempt) && !this.#closeCause && !this.#pause.isFailing) attempt = await this.#attempt();
    this.#dialing--;
    const { conn, error } = attempt;
    if (this.#closeCause) return conn?.manager.terminate(this.#closeCause);
    if (conn && !error) return this.#opened(conn, attempt);
    this.#pause.begin();
    const failure = error instanceof ClosedError ? error : this.#unavailable(error);
    this.#host.failed(failure);
    this.#tellUnreachable(failure);
  }

  /** Calls do not fail where others stand in for this server, so nothing else would tell. */
  #tellUnreachable(error: DrpcError): void {
    if (this.#isUnreachableTold || !this.#host.isConnected || this.#closeCause) return;
    this.#isUnreachableTold = true;
    this.#host.unreachable(this.address, error);
  }

  /** Asks a server who it is that was silent when it was asked before, beside the connections it has. */
  async #askAgain(): Promise<void> {
    // Without connections the next one will ask.
    if (this.usable === 0) return;
    const attempt = await this.#attempt(true);
    const { conn, error } = attempt;
    if (this.#closeCause) return conn?.manager.terminate(this.#closeCause);
    if (conn && !error) this.#opened(conn, attempt);
    else if (this.#guess.isMade) this.#guess.make();
  }

  /** Makes one connection, and says why it takes no calls if it does not. */
  async #attempt(isQuestion = false): Promise<Attempt> {
    const attempt: Attempt = {
      conn: undefined,
      error: undefined,
      wasReached: false,
      isGuess: false,
      isQuestion,
      events: {},
    };
    try {
      attempt.conn = await this.#connect(isQuestion ? 'auto' : this.#peer(), attempt);
      const { manager, isDraining } = attempt.conn;
      if (manager.isTerminated) attempt.error = this.#unavailable(manager.cause);
      else if (isDraining) {
        const cause = new SentAwayError(attempt.conn);
        attempt.error = cause;
        manager.finish(cause, FINISH_TIME);
      }
    } catch (error) {
      // An attempt that did not get that far says itself where it went.
      attempt.error = attempt.wasReached ? this.#unavailable(error) : error;
    }
    return attempt;
  }

  #opened(conn: PeerConn, { events, isGuess }: Attempt): void {
    const { peer, maxStreamsPerConnection } = this.#host.options;
    const link = new Link(this.#host, this, conn, maxStreamsPerConnection, this.#generation);
    link.isGuess = isGuess;
    this.#links.add(link);
    this.#isUnreachableTold = false;
    if (!isGuess) this.#guess.drop();
    const outgrown = this.#hasOwn()
      ? [...this.#links].filter((each) => each.isGuess && !each.isDraining)
      : [];
    for (const each of outgrown) each.isDraining = true;
    events.terminated = (cause) => this.#ended(link, cause);
    events.goaway = () => this.drain(link);
    if (conn.profile === 'own') this.#isPlainTold = false;
    else if (!this.#isPlainTold && peer === 'auto' && !link.isDraining) {
      this.#isPlainTold = true;
      this.#host.plainPeer(this.address, isGuess);
    }
    this.#host.opened(link);
    // After the connection that takes their place: the pool was never without one.
    for (const each of outgrown) this.#host.release(each);
  }

  #ended(link: Link, cause: Error): void {
    this.#links.delete(link);
    if (link.isGuess && link.wasHeard) this.#guess.isBacked = true;
    if (link.isDraining) return;
    // What ends as soon as it began, without a word, is as good as a failed attempt; so are too many with one, but
    // for plain servers, whose connections may well carry one call and end.
    const isSilent = !link.wasHeard && this.#isEarly(link);
    if (isSilent || (!link.isSerial && this.#isGoneTooEarly(link))) this.#pause.begin();
    else this.#pause.clear();
    this.#host.lost(link, cause);
  }

  /** Uses the connection no more: its server said so, or does not read. */
  #leave(link: Link, cause: Error): void {
    link.isDraining = true;
    if (this.#isGoneTooEarly(link)) this.#pause.begin();
    else this.#pause.clear();
    this.#host.lost(link, cause);
  }

  /**
   * Counts a connection that is gone as soon as it was open. A few in a row are a deployment that goes on; a server that
   * does so with every connection gets its pauses.
   */
  #isGoneTooEarly(link: Link): boolean {
    const isFirst = link.generation === this.#generation;
    if (isFirst) this.#generation++;
    if (!this.#isEarly(link)) this.#goneEarly = 0;
    else if (isFirst) this.#goneEarly++;
    return this.#goneEarly > MAX_GONE_EARLY;
  }

  /** Whether the connection has only just been opened. */
  #isEarly({ since }: Link): boolean {
    const { clock, options } = this.#host;
    return clock.now() - since < options.backoff.initial;
  }

  /** A server known to be plain is not probed again, one that is guessed to be so not while that is fresh. */
  #peer(): PeerProfile {
    const { peer } = this.#host.options;
    if (peer !== 'auto' || !this.#isSerial()) return peer;
    return this.#guess.isMade && !this.#hasAnswered() ? 'auto' : 'storj';
  }

  async #connect(peer: PeerProfile, attempt: Attempt): Promise<PeerConn> {
    const probes = peer === 'auto' && !attempt.isQuestion ? 1 : 0;
    this.#probes += probes;
    try {
      return await this.#open(peer, attempt);
    } catch (error) {
      // Where others were answered it is not plain, but in trouble.
      if (!(error instanceof SilentPeerError) || attempt.isQuestion || this.#hasOwn()) throw error;
    } finally {
      this.#probes -= probes;
    }
    if (this.#closeCause) throw this.#closeCause;
    if (!this.#isSerial()) this.#guess.isBacked = false;
    this.#guess.make();
    return this.#open('storj', attempt);
  }

  async #open(peer: PeerProfile, attempt: Attempt): Promise<PeerConn> {
    const { events } = attempt;
    if (peer === 'storj') attempt.isGuess = this.#guess.isMade;
    attempt.wasReached = false;
    const duplex = await this.#reach();
    attempt.wasReached = true;
    this.#handshakes.add(duplex);
    try {
      const conn = await PeerConn.connect(
        duplex,
        { ...this.#host.options.conn, peer },
        { terminated: (cause) => events.terminated?.(cause), goaway: () => events.goaway?.() },
      );
      if (conn.profile !== 'own') keepAlive(duplex);
      return conn;
    } finally {
      this.#handshakes.delete(duplex);
    }
  }

  async #reach(): Promise<Duplex> {
    const dial = new Dial(this.address, this.#host.options);
    this.#dials.add(dial);
    try {
      return await dial.socket;
    } finally {
      this.#dials.delete(dial);
    }
  }

  #stop(cause: Error): void {
    this.#closeCause = cause;
    this.#pause.cancel();
    this.#guess.cancel();
    for (const dial of this.#dials) dial.cancel(cause);
    for (const duplex of this.#handshakes) duplex.destroy();
  }

  #unavailable(cause: unknown): ClosedError {
    const reason = cause instanceof DrpcError ? `: ${messageWithCode(cause)}` : '';
    return new ClosedError(`cannot connect to ${formatAddress(this.address)}${reason}`, { cause });
  }
}

/** Whether the server was there, and ended the connection before any call could be made. */
function isSentAway({ wasReached, error }: Attempt): boolean {
  if (!(error instanceof ClosedError) || error.cause instanceof SilentPeerError) return false;
  // A reset may be quicker than the news that there is a connection, or come in the middle of a TLS handshake.
  return wasReached || (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ECONNRESET';
}
