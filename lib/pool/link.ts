import type { Clock } from '../clock/clock.js';
import type { PeerConn } from '../control/peer-conn.js';
import { DeadlineError } from '../errors/drpc-error.js';
import type { Stream } from '../stream/stream.js';
import type { Balanced } from './balancer.js';
import type { Endpoint } from './endpoint.js';

/**
 * How long a connection to a serial peer is left alone after a Cancel if there is another, in ms: its handler
 * may not listen to cancels, and the next call would wait for it.
 */
const CANCEL_REST = 1000;

/** A call as its connection sees it: a node of the list of those it carries. */
export interface LinkedCall {
  previous: LinkedCall | undefined;
  following: LinkedCall | undefined;
  readonly stream: Stream | undefined;
  /** The server will not start this call: it moves to another connection, or fails for `cause`. */
  moveOn(cause: Error): void;
}

/** Told when a link could take a call that it could not take before. */
export interface LinkHost {
  readonly clock: Clock;
  freed(link: Link): void;
}

/** One open connection of the pool and the calls on it. */
export class Link implements Balanced {
  readonly endpoint: Endpoint;
  readonly conn: PeerConn;
  /** Whether it carries one call after the other. */
  readonly isSerial: boolean;
  /** Calls it takes at once. */
  readonly capacity: number;
  /** When it was opened, by the clock. */
  readonly since: number;
  /** When its last call ended (a serial peer's connection). */
  idleSince: number;
  /** A cancelled call may still run until then (a serial peer's connection). */
  restUntil = 0;
  /** No new calls: the server said so, or its address is gone. */
  isDraining = false;

  readonly #host: LinkHost;
  readonly #chunksBefore: number;
  #first: LinkedCall | undefined;
  #load = 0;

  constructor(host: LinkHost, endpoint: Endpoint, conn: PeerConn, maxStreams: number) {
    this.#host = host;
    this.endpoint = endpoint;
    this.conn = conn;
    this.isSerial = conn.profile === 'storj';
    this.capacity = Math.min(conn.maxStreams, maxStreams);
    this.#chunksBefore = conn.manager.chunks;
    this.since = host.clock.now();
    this.idleSince = this.since;
  }

  /** Calls in flight. */
  get load(): number {
    return this.#load;
  }

  get isUsable(): boolean {
    return !this.isDraining && !this.conn.manager.isTerminated;
  }

  get hasRoom(): boolean {
    return this.#load < this.capacity && this.isUsable;
  }

  /** Whether the server has sent anything since it is known who it is. */
  get wasHeard(): boolean {
    return this.conn.manager.chunks > this.#chunksBefore;
  }

  add(call: LinkedCall): void {
    call.following = this.#first;
    if (this.#first) this.#first.previous = call;
    this.#first = call;
    this.#load++;
  }

  /** The stream of `call` has ended. */
  remove(call: LinkedCall): void {
    const { previous, following } = call;
    if (previous) previous.following = following;
    else this.#first = following;
    if (following) following.previous = previous;
    call.previous = undefined;
    call.following = undefined;
    this.#load--;
    if (this.isSerial) this.#rest(call.stream);
    this.#host.freed(this);
  }

  /** Moves the calls to other connections that the server will not start; see {@link PeerConn.goawayLastId}. */
  moveUnstarted(cause: Error): void {
    const lastId = this.conn.goawayLastId;
    if (lastId === undefined) return;
    const calls: LinkedCall[] = [];
    for (let call = this.#first; call; call = call.following) {
      const id = call.stream?.id ?? 0;
      // Without an id its Invoke has not even entered the writer.
      if (id === 0 || id > lastId) calls.push(call);
    }
    // The list begins with the newest.
    for (const call of calls.reverse()) call.moveOn(cause);
  }

  #rest(stream: Stream | undefined): void {
    const now = this.#host.clock.now();
    this.idleSince = now;
    if (stream && (stream.isCanceled || stream.cause instanceof DeadlineError)) {
      this.restUntil = now + CANCEL_REST;
    }
  }
}
