export { DrpcContext } from './drpc.context.js';
export { DrpcMetadata, DrpcSignal, DrpcStream, type DrpcStreamOptions } from './drpc.decorators.js';
export { type DrpcServerEvents } from './drpc-events.js';
export {
  DrpcMethod,
  DrpcService,
  type DrpcMethodDecorator,
  type DrpcMethodHandler,
} from './drpc-service.decorators.js';
export { DrpcPeer } from './drpc-peer.js';
export { type DrpcServerOptions } from './drpc-server.options.js';
export { DrpcServer } from './drpc.server.js';
export { type DrpcServerStats } from './server-stats.js';
export { type DrpcListener, type ListenerHooks } from './listener.js';
