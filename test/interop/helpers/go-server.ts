import { GoProcess, type GoModule } from './go-process.js';

/** What a Go server tells of itself; see test/interop/go/README.md. */
export interface GoEvent {
  readonly event: 'open' | 'close' | 'start' | 'canceled' | 'end' | 'error';
  readonly conn?: number;
  readonly rpc?: string;
  readonly id?: number;
  readonly token?: string;
  readonly code?: number;
  readonly error?: string;
}

/** A Go server and what it has told. */
export class GoServer {
  /** `127.0.0.1:PORT`, or the path of a unix socket. */
  readonly address: string;
  readonly #process: GoProcess;
  readonly #events: GoEvent[] = [];
  readonly #waiting = new Set<() => void>();
  #isOver = false;

  private constructor(process: GoProcess, address: string) {
    this.#process = process;
    this.address = address;
    void this.#read();
  }

  static async start(module: GoModule, ...args: string[]): Promise<GoServer> {
    const process = await GoProcess.start(module, 'server', args);
    const line = (await process.line()) ?? process.stderr;
    const [, address] = /^LISTEN (.+)$/.exec(line) ?? [];
    if (address === undefined) throw new Error(`the Go server does not listen: ${line}`);
    return new GoServer(process, address);
  }

  get port(): number {
    return Number(this.address.split(':')[1]);
  }

  /** The events so far that agree with `wanted`. */
  events(wanted: Partial<GoEvent>): GoEvent[] {
    return this.#events.filter((event) => agrees(event, wanted));
  }

  /** Resolves with the first `count` events that agree with `wanted`, when there are so many. */
  async seen(wanted: Partial<GoEvent>, count = 1): Promise<GoEvent[]> {
    for (;;) {
      const found = this.events(wanted);
      if (found.length >= count) return found.slice(0, count);
      if (this.#isOver) throw new Error(`the Go server ended without ${JSON.stringify(wanted)}`);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** Closes all connections from its side. */
  drop(): void {
    this.#process.say('drop');
  }

  close(): Promise<void> {
    return this.#process.close();
  }

  async #read(): Promise<void> {
    for (let line = await this.#process.line(); line !== undefined; line = await this.#process.line()) {
      this.#events.push(JSON.parse(line) as GoEvent);
      this.#wake();
    }
    this.#isOver = true;
    this.#wake();
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resolve of waiting) resolve();
  }
}

function agrees(event: GoEvent, wanted: Partial<GoEvent>): boolean {
  return Object.entries(wanted).every(([key, value]) => event[key as keyof GoEvent] === value);
}
