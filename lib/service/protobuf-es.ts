import { packageError } from './optional-package.js';
import type { DescMessage, DescMethod, DescService } from './protobuf-es.types.js';
import { ProtobufEncoding, type MessageCodec } from './protobuf-encoding.js';
import {
  rpcOf,
  type MethodDefinition,
  type MethodShape,
  type ServiceDefinition,
} from './service-definition.js';

/** Reads the descriptors in the code of protoc-gen-es; it cannot be without the package that they come from. */
export interface DescReader {
  method(desc: DescMethod): MethodDefinition;
  service(desc: DescService): ServiceDefinition;
}

/** The functions of @bufbuild/protobuf that are used. */
interface Library {
  create: (schema: DescMessage, init: unknown) => unknown;
  fromBinary: (schema: DescMessage, bytes: Uint8Array) => unknown;
  toBinary: (schema: DescMessage, message: unknown) => Uint8Array;
}

/** Whether a value describes a method; the names of methods are texts and objects of ours. */
export function isDescMethod(value: object): value is DescMethod {
  return (value as { kind?: unknown }).kind === 'rpc';
}

/** Whether a value describes a service. */
export function isDescService(value: unknown): value is DescService {
  return (value as { kind?: unknown } | null | undefined)?.kind === 'service';
}

/** What needs no library to be known. */
export function shapeOf({ parent, name, localName, methodKind }: DescMethod): MethodShape {
  return {
    rpc: rpcOf(parent.typeName, name),
    name,
    localName,
    requestStream: methodKind === 'client_streaming' || methodKind === 'bidi_streaming',
    responseStream: methodKind === 'server_streaming' || methodKind === 'bidi_streaming',
  };
}

/** @throws Error when @bufbuild/protobuf is not installed. */
export async function loadDescReader(): Promise<DescReader> {
  // Imported and not required: it is the very module that the generated code imports.
  const library = (await import('@bufbuild/protobuf').catch((error: unknown) => {
    throw packageError(error, '@bufbuild/protobuf', 'a service of protoc-gen-es');
  })) as Library;
  const method = (desc: DescMethod): MethodDefinition => toMethod(desc, library);
  return {
    method,
    service: (desc) => ({
      name: desc.typeName,
      localName: desc.name,
      methods: desc.methods.map(method),
    }),
  };
}

function toMethod(desc: DescMethod, library: Library): MethodDefinition {
  const request = codecOf(desc.input, library);
  const response = codecOf(desc.output, library);
  return {
    ...shapeOf(desc),
    serverEncoding: new ProtobufEncoding(response, request),
    clientEncoding: new ProtobufEncoding(request, response),
  };
}

function codecOf(schema: DescMessage, { create, fromBinary, toBinary }: Library): MessageCodec {
  return {
    // A message stays as it is; anything else is taken for its fields.
    encode: (value) => toBinary(schema, create(schema, value)),
    decode: (bytes) => fromBinary(schema, bytes),
  };
}
