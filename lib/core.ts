/** The protocol without Nest: `nestjs-drpc/core`. */

// For applications that speak DRPC themselves.
export { Conn, type CallOptions } from './conn/conn.js';
export { RpcStream } from './conn/rpc-stream.js';
export { serveOne, unknownRpc, type RpcHandler } from './conn/serve-one.js';
export {
  PeerConn,
  SilentPeerError,
  type PeerConnHooks,
  type PeerConnOptions,
  type PeerProfile,
} from './control/peer-conn.js';
export { PeerServer, type PeerServerOptions, type PlainClients } from './control/peer-server.js';
export { bytesEncoding, jsonEncoding, type Encoding } from './encoding/encoding.js';
export { DrpcCode } from './errors/codes.js';
export {
  CanceledError,
  ClosedError,
  DeadlineError,
  DrpcError,
  EofError,
  MessageSizeError,
  ProtocolError,
  type DrpcErrorOptions,
  type ErrorDetail,
} from './errors/drpc-error.js';
export { type Metadata } from './metadata/metadata.js';

// For other libraries: connections, streams and frames.
export { systemClock, type Clock, type Timer } from './clock/clock.js';
export { Manager, type ManagerHooks, type PeerSettings } from './manager/manager.js';
export { type ManagerOptions } from './manager/manager.options.js';
export { MemoryBudget } from './manager/memory-budget.js';
export { Stream, type Payload, type StreamSink } from './stream/stream.js';
export { type ErrorForm } from './wire/error-payload.js';
export { FrameReader, type FrameSink } from './wire/frame-reader.js';
export { encodeFrame, FrameHeader, parseFrame, type Frame } from './wire/frame.js';
export { Kind } from './wire/kind.js';
export { type Uint64 } from './wire/varint.js';
