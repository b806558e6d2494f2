import { typeName } from '../errors/type-name.js';
import { PROTO_OPTIONS, resolveProtoOptions, type ProtoOptions } from './proto-options.js';
import { isDescService } from './protobuf-es.js';
import type { DescService } from './protobuf-es.types.js';

/** Where a server has the definitions of protobuf services from. */
export interface ServiceOptions extends ProtoOptions {
  /** Services of protoc-gen-es, for handlers that name them by texts; a handler with a descriptor needs none. */
  services?: readonly DescService[] | undefined;
}

/** The names of the options. */
export const SERVICE_OPTIONS: readonly string[] = [...PROTO_OPTIONS, 'services'];

/** The options among others, checked. @throws TypeError naming option, value and what is allowed. */
export function resolveServiceOptions(options: ServiceOptions): ServiceOptions {
  return { ...resolveProtoOptions(options), services: resolveServices(options.services) };
}

function resolveServices(services: readonly unknown[] | undefined): readonly DescService[] | undefined {
  if (services === undefined) return undefined;
  if (Array.isArray(services) && services.every(isDescService)) return services;
  throw new TypeError(
    `option services is ${typeName(services)}: must be an array of services that protoc-gen-es made`,
  );
}
