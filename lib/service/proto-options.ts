import { typeName } from '../errors/type-name.js';
import { unknownName } from '../errors/unknown-name.js';

/** Services from .proto files; the options of Nest's gRPC transport, with their meaning. */
export interface ProtoOptions {
  /** The packages whose services are meant; default: every package that is loaded. */
  package?: string | readonly string[] | undefined;
  /** The .proto files, read by the optional package @grpc/proto-loader. */
  protoPath?: string | readonly string[] | undefined;
  /** What @grpc/proto-loader made, instead of `protoPath`. */
  packageDefinition?: object | undefined;
  /** How @grpc/proto-loader reads the files and what messages look like. */
  loader?: ProtoLoaderOptions | undefined;
}

/** The options of @grpc/proto-loader. */
export interface ProtoLoaderOptions {
  /** Keep the names of fields instead of making them camelCase. Default: false. */
  keepCase?: boolean | undefined;
  /** Read comments in the alternate way of protobuf.js. Default: false. */
  alternateCommentMode?: boolean | undefined;
  /** Of two comments of a field, take the one behind it. Default: false. */
  preferTrailingComment?: boolean | undefined;
  /** `String` or `Number`: what 64-bit integers become. Default: objects of the package `long`. */
  longs?: StringConstructor | NumberConstructor | undefined;
  /** `String`: enums become their names. Default: numbers. */
  enums?: StringConstructor | undefined;
  /** `String` (base64) or `Array`: what bytes become. Default: Buffers. */
  bytes?: StringConstructor | ArrayConstructor | undefined;
  /** Fields that are not there get their default value. Default: false. */
  defaults?: boolean | undefined;
  /** Repeated fields that are not there become empty arrays. Default: false. */
  arrays?: boolean | undefined;
  /** Maps that are not there become empty objects. Default: false. */
  objects?: boolean | undefined;
  /** A property for each oneof names the field that is set. Default: false. */
  oneofs?: boolean | undefined;
  /** Infinity and NaN become texts, and google.protobuf.Any is decoded. Default: false. */
  json?: boolean | undefined;
  /** Folders in which imported files are looked for. */
  includeDirs?: string[] | undefined;
}

const LOADER_OPTIONS = Object.keys({
  keepCase: true,
  alternateCommentMode: true,
  preferTrailingComment: true,
  longs: true,
  enums: true,
  bytes: true,
  defaults: true,
  arrays: true,
  objects: true,
  oneofs: true,
  json: true,
  includeDirs: true,
} satisfies Record<keyof ProtoLoaderOptions, true>);

/** Whether `options` speak of .proto files at all. */
export function hasProto({ protoPath, packageDefinition }: ProtoOptions): boolean {
  return protoPath !== undefined || packageDefinition !== undefined;
}

/** The names of the options. */
export const PROTO_OPTIONS: readonly string[] = ['package', 'protoPath', 'packageDefinition', 'loader'];

/** The options among others, checked. @throws TypeError naming option, value and what is allowed. */
export function resolveProtoOptions(options: ProtoOptions): ProtoOptions {
  const resolved = {
    package: textsOption('package', options.package),
    protoPath: textsOption('protoPath', options.protoPath),
    packageDefinition: objectOption('packageDefinition', options.packageDefinition),
    loader: loaderOption(options.loader),
  };
  if ([resolved.protoPath].flat().includes('')) {
    throw new TypeError('option protoPath is "": must be the path of a file');
  }
  if (hasProto(resolved)) return resolved;
  for (const name of ['package', 'loader'] as const) {
    if (resolved[name] === undefined) continue;
    throw new TypeError(
      `option ${name} is given without protoPath or packageDefinition: must be beside one of them`,
    );
  }
  return resolved;
}

function textsOption<T>(name: string, value: T): T {
  const texts: unknown[] = Array.isArray(value) && value.length > 0 ? value : [value];
  if (value === undefined || texts.every((text) => typeof text === 'string')) return value;
  throw new TypeError(`option ${name} is ${typeName(value)}: must be text or an array of texts`);
}

/** @grpc/proto-loader takes no notice of what it does not know. */
function loaderOption(loader: ProtoLoaderOptions | undefined): ProtoLoaderOptions | undefined {
  const names = Object.keys(objectOption('loader', loader) ?? {});
  const unknown = names.find((name) => !LOADER_OPTIONS.includes(name));
  if (unknown === undefined) return loader;
  throw new TypeError(unknownName('loader option', unknown, LOADER_OPTIONS));
}

function objectOption<T>(name: string, value: T): T {
  if (value === undefined) return value;
  if (typeof value === 'object' && value !== null && !(Symbol.iterator in value)) return value;
  throw new TypeError(`option ${name} is ${typeName(value)}: must be an object`);
}
