import { escapeName } from '../errors/escape.js';
import { loadProtoServices } from './proto-loader.js';
import { hasProto } from './proto-options.js';
import { isDescMethod, loadDescReader, type DescReader } from './protobuf-es.js';
import type { DescMethod } from './protobuf-es.types.js';
import {
  findMethod,
  findServices,
  type MethodDefinition,
  type MethodName,
  type ServiceDefinition,
} from './service-definition.js';
import type { ServiceOptions } from './service-options.js';

/** Which rpc a handler serves. */
export type MethodRef = MethodName | DescMethod;

/** A handler and an rpc that it serves. */
export interface BoundMethod<Handler> {
  readonly method: MethodDefinition;
  readonly handler: Handler;
}

/**
 * Finds the rpcs that handlers serve. A service is named with its package or without, as in Nest's gRPC
 * transport; without it the handler serves all services of that name, but for what another one names in full.
 * @throws Error for a method that no definition has or that two handlers serve, and when a library that is
 *   needed is not installed.
 */
export async function bindMethods<Handler>(
  refs: readonly (readonly [MethodRef, Handler])[],
  options: ServiceOptions,
): Promise<BoundMethod<Handler>[]> {
  const { services: descs = [] } = options;
  const isReaderNeeded = descs.length > 0 || refs.some(([ref]) => isDescMethod(ref));
  const reader = isReaderNeeded ? await loadDescReader() : undefined;
  const services = hasProto(options) ? loadProtoServices(options) : [];
  for (const desc of descs) services.push(reader!.service(desc));

  const bound = new Map<string, BoundMethod<Handler> & { isByFullName: boolean }>();
  for (const [ref, handler] of refs) {
    for (const { method, isByFullName } of findMethods(ref, services, reader)) {
      const other = bound.get(method.rpc);
      if (other && other.isByFullName === isByFullName) {
        throw new Error(`rpc ${method.rpc} has two handlers: it takes one`);
      }
      if (!other || isByFullName) bound.set(method.rpc, { method, handler, isByFullName });
    }
  }
  return [...bound.values()];
}

function findMethods(
  ref: MethodRef,
  services: readonly ServiceDefinition[],
  reader: DescReader | undefined,
): { method: MethodDefinition; isByFullName: boolean }[] {
  if (isDescMethod(ref)) return [{ method: reader!.method(ref), isByFullName: true }];
  const found = findServices(services, ref.service).flatMap(({ name, methods }) => {
    const method = findMethod(methods, ref.method);
    return method ? [{ method, isByFullName: name === ref.service }] : [];
  });
  if (found.length === 0) throw notFound(ref, services);
  return found;
}

function notFound({ service, method }: MethodName, services: readonly ServiceDefinition[]): Error {
  const what = `no definition of the method "${escapeName(method)}" of service "${escapeName(service)}"`;
  if (services.length === 0) {
    return new Error(`${what}: set package and protoPath, or services, in the options of the server`);
  }
  const same = findServices(services, service);
  const [kind, names] =
    same.length === 0
      ? ['services', services.map(({ name }) => name)]
      : ['methods', same.flatMap(({ methods }) => methods.map(({ name }) => name))];
  return new Error(`${what}: the loaded ${kind} are ${names.join(', ') || 'none'}`);
}
