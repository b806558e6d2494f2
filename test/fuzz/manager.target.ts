import { CanceledError, DrpcError, MessageSizeError } from '../../lib/errors/drpc-error.js';
import { Manager } from '../../lib/manager/manager.js';
import type { Stream, StreamSink } from '../../lib/stream/stream.js';
import { unmarshalError } from '../../lib/wire/error-payload.js';
import type { Random } from '../simulation/random.js';
import { VirtualClock } from '../simulation/virtual-clock.js';
import { FrameProgram } from './frame-programs.js';
import { frameBytes, readSlowly, type SlowFrame } from './slow-frames.js';
import { SlowManager, type Limits } from './slow-manager.js';
import { StubSocket } from './stub-socket.js';
import { must, type Target } from './target.js';

const LIMITS: Limits = {
  maximumBufferSize: 2000,
  maxReceiveSize: 1000,
  maxMetadataSize: 400,
  maxNameSize: 100,
  maxStreams: 5,
};

/** Says what happens on a stream, and does the least that ends it. */
class TellingSink implements StreamSink {
  hasEnded = false;
  readonly #stream: Stream;
  readonly #manager: Manager;
  readonly #events: string[];

  constructor(stream: Stream, manager: Manager, events: string[]) {
    this.#stream = stream;
    this.#manager = manager;
    this.#events = events;
  }

  message(bytes: Buffer, start: number, end: number): void {
    must(!this.hasEnded, `a message after the end of stream ${this.#stream.id}`);
    this.#events.push(`message ${this.#stream.id} ${bytes.toString('hex', start, end)}`);
  }

  end(cause: Error | undefined): void {
    must(!this.hasEnded, `stream ${this.#stream.id} ended twice`);
    this.hasEnded = true;
    this.#events.push(`end ${this.#stream.id} ${this.#describe(cause)}`);
    this.#stream.closeSend();
  }

  terminated(): void {
    this.#stream.handlerEnded();
  }

  #describe(cause: Error | undefined): string {
    if (!cause) return 'ordinary';
    if (cause === this.#manager.cause) return 'connection';
    if (cause instanceof MessageSizeError) return 'error 8';
    return cause instanceof CanceledError && this.#stream.isCanceled ? 'canceled' : 'peer error';
  }
}

/** Random programs of frames: what a Manager tells and refuses is what its slow twin says. */
function managerTarget(role: 'server' | 'client'): Target {
  return { name: `${role}-manager`, run: (random) => runProgram(random, role) };
}

export const serverManagerTarget = managerTarget('server');
export const clientManagerTarget = managerTarget('client');

function runProgram(random: Random, role: 'server' | 'client'): void {
  const clock = new VirtualClock();
  const socket = new StubSocket(clock);
  const events: string[] = [];
  const manager = new Manager(
    socket.duplex,
    { role, clock, ...LIMITS },
    {
      accept: (stream) => {
        events.push(`accept ${stream.id} ${stream.rpc} ${JSON.stringify(stream.metadata)}`);
        begin(stream);
      },
    },
  );
  const begin = (stream: Stream): void => {
    stream.sink = new TellingSink(stream, manager, events);
    stream.request(Infinity);
  };
  const opened: bigint[] = [];
  for (let i = role === 'client' ? random.int(1, 6) : 0; i > 0; i--) {
    const stream = manager.open('/x', { message: () => {}, end: () => {}, terminated: () => {} });
    begin(stream);
    stream.closeSend();
    opened.push(BigInt(stream.id));
  }
  const twin = new SlowManager(LIMITS, role === 'client' ? opened : undefined);
  const program = new FrameProgram(random, role === 'server');
  const frames: SlowFrame[] = [];
  for (let i = random.int(1, 60); i > 0; i--) frames.push(...program.next());
  for (const frame of frames) twin.handle(frame);
  const bytes = Buffer.concat(frames.map((frame) => frameBytes(frame)));
  for (const piece of random.cut(bytes)) {
    socket.feed(piece);
    socket.settle();
  }

  must(manager.isTerminated === twin.isDead, () => `dead: ${manager.isTerminated}, twin: ${twin.isDead}`);
  if (!twin.isDead) {
    must(
      manager.slots === (role === 'server' ? twin.slots : 0),
      () => `${manager.slots} slots, twin: ${twin.slots}`,
    );
    must(manager.openStreams === twin.open, () => `${manager.openStreams} open streams, twin: ${twin.open}`);
    const refusals = refusalsIn(Buffer.concat(socket.written), twin.refusals);
    must(
      refusals.join() === twin.refusals.join(),
      () => `refused ${refusals.join()}, twin: ${twin.refusals.join()}`,
    );
    manager.terminate(new DrpcError(14, 'over'));
    twin.die();
  }
  socket.settle();
  const first = events.findIndex((event, i) => event !== twin.events[i]);
  must(
    first < 0 && events.length === twin.events.length,
    () =>
      `event ${first}: ${events[first]}, twin: ${twin.events[first]} (${events.length} and ${twin.events.length} events)`,
  );
  must(manager.heldBytes === 0, `${manager.heldBytes} bytes held at the end`);
  must(manager.queuedBytes === 0, `${manager.queuedBytes} bytes queued at the end`);
  must(manager.slots === 0, `${manager.slots} slots taken at the end`);
  must(manager.pool.usage.lent === 0, `${manager.pool.usage.lent} buffers lent at the end`);
  must(clock.pending === 0, `${clock.pending} timers at the end`);
}

/** The refusals among the Error frames in what a server wrote: those of streams that it never accepted. */
function refusalsIn(bytes: Buffer, expected: readonly string[]): string[] {
  const ids = new Set(expected.map((line) => line.split(' ')[0]));
  return readSlowly(bytes, 1 << 20)
    .frames.filter(
      ({ kind, messageId, streamId, control }) =>
        kind === 3 && messageId === 1n && !control && ids.has(String(streamId)),
    )
    .map(({ streamId, data }) => `${streamId} ${unmarshalError(data, 0, data.length).code}`);
}
