import type { Counters, EndSettings } from './contestant.js';
import type { BesideBulkParams, BesideBulkResult } from './drive/beside-bulk.js';
import type { DownloadParams, DownloadResult } from './drive/download.js';
import type { FlowParams, FlowState } from './drive/flow.js';
import type { CancelParams, CancelResult } from './drive/hold.js';
import type { PingPongParams, PingPongResult } from './drive/ping-pong.js';
import type { UnaryParams, UnaryResult } from './drive/unary.js';

/** What can be asked of the process that holds a client, by name: [question, answer]. */
export interface ClientTasks {
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
  usedMemory: [void, number];
}

export interface ServerTasks {
  listen: [{ settings: EndSettings }, { port: number }];
  counters: [void, Counters];
  usedMemory: [void, number];
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
