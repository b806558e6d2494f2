import type { Encoding } from '../encoding/encoding.js';

/** What an rpc of a protobuf service looks like, whatever described it. */
export interface MethodShape {
  /** The name on the wire: `/package.Service/Method`. */
  readonly rpc: string;
  /** As the .proto file has it: `SayHello`. */
  readonly name: string;
  /** As JavaScript has it: `sayHello`. */
  readonly localName: string;
  /** Whether the caller sends a stream of messages instead of one. */
  readonly requestStream: boolean;
  /** Whether the answer is a stream of messages instead of one. */
  readonly responseStream: boolean;
}

/** An rpc of a protobuf service, ready for use. */
export interface MethodDefinition extends MethodShape {
  /** The server's: reads requests and writes responses. */
  readonly serverEncoding: Encoding;
  /** The client's: writes requests and reads responses. */
  readonly clientEncoding: Encoding;
}

/** A protobuf service, whatever described it. */
export interface ServiceDefinition {
  /** With its package: `interop.v1.Greeter`. */
  readonly name: string;
  /** What is left of it inside the package that was asked for: `Greeter`. */
  readonly localName: string;
  readonly methods: readonly MethodDefinition[];
}

/** Names an rpc where its definition is not at hand: `@DrpcMethod('Greeter', 'SayHello')`. */
export interface MethodName {
  /** With or without its package. */
  readonly service: string;
  readonly method: string;
}

/** The rpc name of a method of a service that is named with its package. */
export function rpcOf(service: string, method: string): string {
  return `/${service}/${method}`;
}

/**
 * The services that `name` means: the one of that full name, otherwise those of that name inside their
 * packages, in the order in which they were loaded.
 */
export function findServices(
  services: readonly ServiceDefinition[],
  name: string,
): readonly ServiceDefinition[] {
  const full = services.find((service) => service.name === name);
  return full ? [full] : services.filter((service) => service.localName === name);
}

/**
 * The method that `name` means: as the .proto file has it, otherwise as JavaScript has it, as gRPC takes either; and
 * `findOne()` of a file that does not write its methods with a capital is not lost for the `FindOne` derived from it.
 */
export function findMethod(methods: readonly MethodDefinition[], name: string): MethodDefinition | undefined {
  const localName = uncapitalized(name);
  return (
    methods.find((method) => method.name === name) ?? methods.find((method) => method.localName === localName)
  );
}

/** A name with a small first letter. */
export function uncapitalized(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
