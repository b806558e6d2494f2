import { createRequire } from 'node:module';
import { escapeName } from '../errors/escape.js';
import { packageError } from './optional-package.js';
import { ProtoMapKeys, type ProtoType } from './proto-map-keys.js';
import type { ProtoLoaderOptions, ProtoOptions } from './proto-options.js';
import { ProtobufEncoding, type MessageCodec } from './protobuf-encoding.js';
import { rpcOf, uncapitalized, type MethodDefinition, type ServiceDefinition } from './service-definition.js';

/** The part of @grpc/proto-loader that is used. */
interface ProtoLoader {
  loadSync(files: string[], options?: ProtoLoaderOptions): object;
}

/** What @grpc/proto-loader says of everything in the files, by full name. */
type Loaded = LoadedMessage | LoadedEnum | LoadedService;

interface LoadedMessage {
  format: string;
  type: ProtoType;
}

interface LoadedEnum {
  format: string;
  type: object;
}

/** The methods by name. */
type LoadedService = Record<string, LoadedMethod>;

interface LoadedMethod {
  requestStream: boolean;
  responseStream: boolean;
  originalName?: string;
  requestSerialize: (value: unknown) => Uint8Array;
  requestDeserialize: (bytes: Uint8Array) => unknown;
  responseSerialize: (value: unknown) => Uint8Array;
  responseDeserialize: (bytes: Uint8Array) => unknown;
  requestType: LoadedMessage;
  responseType: LoadedMessage;
}

/**
 * The services of the .proto files, in the order of `package`.
 * @throws Error when @grpc/proto-loader is not installed, a file cannot be read or a package is in none of them;
 *   TypeError for options that contradict each other.
 */
export function loadProtoServices(options: ProtoOptions): ServiceDefinition[] {
  const loaded = Object.entries(loadPackageDefinition(options)) as [string, Loaded][];
  const mapKeys = new ProtoMapKeys(loaded.flatMap(([name, it]) => (isMessage(it) ? [[name, it.type]] : [])));
  const services = loaded.filter((entry): entry is [string, LoadedService] => isService(entry[1]));
  if (options.package === undefined) {
    return services.map(([name, methods]) => toService(name, packageOf(name), methods, mapKeys));
  }
  return [...new Set([options.package].flat())].flatMap((packageName) => {
    const inside = services.filter(([name]) => isInside(name, packageName));
    // A package may hold the messages of others, as it may in Nest's gRPC transport.
    if (!loaded.some(([name]) => isInside(name, packageName))) throw noPackage(packageName, services);
    return inside.map(([name, methods]) => toService(name, packageName, methods, mapKeys));
  });
}

function loadPackageDefinition({ protoPath, packageDefinition, loader }: ProtoOptions): object {
  if (packageDefinition === undefined) return loadFiles([protoPath!].flat(), loader);
  if (protoPath !== undefined) {
    throw new TypeError('protoPath and packageDefinition are both given: they mean the same, give one');
  }
  return packageDefinition;
}

function loadFiles(files: string[], options: ProtoLoaderOptions | undefined): object {
  const loader = requireLoader();
  try {
    return loader.loadSync(files, options);
  } catch (error) {
    // What is missing may be an import or a type, of which the loader does not say where it was looked for.
    const names = files.map((file) => `"${escapeName(file)}"`).join(', ');
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`protoPath ${names} can not be loaded: ${reason}`, { cause: error });
  }
}

function requireLoader(): ProtoLoader {
  try {
    return createRequire(import.meta.url)('@grpc/proto-loader') as ProtoLoader;
  } catch (error) {
    throw packageError(error, '@grpc/proto-loader', 'the option protoPath');
  }
}

/** Types have a `format`, and a service has methods alone. */
function isService(loaded: Loaded): loaded is LoadedService {
  return typeof loaded.format !== 'string';
}

function isMessage(loaded: Loaded): loaded is LoadedMessage {
  return !isService(loaded) && 'field' in loaded.type;
}

function packageOf(service: string): string {
  return service.slice(0, Math.max(service.lastIndexOf('.'), 0));
}

function isInside(name: string, packageName: string): boolean {
  return packageName === '' || name.startsWith(`${packageName}.`);
}

function noPackage(packageName: string, services: [string, LoadedService][]): Error {
  const names = services.map(([name]) => name).join(', ') || 'none';
  return new Error(
    `package "${escapeName(packageName)}" is not in the .proto files: their services are ${names}`,
  );
}

function toService(
  name: string,
  packageName: string,
  methods: LoadedService,
  mapKeys: ProtoMapKeys,
): ServiceDefinition {
  return {
    name,
    localName: packageName === '' ? name : name.slice(packageName.length + 1),
    methods: Object.entries(methods).map(([method, loaded]) => toMethod(name, method, loaded, mapKeys)),
  };
}

function toMethod(
  service: string,
  name: string,
  method: LoadedMethod,
  mapKeys: ProtoMapKeys,
): MethodDefinition {
  const { requestSerialize, requestDeserialize, responseSerialize, responseDeserialize } = method;
  const request = codecOf(method.requestType.type, requestSerialize, requestDeserialize, mapKeys);
  const response = codecOf(method.responseType.type, responseSerialize, responseDeserialize, mapKeys);
  return {
    rpc: rpcOf(service, name),
    name,
    localName: method.originalName ?? uncapitalized(name),
    requestStream: method.requestStream,
    responseStream: method.responseStream,
    serverEncoding: new ProtobufEncoding(response, request),
    clientEncoding: new ProtobufEncoding(request, response),
  };
}

function codecOf(
  type: ProtoType,
  encode: MessageCodec['encode'],
  decode: MessageCodec['decode'],
  mapKeys: ProtoMapKeys,
): MessageCodec {
  const repairs = mapKeys.repairsOf(type);
  if (!repairs) return { encode, decode };
  return {
    encode: (value) => encode(repairs.beforeEncode(value)),
    decode: (bytes) => repairs.afterDecode(decode(bytes)),
  };
}
