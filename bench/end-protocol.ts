import type { Counters, EndSettings } from './contestant.js';
import type { BesideBulkParams, BesideBulkResult } from './drive/beside-bulk.js';
import type { DownloadParams, DownloadResult } from './drive/download.js';
import type { FlowParams, FlowState } from './drive/flow.js';
import type { CancelParams, CancelResult } from './drive/hold.js';
import type { PingPongParams, PingPongResult } from './drive/ping-pong.js';
import type { Allocations } from './memory.js';
import type { UnaryParams, UnaryResult } from './drive/unary.js';

/** What can be asked of the process that holds a client, by name: [question, answer]. */
export interface ClientTasks extends OwnTasks {
  connect: [{ port: number; settings: EndSettings }, void];
  unary: [UnaryParams, UnaryResult];
  download: [DownloadParams, DownloadResult];
  pingPong: [PingPongParams, PingPongResult];
  cancelCycles: [CancelParams, CancelResult];
  besideBulk: [BesideBulkParams, BesideBulkResult];
  /** Opens idle streams and keeps them. */
  hold: [{ streams: number }, { openMs: number }];
  /** Cancels them. */
  release: [void, void];
  startFlow: [FlowParams, void];
  flow: [void, FlowState];
}

/** What either end says of itself. */
export interface OwnTasks {
  usedMemory: [void, number];
  /** Microseconds of processor time since the process began. */
  cpuTime: [void, number];
  /** Records from now on what is allocated, and where. */
  startAllocations: [void, void];
  allocations: [void, Allocations];
}

export interface ServerTasks extends OwnTasks {
  listen: [{ settings: EndSettings }, { port: number }];
  counters: [void, Counters];
  /** Peak of the resident size since the last time this was asked. */
  memoryPeak: [void, number];
}

export interface Question {
  id: number;
  task: string;
  params: unknown;
}

export interface Reply {
  id: number;
  answer?: unknown;
  error?: string;
}
