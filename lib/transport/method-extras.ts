import type { MethodRef } from '../service/bind-methods.js';
import { isDescMethod } from '../service/protobuf-es.js';
import { rpcOf } from '../service/service-definition.js';

/** The key of a handler's extras under which `@DrpcMethod()` says which rpc it serves. */
const METHOD_EXTRA = 'drpcMethod';

/**
 * Which rpc a handler serves, in its extras. Only a name is seen of it: a descriptor leads to everything in its
 * file and back, and Nest makes JSON of extras for its graph of an application.
 */
class ServedMethod {
  readonly name: string;
  readonly #ref: MethodRef;

  constructor(ref: MethodRef) {
    const [service, method] = isDescMethod(ref) ? [ref.parent.typeName, ref.name] : [ref.service, ref.method];
    this.name = rpcOf(service, method);
    this.#ref = ref;
  }

  static refOf(served: ServedMethod): MethodRef {
    return served.#ref;
  }
}

/** What `@DrpcMethod()` leaves in the extras of a handler. */
export function methodExtra(ref: MethodRef): Record<string, unknown> {
  return { [METHOD_EXTRA]: new ServedMethod(ref) };
}

export function readMethodExtra(extras: Readonly<Record<string, unknown>>): MethodRef | undefined {
  const served = extras[METHOD_EXTRA];
  return served instanceof ServedMethod ? ServedMethod.refOf(served) : undefined;
}
