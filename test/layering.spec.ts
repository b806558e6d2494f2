import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

import ts from 'typescript';
import { describe, expect, it } from 'vitest';

/** Nest, RxJS and what comes with them. */
const NEST = 'nest';

/** The protocol: no Nest, no RxJS, no dependency at all; Node's own modules are open to every layer. */
const CORE: Record<string, readonly string[]> = {
  errors: [],
  clock: [],
  encoding: ['errors'],
  wire: ['errors', 'clock'],
  metadata: ['errors', 'wire'],
  stream: ['errors', 'clock', 'encoding', 'wire', 'metadata'],
  manager: ['errors', 'clock', 'wire', 'metadata', 'stream'],
  conn: ['errors', 'clock', 'encoding', 'wire', 'metadata', 'stream', 'manager'],
  control: ['errors', 'clock', 'wire', 'metadata', 'stream', 'manager', 'conn'],
  pool: ['errors', 'clock', 'encoding', 'metadata', 'stream', 'manager', 'conn', 'control'],
};

const CORE_FOR_NEST = ['errors', 'clock', 'encoding', 'metadata', 'stream', 'conn', 'control', 'pool'];

/** What each layer may import beside itself and Node: a new arrow between layers is a new word in this table. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  ...CORE,
  service: ['errors', 'encoding', 'metadata', NEST, '@grpc/proto-loader', '@bufbuild/protobuf'],
  bridge: ['errors', 'clock', 'encoding', 'metadata', 'stream', NEST, 'class-transformer', 'class-validator'],
  transport: [...CORE_FOR_NEST, 'manager', 'service', 'bridge', NEST],
  client: [...CORE_FOR_NEST, 'service', 'bridge', NEST],
  telemetry: ['errors', 'control', 'bridge', 'transport', 'client', NEST, '@opentelemetry/api'],
  cli: ['errors', 'metadata', 'control', 'pool', 'service', 'client', NEST],
};

/** The files at the top of lib, one for each entry of the exports map; nothing inside imports them. */
const DOORS: Record<string, readonly string[]> = {
  'index.ts': Object.keys(MAY_IMPORT),
  'core.ts': Object.keys(CORE),
  'testing.ts': Object.keys(CORE),
  'protobuf.ts': ['service'],
  'opentelemetry.ts': ['telemetry'],
};

/** The layer of a file of lib, written with slashes: its folder, or for a file at the top its name. */
function layerOf(file: string): string {
  return file.split('/')[0]!;
}

/** What an import means in the table: a layer, a door's name, `node`, `nest`, or the name of a package. */
function targetOf(file: string, specifier: string): string {
  if (specifier.startsWith('.')) return layerOf(join(dirname(file), specifier).split(sep).join('/'));
  if (specifier.startsWith('node:')) return 'node';
  const name = /^(?:@[^/]+\/)?[^/]+/.exec(specifier)![0];
  return /^(?:@nestjs\/.*|rxjs|reflect-metadata)$/.test(name) ? NEST : name;
}

/** The imports of a file of lib that its layer may not have: static, for effect, of types, dynamic, required. */
function forbiddenImports(file: string, text: string): string[] {
  const layer = layerOf(file);
  const allowed = DOORS[layer] ?? MAY_IMPORT[layer];
  if (!allowed) return [`lib/${layer} is not in the table of layers`];
  return ts
    .preProcessFile(text, true, true)
    .importedFiles.map(({ fileName }) => fileName)
    .filter((specifier) => ![layer, 'node', ...allowed].includes(targetOf(file, specifier)));
}

/** Ways to time and to output that the core is given from outside, so that tests can give virtual ones. */
const GIVEN = [
  'setTimeout',
  'setInterval',
  'setImmediate',
  'queueMicrotask',
  'nextTick',
  'performance',
  'Date',
  'console',
];

/** The names in a file of the core that stand for a clock or a log of its own. */
function globalsIn(file: string, text: string): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node) && GIVEN.includes(node.text)) found.push(node.text);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, text, ts.ScriptTarget.Latest));
  return found;
}

const lib = fileURLToPath(new URL('../lib/', import.meta.url));
const files = readdirSync(lib, { recursive: true, encoding: 'utf8' })
  .map((file) => file.split(sep).join('/'))
  .filter((file) => file.endsWith('.ts'));

describe('layering', () => {
  it.each(files)('lib/%s imports only what its layer may', (file) => {
    expect(forbiddenImports(file, readFileSync(lib + file, 'utf8'))).toEqual([]);
  });

  it('has no arrow back: a layer imports only layers above it in the table', () => {
    const layers = Object.keys(MAY_IMPORT);
    const isLayer = (name: string): boolean => layers.includes(name);
    const wrong = Object.entries(MAY_IMPORT).flatMap(([layer, targets]) =>
      targets
        .filter(isLayer)
        .filter((target) => layers.indexOf(target) >= layers.indexOf(layer))
        .map((target) => `${layer} → ${target}`),
    );
    expect(wrong).toEqual([]);
  });
});

describe('the core', () => {
  const core = files.filter((file) => layerOf(file) in CORE && layerOf(file) !== 'clock');

  it.each(core)('has no clock and no log of its own in lib/%s', (file) => {
    expect(globalsIn(file, readFileSync(lib + file, 'utf8'))).toEqual([]);
  });

  it.each([
    ['setTimeout(() => {}, 5);', 'setTimeout'],
    ['process.nextTick(done);', 'nextTick'],
    ['const now = performance.now();', 'performance'],
    ['const now = new Date();', 'Date'],
    ['console.log(1);', 'console'],
  ])('is seen to have one in %s', (text, name) => {
    expect(globalsIn('wire/x.ts', text)).toEqual([name]);
  });

  it('may speak of them', () => {
    expect(globalsIn('wire/x.ts', "// setTimeout(…)\nconst text = 'console.log';")).toEqual([]);
  });
});

describe('the check of layering', () => {
  it.each([
    [
      'a layer above',
      'wire/frame.ts',
      "import { Stream } from '../stream/stream.js';",
      '../stream/stream.js',
    ],
    ['a type', 'errors/x.ts', "import type { Kind } from '../wire/kind.js';", '../wire/kind.js'],
    ['a type inline', 'errors/x.ts', "export type K = import('../wire/kind.js').Kind;", '../wire/kind.js'],
    ['a re-export', 'wire/x.ts', "export * from '../metadata/metadata.js';", '../metadata/metadata.js'],
    ['an import for effect', 'stream/x.ts', "import 'reflect-metadata';", 'reflect-metadata'],
    ['a dynamic import', 'conn/x.ts', "const p = import('@bufbuild/protobuf');", '@bufbuild/protobuf'],
    ['a require', 'conn/x.ts', "const p = require('@bufbuild/protobuf');", '@bufbuild/protobuf'],
    ['Nest in the core', 'manager/x.ts', "import { Logger } from '@nestjs/common';", '@nestjs/common'],
    ['RxJS in the core', 'pool/x.ts', "import { map } from 'rxjs/operators';", 'rxjs/operators'],
    ['a package in the core', 'wire/x.ts', "import Long from 'long';", 'long'],
    ['a Node module without node:', 'wire/x.ts', "import net from 'net';", 'net'],
    ['client from transport', 'transport/x.ts', "import '../client/index.js';", '../client/index.js'],
    ['transport from client', 'client/x.ts', "import '../transport/index.js';", '../transport/index.js'],
    ['wire past conn', 'client/x.ts', "import '../wire/frame.js';", '../wire/frame.js'],
    ['a door from inside', 'bridge/x.ts', "import { DrpcError } from '../index.js';", '../index.js'],
    ['the package by name', 'bridge/x.ts', "import { DrpcError } from 'nestjs-drpc';", 'nestjs-drpc'],
    [
      'a file outside lib',
      'wire/x.ts',
      "import '../../test/helpers/vectors.js';",
      '../../test/helpers/vectors.js',
    ],
    ['Nest in ./core', 'core.ts', "export { of } from 'rxjs';", 'rxjs'],
    ['the Nest layer in ./core', 'core.ts', "export * from './transport/index.js';", './transport/index.js'],
  ])('refuses %s', (_what, file, text, specifier) => {
    expect(forbiddenImports(file, text)).toEqual([specifier]);
  });

  it('refuses a layer that is not in the table', () => {
    expect(forbiddenImports('util/x.ts', '')).toEqual(['lib/util is not in the table of layers']);
    expect(forbiddenImports('other.ts', '')).toEqual(['lib/other.ts is not in the table of layers']);
  });

  it.each([
    ['its own layer', 'wire/deep/x.ts', "import { Kind } from '../kind.js';"],
    ['Node', 'wire/x.ts', "import net from 'node:net'; import { isUint8Array } from 'node:util/types';"],
    ['a layer below', 'stream/x.ts', "import { Kind } from '../wire/kind.js';"],
    [
      'Nest above the core',
      'transport/x.ts',
      "import { Server } from '@nestjs/microservices'; import 'rxjs';",
    ],
    ['a layer from a door', 'index.ts', "export { DrpcServer } from './transport/index.js';"],
    ['what a comment says', 'errors/x.ts', "// import { of } from 'rxjs';\n/* from '../wire/kind.js' */"],
    ['what a text says', 'errors/x.ts', "export const help = `import { of } from 'rxjs'`;"],
  ])('lets %s through', (_what, file, text) => {
    expect(forbiddenImports(file, text)).toEqual([]);
  });
});
