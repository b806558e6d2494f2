import { once } from 'node:events';
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';

import { PeerConn } from '../../lib/control/peer-conn.js';
import { PeerServer, type PeerServerOptions } from '../../lib/control/peer-server.js';
import { unknownRpc } from '../../lib/conn/serve-one.js';
import { jsonEncoding } from '../../lib/encoding/encoding.js';
import type { Manager } from '../../lib/manager/manager.js';
import { MemoryBudget } from '../../lib/manager/memory-budget.js';
import type { Stream } from '../../lib/stream/stream.js';
import { ManualClock } from './manual-clock.js';

/** What an application does with a stream; by rpc name. */
export type Handler = (stream: Stream) => void;

/** Answers with what it was sent, and ends when its caller does. */
const echo: Handler = (stream) => {
  stream.sink = {
    message: (bytes, start, end) => {
      if (stream.canSend) stream.trySend(Buffer.from(bytes.subarray(start, end)));
    },
    end: () => stream.closeSend(),
    terminated: () => stream.handlerEnded(),
  };
  stream.request(Infinity);
};

/** Takes nothing until it is over. */
const idle: Handler = (stream) => {
  stream.sink = {
    message: () => undefined,
    end: () => undefined,
    terminated: () => {
      stream.discard();
      stream.handlerEnded();
    },
  };
};

/**
 * A server as an application has it, on a real port, with eyes: what every connection and handler of it
 * holds can be seen, and its timers only fire when a test moves the time.
 */
export class TargetServer {
  readonly clock = new ManualClock();
  readonly budget: MemoryBudget;
  /** Connections since the beginning, the last one last. */
  readonly managers: Manager[] = [];
  /** Streams that were accepted. */
  accepted = 0;
  /** The most that were accepted in one turn of the event loop. */
  mostInTurn = 0;
  /** What code behind sinks threw. */
  readonly failures: unknown[] = [];

  readonly #server: Server;
  readonly #handlers = new Map<string, Handler>([
    ['/echo', echo],
    ['/idle', idle],
  ]);
  readonly #sockets = new Set<Socket>();
  #inTurn = 0;

  private constructor(options: PeerServerOptions & { budget?: number }, handlers: Record<string, Handler>) {
    for (const [rpc, handler] of Object.entries(handlers)) this.#handlers.set(rpc, handler);
    this.budget = new MemoryBudget(options.budget ?? Infinity);
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      const peer = new PeerServer(
        socket,
        { clock: this.clock, receiveBudget: this.budget, ...options },
        {
          accept: (stream) => this.#accept(stream),
          failed: (_stream, error) => void this.failures.push(error),
        },
      );
      this.managers.push(peer.manager);
      this.#server.emit('accepted');
    });
  }

  /** @param handlers beside `/echo` and `/idle` */
  static async start(
    options: PeerServerOptions & { budget?: number } = {},
    handlers: Record<string, Handler> = {},
  ): Promise<TargetServer> {
    const server = new TargetServer(options, handlers);
    server.#server.listen(0, '127.0.0.1');
    await once(server.#server, 'listening');
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** The connection made last. */
  get manager(): Manager {
    return this.managers[this.managers.length - 1]!;
  }

  /** Connections that are open. */
  get open(): number {
    return this.#sockets.size;
  }

  /** Resolves when the server has accepted `count` connections. */
  async accepts(count: number): Promise<void> {
    while (this.managers.length < count) await once(this.#server, 'accepted');
  }

  /** A call on a connection of its own. */
  async call(text: string): Promise<unknown> {
    const conn = await PeerConn.connect(connect(this.port, '127.0.0.1'), { clock: this.clock });
    try {
      return await conn.invoke('/echo', jsonEncoding, text);
    } finally {
      await conn.close();
    }
  }

  /** Resolves when all connections are closed; those that are not yet are, by their peers. */
  async quiet(): Promise<void> {
    await Promise.all(this.managers.map((manager) => manager.closed));
    while (this.#sockets.size > 0) await once([...this.#sockets][0]!, 'close');
  }

  /** What is left of all connections: nothing, if they have been closed. */
  remains(): Record<string, number> {
    const sum = (of: (manager: Manager) => number): number =>
      this.managers.reduce((total, manager) => total + of(manager), 0);
    return {
      streams: sum((manager) => manager.openStreams),
      slots: sum((manager) => manager.slots),
      held: sum((manager) => manager.heldBytes),
      queued: sum((manager) => manager.queuedBytes),
      lent: sum((manager) => manager.pool.usage.lent),
      pending: sum((manager) => manager.writer.pending),
      budget: this.budget.used,
      timers: this.clock.pending,
      sockets: this.#sockets.size,
    };
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #accept(stream: Stream): void {
    this.accepted++;
    if (this.#inTurn++ === 0) {
      setImmediate(() => {
        this.mostInTurn = Math.max(this.mostInTurn, this.#inTurn);
        this.#inTurn = 0;
      });
    }
    const handler = this.#handlers.get(stream.rpc);
    if (handler) return handler(stream);
    stream.sendError(unknownRpc(stream.rpc));
    stream.discard();
    stream.handlerEnded();
  }
}

/** {@link TargetServer.remains} of a server that nobody talks to. */
export const NOTHING = {
  streams: 0,
  slots: 0,
  held: 0,
  queued: 0,
  lent: 0,
  pending: 0,
  budget: 0,
  timers: 0,
  sockets: 0,
};
