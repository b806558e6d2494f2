/** The process that holds one end of one contestant. It does as it is told and ends when its parent is gone. */
import type { ClientEnd, Contestant, Program, ServerEnd } from './contestant.js';
import { loadContestant } from './contestants.js';
import { driveBesideBulk } from './drive/beside-bulk.js';
import { driveDownloads } from './drive/download.js';
import { Flow } from './drive/flow.js';
import { driveCancel, driveHold, type Held } from './drive/hold.js';
import { drivePingPong } from './drive/ping-pong.js';
import { driveUnary } from './drive/unary.js';
import type { ClientTasks, OwnTasks, Question, Reply, ServerTasks } from './end-protocol.js';
import { AllocationRecorder, MemoryPeak, usedMemory } from './memory.js';

type Handlers<T extends Record<keyof T, [unknown, unknown]>> = {
  [K in keyof T]: (params: T[K][0]) => Promise<T[K][1]>;
};

const [role, name] = process.argv.slice(2);
const contestant = await loadContestant(name!);
const handlers: Record<string, (params: never) => Promise<unknown>> =
  role === 'server' ? serverHandlers(contestant) : clientHandlers(contestant);

process.on('SIGINT', () => undefined); // the parent decides
process.on('disconnect', () => {
  resumePartner();
  process.exit();
});
process.on('message', (message: Question) => void answer(message));
process.send!({ id: 0 } satisfies Reply);

async function answer({ id, task, params }: Question): Promise<void> {
  let reply: Reply;
  try {
    reply = { id, answer: await handlers[task]!(params as never) };
  } catch (error) {
    reply = { id, error: error instanceof Error ? error.message : JSON.stringify(error) };
  }
  if (process.connected) process.send!(reply);
}

/** A client that was stopped when the parent died would stay for ever. */
function resumePartner(): void {
  const partner = Number(process.env.BENCH_PARTNER);
  if (!partner) return;
  try {
    process.kill(partner, 'SIGCONT');
  } catch {
    // it is gone already
  }
}

function ownHandlers(): Handlers<OwnTasks> {
  let recorder: AllocationRecorder | undefined;
  return {
    usedMemory,
    cpuTime: async () => {
      const { user, system } = process.cpuUsage();
      return user + system;
    },
    startAllocations: () => (recorder ??= new AllocationRecorder()).start(),
    allocations: () => recorder!.take(),
  };
}

function serverHandlers(contestant: Contestant): Handlers<ServerTasks> {
  let end: ServerEnd;
  let peak: MemoryPeak | undefined;
  return {
    listen: async ({ settings }) => {
      end = await contestant.listen(settings);
      return { port: end.port };
    },
    counters: async () => end.counters(),
    ...ownHandlers(),
    memoryPeak: async () => (peak ??= new MemoryPeak()).take(),
  };
}

function clientHandlers(contestant: Contestant): Handlers<ClientTasks> {
  let end!: ClientEnd;
  let program: Program | undefined;
  let held: Held | undefined;
  let flow: Flow | undefined;
  return {
    connect: async ({ port, settings }) => {
      if ('program' in contestant) {
        program = contestant.program(port);
        return;
      }
      await (end as ClientEnd | undefined)?.close();
      end = await contestant.connect(port, settings);
    },
    unary: (params) => program?.unary(params) ?? driveUnary(end, params),
    download: (params) => program?.download(params) ?? driveDownloads(end, params),
    pingPong: (params) => drivePingPong(end, params),
    cancelCycles: (params) => driveCancel(end, params),
    besideBulk: (params) => driveBesideBulk(end, params),
    hold: async ({ streams }) => {
      held = await driveHold(end, streams);
      return { openMs: held.openMs };
    },
    release: async () => {
      for (const call of held?.calls ?? []) call.cancel();
      held = undefined;
    },
    startFlow: async (params) => {
      flow = new Flow(end, params);
    },
    flow: async () => flow!.state,
    ...ownHandlers(),
  };
}
