/** The Nest layer and the core types its users touch: `nestjs-drpc`. */

export { type EncodingName } from './bridge/encodings.js';
export { DrpcException, type DrpcExceptionOptions } from './bridge/exception.js';
export { DrpcStatus } from './bridge/status.js';
export { DRPC_TRANSPORT } from './bridge/transport-id.js';
export { bytesEncoding, jsonEncoding, type Encoding } from './encoding/encoding.js';
export { DrpcCode } from './errors/codes.js';
export {
  CanceledError,
  ClosedError,
  DeadlineError,
  DrpcError,
  MessageSizeError,
  type ErrorDetail,
} from './errors/drpc-error.js';
export { type Metadata } from './metadata/metadata.js';
export {
  DrpcContext,
  DrpcMetadata,
  DrpcPeer,
  DrpcServer,
  DrpcSignal,
  DrpcStream,
  type DrpcListener,
  type DrpcServerEvents,
  type DrpcServerOptions,
  type DrpcStreamOptions,
  type ListenerHooks,
} from './transport/index.js';
