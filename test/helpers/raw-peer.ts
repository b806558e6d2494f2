import { Manager } from '../../lib/manager/manager.js';
import type { ManagerOptions } from '../../lib/manager/manager.options.js';
import type { Stream } from '../../lib/stream/stream.js';
import { FakeSocket } from './fake-socket.js';
import { describeFrames } from './frames.js';
import { track } from './leaks.js';
import { describeError, Recorder } from './recorder.js';
import { VirtualClock } from './virtual-clock.js';

/** A stream of the manager under test, and what it was told. */
export interface Call {
  readonly stream: Stream;
  readonly sink: Recorder;
}

export interface RawPeerOptions extends Omit<ManagerOptions, 'role' | 'clock' | 'isFedByHand'> {
  /** Messages that accepted and opened streams ask for at once. Default: all. */
  demand?: number;
  /** Default: a new one. */
  socket?: FakeSocket;
}

/**
 * The peer of a Manager, played by the test: frames in, frames out. Everything happens in the turn of the
 * test; the clock stands still, and writes are let through when {@link sent} asks for them.
 */
export class RawPeer {
  readonly clock = new VirtualClock();
  readonly socket: FakeSocket;
  readonly manager: Manager;
  /** Streams that the manager accepted. */
  readonly accepted: Call[] = [];
  /** What the manager's hooks were told: `terminated …`, `failed s1 …`. */
  readonly events: string[] = [];
  /** What limits did to calls, in their words. */
  readonly overloads: string[] = [];
  /** Runs in the accept hook, after the sink was set. */
  onAccept: (call: Call) => void = () => undefined;
  readonly #track: (stream: Stream) => void;
  readonly #demand: number;

  constructor(
    role: 'client' | 'server',
    { demand = Infinity, socket = new FakeSocket(), ...options }: RawPeerOptions = {},
  ) {
    this.socket = socket;
    this.#demand = demand;
    this.manager = new Manager(
      this.socket,
      { ...options, role, clock: this.clock, isFedByHand: true },
      {
        accept: (stream) => this.#accept(stream),
        terminated: (cause) => void this.events.push(`terminated ${describeError(cause)}`),
        overloaded: ({ message }) => void this.overloads.push(message),
        failed: (stream, error) => void this.events.push(`failed s${stream.id} ${describeError(error)}`),
      },
    );
    this.#track = track(this.manager, this.clock);
  }

  /** The peer of a server's manager. */
  static ofServer(options?: RawPeerOptions): RawPeer {
    return new RawPeer('server', options);
  }

  /** The peer of a client's manager. */
  static ofClient(options?: RawPeerOptions): RawPeer {
    return new RawPeer('client', options);
  }

  /** The cause that ended the manager as a line; `undefined` while it lives. */
  get cause(): string | undefined {
    return this.manager.cause && describeError(this.manager.cause);
  }

  /** The call accepted last. */
  get last(): Call {
    return this.accepted[this.accepted.length - 1]!;
  }

  /** Gives the manager frames, all in one chunk. */
  send(...frames: Uint8Array[]): void {
    this.manager.receive(Buffer.concat(frames));
  }

  /** Sends an Invoke and answers the call it made. */
  invoke(...frames: Uint8Array[]): Call {
    this.send(...frames);
    return this.last;
  }

  /** Opens a stream (client). */
  open(rpc = '/rpc', metadata?: Uint8Array): Call {
    const sink = new Recorder();
    const stream = this.manager.open(rpc, sink, metadata);
    this.#track(stream);
    stream.request(this.#demand);
    return { stream, sink };
  }

  /** The bytes that the manager wrote since this was last asked; all that can be written is. */
  sentBytes(): Buffer {
    do this.clock.turn();
    while (this.socket.release() || this.#giveWriterItsTurn());
    return this.socket.takeWritten();
  }

  /** The same as lines. */
  sent(): string[] {
    return describeFrames(this.sentBytes());
  }

  /** A writer that has much to do lets the event loop go round in between. */
  #giveWriterItsTurn(): boolean {
    if (this.manager.writer.pending === 0 || this.clock.pendingYields === 0) return false;
    this.clock.yielded();
    return true;
  }

  #accept(stream: Stream): void {
    const sink = new Recorder();
    stream.sink = sink;
    const call = { stream, sink };
    this.accepted.push(call);
    this.#track(stream);
    this.onAccept(call);
    stream.request(this.#demand);
  }
}
