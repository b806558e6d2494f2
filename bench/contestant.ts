import type { DownloadParams, DownloadResult } from './drive/download.js';
import type { UnaryParams, UnaryResult } from './drive/unary.js';

/** What a server has seen of the streams that were opened to stay silent. */
export interface Counters {
  held: number;
  canceled: number;
}

export interface EndSettings {
  /** How many streams one connection must be able to hold open. */
  maxStreams: number;
  /** The client's calls are spread over so many; default: 1. Only our own contestants do so. */
  connections?: number;
  /** Bytes that the writer takes at once, and up to which bulk streams fill it; only the core heeds them. */
  writer?: { writeSize?: number; bulkSize?: number };
}

export interface ServerEnd {
  readonly port: number;
  counters(): Counters;
  close(): Promise<void>;
}

/** What the client asks of a stream of messages from the server. */
export interface DownloadRequest {
  count: number;
  /** Size of a message, in bytes or, where the payload is text, in characters of one byte. */
  size: number;
  /** Each message is newly made; otherwise all of them are one and the same. */
  fresh: boolean;
  /** The server stops producing after this time, whatever `count` says; 0: only `count` counts. */
  limitMs: number;
}

export interface StreamObserver {
  /** `size` of what has arrived; -1 when it is not what was asked for. */
  message(size: number): void;
  end(): void;
  error(error: Error): void;
}

export interface StreamCall {
  /** The observer hears nothing afterwards. */
  cancel(): void;
}

export interface PingPongCall<P> extends StreamCall {
  send(payload: P): void;
  closeSend(): void;
}

/**
 * The client's end of one connection, in the way a user of the contestant would hold it.
 * Callbacks never run inside the call that they answer.
 */
export interface ClientEnd<P = unknown> {
  /** A payload of `size` bytes (or one-byte characters) whose first and last differ. */
  payload(size: number): P;
  /** The server answers with the same payload. `size` as in `StreamObserver.message`. */
  unary(payload: P, done: (error: Error | undefined, size: number) => void): void;
  download(request: DownloadRequest, observer: StreamObserver): StreamCall;
  /** A stream on which each message comes back. */
  pingPong(observer: StreamObserver): PingPongCall<P>;
  /** A stream that answers with one message and is then silent until it is canceled. */
  hold(observer: StreamObserver): StreamCall;
  close(): Promise<void>;
}

/** A client that is a program of its own and measures itself. */
export interface Program {
  unary(params: UnaryParams): Promise<UnaryResult>;
  download(params: DownloadParams): Promise<DownloadResult>;
}

export type Contestant<P = unknown> = {
  listen(settings: EndSettings): Promise<ServerEnd>;
} & (
  { connect(port: number, settings: EndSettings): Promise<ClientEnd<P>> } | { program(port: number): Program }
);

const FIRST_BYTE = 0x61;
const LAST_BYTE = 0x7a;

export function bytesPayload(size: number): Buffer {
  const bytes = Buffer.alloc(size, 0x6d);
  bytes[0] = FIRST_BYTE;
  bytes[size - 1] = LAST_BYTE;
  return bytes;
}

/** Size of `bytes`, or -1 when they can not have come from `bytesPayload`. */
export function checkedBytes(bytes: Uint8Array): number {
  return checkedRange(bytes, 0, bytes.length);
}

export function checkedRange(bytes: Uint8Array, start: number, end: number): number {
  return bytes[start] === FIRST_BYTE && bytes[end - 1] === LAST_BYTE ? end - start : -1;
}

/** A flat string of its own, as a parser would give it, not a rope. */
export function textPayload(size: number): string {
  return bytesPayload(size).toString('latin1');
}

export function checkedText(text: string): number {
  return text.charCodeAt(0) === FIRST_BYTE && text.charCodeAt(text.length - 1) === LAST_BYTE
    ? text.length
    : -1;
}

/** For a call that this contestant has no way to make: the registry says so and nobody asks. */
export function unsupported(): never {
  throw new Error('this contestant has no such call');
}
