import type { Timer } from '../clock/clock.js';
import { ClosedError, DrpcError, ProtocolError } from '../errors/drpc-error.js';
import type { Manager } from '../manager/manager.js';
import type { Stream, StreamSink } from '../stream/stream.js';
import type { Uint64 } from '../wire/varint.js';
import { marshalControl, unmarshalControl, type ControlMessage, type Settings } from './control-message.js';

/** How often an idle connection is pinged, by default, in ms. */
export const DEFAULT_PING_INTERVAL = 30_000;
/** How long a ping may stay unanswered, by default, in ms. */
export const DEFAULT_PING_TIMEOUT = 10_000;

export interface ControlHooks {
  /** The peer's settings arrived. */
  settings(settings: Settings): void;
  /** The peer will finish the streams up to `lastStreamId` and take no more. */
  goaway?(lastStreamId: Uint64, reason: string): void;
  /** The control stream has ended; before any settings, the peer is a plain one. */
  end(cause: Error | undefined): void;
}

/**
 * One end of the control stream: settings once, then ping and pong while nothing else is heard, and goaway.
 * Whatever is malformed ends the connection; types that are not known are ignored, so that versions can
 * differ.
 */
export class ControlStream implements StreamSink {
  readonly #manager: Manager;
  readonly #hooks: ControlHooks;
  readonly #pingInterval: number;
  readonly #pingTimeout: number;
  #stream: Stream | undefined;
  #hasSettings = false;
  #timer: Timer | undefined;
  #chunks = 0;
  #isQuiet = false;
  #pingId = 0;
  /** The newest ping that could not be answered at once. */
  #pongId: number | undefined;
  /** Who waits for the answer to a ping, and to which. */
  #awaited: { readonly id: number; readonly answered: () => void } | undefined;

  /** @param pingInterval in ms; 0: the connection is not watched */
  constructor(manager: Manager, hooks: ControlHooks, pingInterval: number, pingTimeout: number) {
    this.#manager = manager;
    this.#hooks = hooks;
    this.#pingInterval = pingInterval;
    this.#pingTimeout = pingTimeout;
  }

  /** Begins on `stream`, whose sink this is from now on. */
  start(stream: Stream): void {
    this.#stream = stream;
    stream.sink = this;
    stream.request(Infinity);
  }

  send(message: ControlMessage): void {
    if (this.#stream?.canSend) this.#stream.trySend(marshalControl(message));
  }

  /**
   * Pings, and calls back when the peer has answered: it has seen then what was sent to it before. Not if the connection
   * ends first, and only the last who asks is told.
   */
  ask(answered: () => void): void {
    const id = ++this.#pingId;
    this.#awaited = { id, answered };
    this.send({ type: 'ping', id });
  }

  message(bytes: Buffer, start: number, end: number): void {
    try {
      const message = unmarshalControl(bytes, start, end);
      if (message) this.#handle(message);
    } catch (error) {
      this.#manager.terminate(
        error instanceof DrpcError ? error : new ProtocolError('control stream failed', { cause: error }),
      );
    }
  }

  end(cause: Error | undefined): void {
    this.#timer?.cancel();
    this.#hooks.end(cause);
  }

  terminated(): void {
    this.#timer?.cancel();
  }

  #handle(message: ControlMessage): void {
    if (!this.#hasSettings && message.type !== 'settings') {
      throw new ProtocolError(`${message.type} before settings on the control stream: settings come first`);
    }
    switch (message.type) {
      case 'settings':
        if (this.#hasSettings)
          throw new ProtocolError('second settings on the control stream: they are sent once');
        this.#hasSettings = true;
        this.#hooks.settings(message);
        return this.#watch();
      case 'ping':
        return this.#pong(message.id);
      case 'pong':
        // Any chunk is a sign of life; that it arrived has been counted.
        return this.#answered(message.id);
      case 'goaway':
        return this.#hooks.goaway?.(message.lastStreamId, message.reason);
      default:
        message satisfies never;
    }
  }

  /** The peer may have kept the newest of several answers alone. */
  #answered(id: number): void {
    const awaited = this.#awaited;
    if (!awaited || id < awaited.id) return;
    this.#awaited = undefined;
    awaited.answered();
  }

  /** Answers a ping. While an answer waits for room, only the newest is kept. */
  #pong(id: number): void {
    const stream = this.#stream!;
    if (stream.queuedBytes === 0) return this.send({ type: 'pong', id });
    const isWaiting = this.#pongId !== undefined;
    this.#pongId = id;
    if (isWaiting) return;
    stream.drained().then(
      () => {
        const newest = this.#pongId!;
        this.#pongId = undefined;
        this.send({ type: 'pong', id: newest });
      },
      () => undefined,
    );
  }

  /** Looks twice an interval whether anything was heard; after a whole one of silence it pings. */
  #watch(): void {
    if (this.#pingInterval === 0 || this.#manager.isTerminated) return;
    this.#chunks = this.#manager.chunks;
    this.#timer = this.#manager.clock.after(this.#pingInterval / 2, () => {
      if (this.#isAlive()) this.#isQuiet = false;
      else if (this.#isQuiet) return this.#ping();
      else this.#isQuiet = true;
      this.#watch();
    });
  }

  /** Whether something was heard since the last look; our own standing still says nothing about the peer. */
  #isAlive(): boolean {
    return this.#manager.chunks !== this.#chunks || this.#manager.isPaused;
  }

  #ping(): void {
    this.send({ type: 'ping', id: ++this.#pingId });
    this.#chunks = this.#manager.chunks;
    const { clock } = this.#manager;
    this.#timer = clock.after(this.#pingTimeout, () => {
      // The answer may lie in the socket while this process was busy or asleep: one poll first.
      clock.yield(() => this.#judge());
    });
  }

  #judge(): void {
    if (this.#manager.isTerminated) return;
    this.#isQuiet = false;
    if (this.#isAlive()) return this.#watch();
    this.#manager.terminate(
      new ClosedError(
        `no sign of life: a ping stayed unanswered for ${this.#pingTimeout} ms after ${this.#pingInterval} ms of silence`,
      ),
    );
  }
}
