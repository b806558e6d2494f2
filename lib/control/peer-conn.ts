import type { Duplex } from 'node:stream';
import type { Timer } from '../clock/clock.js';
import { Conn } from '../conn/conn.js';
import { ClosedError, ProtocolError } from '../errors/drpc-error.js';
import type { ManagerHooks } from '../manager/manager.js';
import type { ManagerOptions } from '../manager/manager.options.js';
import { DEFAULT_STREAM_WINDOW, MIN_STREAM_WINDOW } from '../stream/recv-window.js';
import type { Stream } from '../stream/stream.js';
import type { Uint64 } from '../wire/varint.js';
import {
  ALL_STREAMS,
  CONTROL_RPC,
  marshalControl,
  MAX_CONTROL_SIZE,
  withRoomForControl,
  type Settings,
} from './control-message.js';
import { ControlStream, DEFAULT_PING_INTERVAL, DEFAULT_PING_TIMEOUT } from './control-stream.js';
import { LIBRARY, VERSION } from './version.js';

/** How long the answer to the probe may take, by default, in ms. */
export const DEFAULT_HANDSHAKE_TIMEOUT = 2000;

/** What a client knows of its server beforehand; `'auto'` finds out. */
export type PeerProfile = 'auto' | 'storj' | 'cockroach' | 'cockroach-fc';

/** Settings of one client connection. Sizes in bytes, times in milliseconds. */
export interface PeerConnOptions extends Omit<
  ManagerOptions,
  'role' | 'sendWindow' | 'recvWindow' | 'errorForm'
> {
  /** Default: `'auto'`. */
  peer?: PeerProfile | undefined;
  /** Credit that each stream of the server gets, at least 64 KiB. Default: 2 MiB. */
  streamWindow?: number | undefined;
  /** How long the server may take to say who it is. Default: 2 s. */
  handshakeTimeout?: number | undefined;
  /** How often an idle connection is pinged; 0: never. Default: 30 s. */
  pingInterval?: number | undefined;
  /** How long a ping may stay unanswered. Default: 10 s. */
  pingTimeout?: number | undefined;
}

export interface PeerConnHooks {
  /** The connection has ended; every stream has been told already. */
  terminated?(cause: Error): void;
  /** The server takes no more calls on this connection; see {@link PeerConn.goawayLastId}. */
  goaway?(): void;
  /** Code behind a sink threw. */
  failed?(stream: Stream, error: unknown): void;
}

/** The server neither answered the probe nor refused it: dial again without one. */
export class SilentPeerError extends ClosedError {
  override name = 'SilentPeerError';
}

/** A client's connection to a server whose kind is known. */
export class PeerConn extends Conn {
  readonly #hooks: PeerConnHooks;
  #profile: 'own' | Exclude<PeerProfile, 'auto'> = 'storj';
  #maxStreams = 1;
  #goawayLastId: Uint64 | undefined;
  #goawayReason = '';
  #controlStream: Stream | undefined;

  private constructor(duplex: Duplex, options: PeerConnOptions, hooks: PeerConnHooks) {
    const { peer = 'auto', streamWindow = DEFAULT_STREAM_WINDOW } = options;
    const hasWindows = peer === 'cockroach-fc';
    const managerHooks: ManagerHooks = {
      terminated: (cause) => hooks.terminated?.(cause),
      failed: (stream, error) => hooks.failed?.(stream, error),
    };
    super(
      duplex,
      {
        ...(peer === 'auto' ? withRoomForControl(options) : options),
        errorForm: peer === 'storj' || peer === 'auto' ? 'storj' : 'status',
        sendWindow: hasWindows ? streamWindow : 0,
        recvWindow: hasWindows ? streamWindow : 0,
      },
      managerHooks,
    );
    this.#hooks = hooks;
    if (peer !== 'auto') this.#become(peer);
  }

  /**
   * Makes a connection of a connected socket; resolves when it is known who the peer is.
   * @throws SilentPeerError when the probe got no answer in time, or what ended the connection before.
   */
  static async connect(
    duplex: Duplex,
    options: PeerConnOptions = {},
    hooks: PeerConnHooks = {},
  ): Promise<PeerConn> {
    const { streamWindow = DEFAULT_STREAM_WINDOW } = options;
    if (streamWindow < MIN_STREAM_WINDOW) {
      duplex.destroy();
      throw new RangeError(`streamWindow is ${streamWindow}: at least ${MIN_STREAM_WINDOW} bytes are needed`);
    }
    const conn = new PeerConn(duplex, options, hooks);
    if ((options.peer ?? 'auto') === 'auto') await conn.#probe(options);
    return conn;
  }

  /** What the server turned out to be; `'own'` is this library. */
  get profile(): 'own' | Exclude<PeerProfile, 'auto'> {
    return this.#profile;
  }

  /** Streams the server takes at once. */
  get maxStreams(): number {
    return this.#maxStreams;
  }

  /** Whether the server takes no more calls here. */
  get isDraining(): boolean {
    return this.#goawayLastId !== undefined;
  }

  /** The last stream the server will finish; calls above it never started there. */
  get goawayLastId(): Uint64 | undefined {
    return this.#goawayLastId;
  }

  /** Why the server takes no more calls here, in its own words; empty while it takes them. */
  get goawayReason(): string {
    return this.#goawayReason;
  }

  /** Calls in flight. */
  get openStreams(): number {
    const open = this.manager.openStreams;
    return this.#controlStream && !this.#controlStream.isTerminated ? open - 1 : open;
  }

  #become(profile: 'own' | Exclude<PeerProfile, 'auto'>, maxStreams = Infinity): void {
    this.#profile = profile;
    this.#maxStreams = profile === 'storj' ? 1 : maxStreams;
  }

  #probe(options: PeerConnOptions): Promise<void> {
    const {
      streamWindow = DEFAULT_STREAM_WINDOW,
      handshakeTimeout = DEFAULT_HANDSHAKE_TIMEOUT,
      pingInterval = DEFAULT_PING_INTERVAL,
      pingTimeout = DEFAULT_PING_TIMEOUT,
    } = options;
    return new Promise((resolve, reject) => {
      let timer: Timer | undefined;
      const settled = (error?: Error): void => {
        timer?.cancel();
        if (error) reject(error);
        else resolve();
      };
      const control = new ControlStream(
        this.manager,
        {
          settings: (settings) => {
            this.#adopt(settings, streamWindow);
            settled();
          },
          goaway: (lastStreamId, reason) => {
            // What it said it will finish may have begun: a second one can not take that back, nor cost any work. But
            // where there was no limit, a server that closes has one.
            const isLimited = this.isDraining && this.#goawayLastId !== ALL_STREAMS;
            if (isLimited || lastStreamId === this.#goawayLastId) return;
            this.#goawayLastId = lastStreamId;
            this.#goawayReason = reason;
            this.#hooks.goaway?.();
          },
          end: (cause) => {
            const { manager } = this;
            if (manager.isTerminated) settled(manager.cause);
            else if (this.#profile === 'own') {
              manager.terminate(
                new ProtocolError('the control stream ended: it stays open as long as its connection', {
                  cause,
                }),
              );
            } else {
              this.#become('storj');
              settled();
            }
          },
        },
        pingInterval,
        pingTimeout,
      );
      const stream = this.open(CONTROL_RPC, control);
      this.#controlStream = stream;
      control.start(stream);
      stream.trySend(
        marshalControl({
          type: 'settings',
          streamWindow,
          maxMessageSize: this.manager.limits.maxReceiveSize,
          library: LIBRARY,
          version: VERSION,
        }),
      );
      timer = this.manager.clock.after(handshakeTimeout, () => {
        const error = new SilentPeerError(
          `the server did not answer the probe within ${handshakeTimeout} ms`,
        );
        this.manager.terminate(error);
        reject(error);
      });
    });
  }

  #adopt(settings: Settings, recvWindow: number): void {
    this.manager.adopt({
      errorForm: 'status',
      sendWindow: settings.streamWindow,
      recvWindow,
      maxMessageSize: Math.max(settings.maxMessageSize, MAX_CONTROL_SIZE),
    });
    this.#become('own', settings.maxStreams);
  }
}
