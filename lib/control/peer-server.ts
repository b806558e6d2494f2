import type { Duplex } from 'node:stream';
import { DrpcCode } from '../errors/codes.js';
import { ClosedError, DrpcError } from '../errors/drpc-error.js';
import { streamRefused } from '../errors/error-info.js';
import { Manager, type ManagerHooks } from '../manager/manager.js';
import type { ManagerOptions } from '../manager/manager.options.js';
import { DEFAULT_STREAM_WINDOW, MIN_STREAM_WINDOW } from '../stream/recv-window.js';
import type { Stream } from '../stream/stream.js';
import {
  ALL_STREAMS,
  CONTROL_RPC,
  MAX_CONTROL_SIZE,
  withRoomForControl,
  type Settings,
} from './control-message.js';
import { ControlStream, DEFAULT_PING_INTERVAL, DEFAULT_PING_TIMEOUT } from './control-stream.js';
import { LIBRARY, VERSION } from './version.js';

const DEFAULT_MAX_STREAMS = 1000;

/** How clients are treated that did not open the control stream. */
export type PlainClients = 'storj' | 'cockroach' | 'cockroach-fc';

/** Settings of one server connection. Sizes in bytes, times in milliseconds. */
export interface PeerServerOptions extends Omit<
  ManagerOptions,
  'role' | 'sendWindow' | 'recvWindow' | 'errorForm'
> {
  /** Default: `'storj'`. */
  plainClients?: PlainClients | undefined;
  /** Credit that each stream of the client gets, at least 64 KiB. Default: 2 MiB. */
  streamWindow?: number | undefined;
  /** How often an idle connection is pinged; 0: never. Default: 30 s. */
  pingInterval?: number | undefined;
  /** How long a ping may stay unanswered. Default: 10 s. */
  pingTimeout?: number | undefined;
}

export interface PeerServerHooks extends ManagerHooks {
  /** The client has said that it is one of this library. */
  ownPeer?(): void;
}

/**
 * A server's end of a connection that answers the control stream by itself: its owner only sees the rpcs of
 * the application.
 */
export class PeerServer {
  readonly manager: Manager;
  readonly #options: PeerServerOptions;
  readonly #hooks: PeerServerHooks;
  #control: ControlStream | undefined;
  #hasAccepted = false;
  /** The client's settings arrived. */
  #isOwnPeer = false;
  /** The client was asked to go, and what it had sent by then is taken. */
  #isRetired = false;
  /** Why no more rpcs are taken. */
  #drainReason: string | undefined;

  constructor(duplex: Duplex, options: PeerServerOptions, hooks: PeerServerHooks) {
    const {
      plainClients = 'storj',
      streamWindow = DEFAULT_STREAM_WINDOW,
      maxStreams = DEFAULT_MAX_STREAMS,
    } = options;
    if (streamWindow < MIN_STREAM_WINDOW) {
      throw new RangeError(`streamWindow is ${streamWindow}: at least ${MIN_STREAM_WINDOW} bytes are needed`);
    }
    if (maxStreams < 1) throw new RangeError(`maxStreams is ${maxStreams}: at least 1 has to be taken`);
    this.#options = options;
    this.#hooks = hooks;
    const window = plainClients === 'cockroach-fc' ? streamWindow : 0;
    this.manager = new Manager(
      duplex,
      {
        ...withRoomForControl(options),
        role: 'server',
        errorForm: plainClients === 'storj' ? 'storj' : 'status',
        sendWindow: window,
        recvWindow: window,
      },
      {
        ...hooks,
        accept: (stream) => {
          if (stream.rpc === CONTROL_RPC) return this.#accept(stream);
          const isFirst = !this.#control && !this.#hasAccepted;
          this.#hasAccepted = true;
          if (isFirst && this.#drainReason !== undefined) this.#refuseFirst(stream, this.#drainReason);
          else hooks.accept?.(stream);
        },
      },
    );
  }

  /** Whether the client is one of this library. */
  get isOwnPeer(): boolean {
    return this.#isOwnPeer;
  }

  /**
   * Asks a client of this library to make its next calls on another connection. Those that are on their way meanwhile
   * are taken, so that none has to move, or is lost. Any other client can not be asked. May be called again.
   * @param obeyed called when the client has heard of it, and at once where it is not asked; not when the connection ends
   */
  retire(reason: string, obeyed?: () => void): void {
    if (!this.#control || !this.#isOwnPeer || this.#drainReason !== undefined || this.manager.isTerminated) {
      return obeyed?.();
    }
    if (!this.#isRetired) this.#control.send({ type: 'goaway', lastStreamId: ALL_STREAMS, reason });
    this.#isRetired = true;
    if (obeyed) this.#control.ask(obeyed);
  }

  /**
   * Takes no more rpcs: a client of this library is told which streams will be finished and moves the
   * others, any other gets code 14 for new ones. May be called again.
   */
  drain(reason: string): void {
    if (this.#drainReason !== undefined || this.manager.isTerminated) return;
    this.#drainReason = reason;
    if (this.#control) {
      this.manager.stopAccepting(undefined);
      if (this.#isOwnPeer) this.#sendGoaway(this.#control, reason);
    } else if (this.#hasAccepted) this.manager.stopAccepting(refusal(reason));
    // Otherwise it is not known yet what the client is, and the control stream's own Invoke must not be refused:
    // that is what a plain server would do, and as such the client would go on calling us.
  }

  /** The client turns out to be a plain one, after {@link drain}. */
  #refuseFirst(stream: Stream, reason: string): void {
    this.manager.stopAccepting(refusal(reason));
    stream.sendError(refusal(reason));
    stream.discard();
    stream.handlerEnded();
  }

  #sendGoaway(control: ControlStream, reason: string): void {
    control.send({ type: 'goaway', lastStreamId: this.manager.lastStreamId, reason });
  }

  #accept(stream: Stream): void {
    if (this.#control || this.#hasAccepted) {
      // An ordinary stream, which takes a slot until its error could be written.
      stream.sendError(
        new DrpcError(
          DrpcCode.FailedPrecondition,
          'the control stream must be the first of its connection, and there is one',
        ),
      );
      stream.discard();
      return stream.handlerEnded();
    }
    this.manager.exempt(stream);
    stream.handlerEnded();
    const { pingInterval = DEFAULT_PING_INTERVAL, pingTimeout = DEFAULT_PING_TIMEOUT } = this.#options;
    const control = new ControlStream(
      this.manager,
      {
        settings: (settings) => this.#adopt(control, settings, pingInterval),
        end: (cause) => {
          this.manager.terminate(new ClosedError('the control stream ended', { cause }));
        },
      },
      pingInterval,
      pingTimeout,
    );
    this.#control = control;
    if (this.#drainReason !== undefined) this.manager.stopAccepting(undefined);
    control.start(stream);
  }

  #adopt(control: ControlStream, settings: Settings, pingInterval: number): void {
    const { streamWindow = DEFAULT_STREAM_WINDOW, maxStreams = DEFAULT_MAX_STREAMS } = this.#options;
    const { manager } = this;
    const maxMessageSize = manager.limits.maxReceiveSize;
    manager.adopt({
      errorForm: 'status',
      sendWindow: settings.streamWindow,
      recvWindow: streamWindow,
      maxMessageSize: Math.max(settings.maxMessageSize, MAX_CONTROL_SIZE),
    });
    this.#isOwnPeer = true;
    control.send({
      type: 'settings',
      streamWindow,
      maxMessageSize,
      maxStreams,
      pingInterval,
      library: LIBRARY,
      version: VERSION,
    });
    if (this.#drainReason !== undefined) this.#sendGoaway(control, this.#drainReason);
    this.#hooks.ownPeer?.();
  }
}

function refusal(reason: string): DrpcError {
  return streamRefused(reason, DrpcCode.Unavailable);
}
