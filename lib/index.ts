/** The Nest layer and the core types its users touch: `nestjs-drpc`. */

export { type EncodingName } from './bridge/encodings.js';
export { DrpcException, type DrpcExceptionOptions } from './bridge/exception.js';
export { type DrpcPattern } from './bridge/pattern.js';
export { DrpcStatus } from './bridge/status.js';
export { DRPC_TRANSPORT } from './bridge/transport-id.js';
export {
  drpcClient,
  DrpcClient,
  DrpcHealthIndicator,
  DrpcRecord,
  DrpcRecordBuilder,
  type DrpcApiPattern,
  type DrpcArguments,
  type DrpcCallOptions,
  type DrpcClientEvents,
  type DrpcClientInterceptor,
  type DrpcClientOptions,
  type DrpcClientProvider,
  type DrpcClientStats,
  type DrpcFreePattern,
  type DrpcHealthCallOptions,
  type DrpcHealthOptions,
  type DrpcHealthReport,
  type DrpcHealthResult,
  type DrpcOutgoingCall,
  type DrpcRequest,
  type DrpcResponse,
  type DrpcServiceCallOptions,
  type DrpcServiceClient,
  type DrpcServiceForm,
  type DrpcServiceMethod,
  type DrpcServiceOptions,
} from './client/index.js';
export { type PeerProfile } from './control/peer-conn.js';
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
export { type LookupAddress } from './pool/address.js';
export { type BalancePolicy } from './pool/balancer.js';
export { type ConnectionPool, type PoolConnection } from './pool/connection-pool.js';
export { type ProtoLoaderOptions, type ProtoOptions } from './service/proto-options.js';
export { type ServiceOptions } from './service/service-options.js';
export {
  DrpcContext,
  DrpcMetadata,
  DrpcMethod,
  DrpcPeer,
  DrpcServer,
  DrpcService,
  DrpcSignal,
  DrpcStream,
  type DrpcListener,
  type DrpcMethodDecorator,
  type DrpcMethodHandler,
  type DrpcServerEvents,
  type DrpcServerOptions,
  type DrpcServerStats,
  type DrpcStreamOptions,
  type ListenerHooks,
} from './transport/index.js';
