import { setMaxListeners } from 'node:events';
import type { Duplex } from 'node:stream';
import type { Encoding } from '../encoding/encoding.js';
import { DrpcCode } from '../errors/codes.js';
import { CanceledError, DeadlineError, DrpcError, messageTooLarge } from '../errors/drpc-error.js';
import { Manager, type ManagerHooks } from '../manager/manager.js';
import type { ManagerOptions } from '../manager/manager.options.js';
import { encodeMetadata, type Metadata } from '../metadata/metadata.js';
import { encodeTimeout, TIMEOUT_KEY } from '../metadata/timeout.js';
import type { Payload, Stream, StreamSink } from '../stream/stream.js';
import { RpcStream } from './rpc-stream.js';

/** What a single call may bring along. */
export interface CallOptions {
  /** Sent in front of the Invoke. */
  metadata?: Readonly<Metadata> | undefined;
  /** The call ends with a DeadlineError after so many ms, and the server is told the time it has. */
  timeout?: number | undefined;
  /** Gives the call up when it aborts, with its reason as cause. */
  signal?: AbortSignal | undefined;
}

/** The client's end of a connection. */
export class Conn {
  readonly manager: Manager;

  /** @param duplex a connected socket; owned by the connection from now on */
  constructor(duplex: Duplex, options: Omit<ManagerOptions, 'role'> = {}, hooks: ManagerHooks = {}) {
    this.manager = new Manager(duplex, { ...options, role: 'client' }, hooks);
  }

  /** Resolves with the cause when the connection has ended; never rejects. */
  get closed(): Promise<Error> {
    return this.manager.closed;
  }

  /**
   * Starts an rpc on a new stream, whose events go to `sink`. This is the push path: no promise is made.
   * @throws the cause that ended the connection.
   */
  open(rpc: string, sink: StreamSink, metadata?: Readonly<Metadata>, timeout?: number): Stream {
    const stream = this.manager.open(rpc, sink, encodeCallMetadata(metadata, timeout));
    if (timeout !== undefined) stream.setDeadline(timeout);
    return stream;
  }

  /**
   * Starts an rpc whose request is the one message `data`: Invoke, Message and CloseSend in one write.
   * @throws as {@link open}; MessageSizeError when `data` is over the limit.
   */
  openUnary(
    rpc: string,
    data: Payload,
    sink: StreamSink,
    metadata?: Readonly<Metadata>,
    timeout?: number,
  ): Stream {
    this.#checkSize(data);
    const stream = this.open(rpc, sink, metadata, timeout);
    try {
      stream.trySend(data);
    } catch (error) {
      // The caller is told by the throw; its sink, which knows of no stream yet, is not told as well.
      stream.discard();
      stream.sendCancel(DrpcError.from(error));
      throw error;
    }
    stream.closeSend();
    return stream;
  }

  /**
   * One request, one answer; `undefined` when the rpc ended without one.
   * @throws the rpc's error; the caller's own cause after its signal or timeout; code 13 for a second answer.
   */
  async invoke<TRequest, TResponse>(
    rpc: string,
    encoding: Encoding,
    request: TRequest,
    options: CallOptions = {},
  ): Promise<TResponse | undefined> {
    const stream = this.newStream<TRequest, TResponse>(rpc, encoding, options);
    try {
      try {
        await stream.msgSend(request);
        stream.closeSend();
      } catch (error) {
        // The peer may have answered already; what it says counts, not that sending is over.
        if (!stream.isTerminated) throw error;
      }
      const response = await stream.msgRecv();
      if (response === undefined) return undefined;
      const second = await stream.msgRecv();
      if (second === undefined) return response;
      throw new DrpcError(DrpcCode.Internal, `rpc ${rpc} answered twice: a unary rpc answers once`);
    } catch (error) {
      stream.sendCancel(DrpcError.from(error));
      throw error;
    } finally {
      // Whatever else the peer sent: nobody reads it.
      stream.discard();
    }
  }

  /**
   * Starts an rpc as a stream of values in both directions.
   * @throws CanceledError (or the signal's reason) before anything is sent when `signal` has aborted, and
   *   DeadlineError when `timeout` is over; no stream id is spent then.
   */
  newStream<TSend, TReceive>(
    rpc: string,
    encoding: Encoding,
    { metadata, timeout, signal }: CallOptions = {},
  ): RpcStream<TSend, TReceive> {
    if (signal?.aborted) throw abortCause(signal);
    if (timeout !== undefined && timeout <= 0) throw new DeadlineError();
    const stream = new RpcStream<TSend, TReceive>(
      (sink) => this.open(rpc, sink, metadata, timeout),
      encoding,
    );
    if (signal) {
      const abort = (): void => stream.sendCancel(abortCause(signal));
      shareSignal(signal);
      signal.addEventListener('abort', abort, { once: true });
      stream.onTerminated(() => signal.removeEventListener('abort', abort));
    }
    return stream;
  }

  /** What is too large must not start the rpc either. */
  #checkSize(data: Payload): void {
    const { maxSendSize } = this.manager.limits;
    // A UTF-16 unit is at most three bytes of UTF-8.
    if (data.length * 3 <= maxSendSize) return;
    const size = typeof data === 'string' ? Buffer.byteLength(data) : data.length;
    if (size > maxSendSize) throw messageTooLarge(size, maxSendSize);
  }

  /** Ends the connection and waits until its socket is closed. */
  close(): Promise<void> {
    return this.manager.close();
  }
}

/** The metadata of a call as its frame carries it; `undefined` when there is none. */
export function encodeCallMetadata(
  metadata: Readonly<Metadata> | undefined,
  timeout: number | undefined,
): Uint8Array | undefined {
  if (timeout === undefined) {
    if (!metadata) return undefined;
    for (const _ in metadata) return encodeMetadata(metadata);
    return undefined;
  }
  return encodeMetadata({ ...metadata, [TIMEOUT_KEY]: encodeTimeout(timeout) });
}

/**
 * Node takes more than ten listeners of a signal for a leak, and says so. Calls take theirs back when they end, and
 * many may well have one signal: that of a request, or of the whole application.
 */
export function shareSignal(signal: AbortSignal): void {
  try {
    setMaxListeners(Infinity, signal);
  } catch {
    // A signal that is not Node's, as of a simulated browser, counts nothing.
  }
}

/** What a caller that aborted is told: its own reason. */
export function abortCause(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  // AbortController's default reason says no more than that it was aborted.
  if (!(reason instanceof Error) || reason.name === 'AbortError')
    return new CanceledError('canceled', { cause: reason });
  return reason;
}
