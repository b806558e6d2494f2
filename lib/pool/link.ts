import type { Clock } from '../clock/clock.js';
import { ALL_STREAMS } from '../control/control-message.js';
import type { PeerConn } from '../control/peer-conn.js';
import type { Stream } from '../stream/stream.js';
import type { Balanced } from './balancer.js';
import type { Endpoint } from './endpoint.js';
import { LinkedList, type Linked } from './linked-list.js';
import { ReadCheck } from './read-check.js';

/** A call as its connection sees it: a node of the list of those it carries. */
export interface LinkedCall extends Linked<LinkedCall> {
  readonly stream: Stream | undefined;
  /** Whether its request was a stream of messages. */
  readonly hasRequestStream: boolean;
  /** The server will not start this call: it moves to another connection, or fails for `cause`. */
  moveOn(cause: Error): void;
}

/** Told of links that calls may wait for. */
export interface LinkHost {
  readonly clock: Clock;
  /** It could take a call that it could not take before. */
  freed(link: Link): void;
  /** It is not free as soon as was thought, and may never be. */
  delayed(): void;
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
  /** The same for connections that were made before the first of them had to be left. */
  readonly generation: number;
  /** When its last call ended (a serial peer's connection). */
  idleSince: number;
  /** No new calls: the server said so, or its address is gone. */
  isDraining = false;
  /** Whether its server is taken for a plain one only because it was silent. */
  isGuess = false;

  readonly #host: LinkHost;
  /** Whether it carries many calls, and one that its handler does not read can stop them all. */
  readonly #hasNoWindows: boolean;
  readonly #chunksBefore: number;
  readonly #calls = new LinkedList<LinkedCall>();
  #load = 0;
  #isSoonFree = false;
  /** A check among other calls is under way, and what has happened since asks for one more. */
  #isChecking = false;
  #isCheckDue = false;

  constructor(host: LinkHost, endpoint: Endpoint, conn: PeerConn, maxStreams: number, generation: number) {
    this.#host = host;
    this.endpoint = endpoint;
    this.conn = conn;
    this.isSerial = conn.profile === 'storj';
    this.#hasNoWindows = conn.profile === 'cockroach';
    this.capacity = Math.min(conn.maxStreams, maxStreams);
    this.#chunksBefore = conn.manager.chunks;
    this.since = host.clock.now();
    this.idleSince = this.since;
    this.generation = generation;
  }

  /** Calls in flight, and the check after one. */
  get load(): number {
    return this.#load;
  }

  get isUsable(): boolean {
    return !this.isDraining && !this.conn.manager.isTerminated;
  }

  get hasRoom(): boolean {
    return this.#load < this.capacity && this.isUsable;
  }

  /** Whether it will be free in a moment, if all is well: its call has ended, and the server is asked if it reads on. */
  get isSoonFree(): boolean {
    return this.#isSoonFree && this.isUsable;
  }

  /** Whether the server has sent anything since it is known who it is. */
  get wasHeard(): boolean {
    return this.conn.manager.chunks > this.#chunksBefore;
  }

  add(call: LinkedCall): void {
    this.#calls.add(call);
    this.#load++;
  }

  /** The stream of `call` has ended. */
  remove(call: LinkedCall): void {
    this.#calls.remove(call);
    this.#load--;
    const { stream, hasRequestStream } = call;
    if (!this.isSerial) {
      if (this.#hasNoWindows && stream && isGivenUp(stream)) this.#checkAmongOthers();
      return this.#host.freed(this);
    }
    this.idleSince = this.#host.clock.now();
    if (stream && this.isUsable && !this.#readsOnAfter(stream, hasRequestStream)) {
      this.#check(stream, hasRequestStream);
    } else this.#host.freed(this);
  }

  /** The server takes no more calls here, as one of them was told. */
  drain(): void {
    this.endpoint.drain(this);
  }

  /** Moves the calls to other connections that the server will not start; see {@link PeerConn.goawayLastId}. */
  moveUnstarted(cause: Error): void {
    const lastId = this.conn.goawayLastId;
    if (lastId === undefined || lastId === ALL_STREAMS) return;
    for (const call of this.#calls.toArray()) {
      const id = call.stream?.id ?? 0;
      // Without an id its Invoke has not even entered the writer.
      if (id === 0 || id > lastId) call.moveOn(cause);
    }
  }

  /** Whether it is certain that a serial server reads on after a call. */
  #readsOnAfter(stream: Stream, hasRequestStream: boolean): boolean {
    // It never began there, or it was the server that ended it all and so drops what it had not read.
    if (stream.id === 0 || stream.isEndedByPeer) return true;
    return stream.isEndedWell && !hasRequestStream && this.endpoint.isKnownToRead(stream.rpc);
  }

  #check(stream: Stream, hasRequestStream: boolean): void {
    // A handler that was given up may take its time.
    this.#isSoonFree = stream.isEndedWell;
    this.#load++;
    new ReadCheck(this.conn, this.endpoint.checkTimeout, {
      passed: () => {
        this.#isSoonFree = false;
        this.#load--;
        if (stream.isEndedWell && !hasRequestStream) this.endpoint.learnThatItReads(stream.rpc);
        this.#host.freed(this);
      },
      delayed: () => {
        if (!this.#isSoonFree) return;
        this.#isSoonFree = false;
        this.#host.delayed();
      },
      failed: (cause) => this.conn.manager.terminate(cause),
    });
  }

  /**
   * The server may be slow only, as long as a handler takes its time: calls that run here go on, whatever comes of
   * them, and new ones go elsewhere.
   */
  #checkAmongOthers(): void {
    this.#isCheckDue = true;
    if (this.#isChecking || !this.isUsable) return;
    this.#isCheckDue = false;
    this.#isChecking = true;
    new ReadCheck(this.conn, this.endpoint.checkTimeout, {
      passed: () => {
        this.#isChecking = false;
        if (this.#isCheckDue) this.#checkAmongOthers();
      },
      failed: (cause) => this.endpoint.leave(this, cause),
    });
  }
}

/** Whether the server may still be at work on a call that has ended here. */
function isGivenUp(stream: Stream): boolean {
  return stream.id !== 0 && !stream.isEndedByPeer && !stream.isEndedWell;
}
