import type { Socket } from 'node:net';
import type { DrpcContext, DrpcPeer } from 'nestjs-drpc';
import { finalize, Observable } from 'rxjs';

/** What happened to the calls of a service: `start NAME`, `canceled NAME`, `end NAME`, in order. */
export class CallLog {
  readonly entries: string[] = [];
  readonly #waiting = new Set<() => void>();
  readonly #sockets = new Set<Socket>();

  /** Resolves when `entry` is there `count` times. */
  async seen(entry: string, count = 1): Promise<void> {
    while (this.entries.filter((each) => each === entry).length < count) {
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** Adds what a handler has to say. */
  note(entry: string): void {
    this.#add(entry);
  }

  clear(): void {
    this.entries.length = 0;
  }

  /** Follows a handler that gives or takes a stream; it ends where the loop over it does. */
  async *watch<T>(context: DrpcContext, values: AsyncIterable<T>): AsyncIterable<T> {
    const name = this.#begin(context);
    try {
      yield* values;
    } finally {
      this.#add(`end ${name}`);
    }
  }

  watchObservable<T>(context: DrpcContext, values: Observable<T>): Observable<T> {
    return new Observable((subscriber) => {
      const name = this.#begin(context);
      return values.pipe(finalize(() => this.#add(`end ${name}`))).subscribe(subscriber);
    });
  }

  /** Makes it possible to drop the connection of a peer. */
  knowSocket(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  }

  dropConnection({ port }: DrpcPeer): void {
    for (const socket of this.#sockets) if (socket.remotePort === port) socket.destroy();
  }

  #begin({ pattern, signal }: DrpcContext): string {
    const name = pattern.slice(pattern.lastIndexOf('/') + 1);
    this.#add(`start ${name}`);
    signal.addEventListener('abort', () => this.#add(`canceled ${name}`), { once: true });
    return name;
  }

  #add(entry: string): void {
    this.entries.push(entry);
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resolve of waiting) resolve();
  }
}
