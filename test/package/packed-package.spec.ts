import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { DrpcStream } from 'nestjs-drpc';
import { take, type Observable } from 'rxjs';
import { ModuleKind, ScriptTarget, transpileModule } from 'typescript';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { Service } from '../client/helpers/service.js';
import { type InstalledPackage, PackedPackage } from './packed-package.js';

const DOORS = ['nestjs-drpc', 'nestjs-drpc/core', 'nestjs-drpc/testing'];
/** The doors that need an optional peer. */
const PROTOBUF_DOOR = 'nestjs-drpc/protobuf';
const TELEMETRY_DOOR = 'nestjs-drpc/opentelemetry';
const PEERS = ['@nestjs', 'rxjs', 'reflect-metadata'];
const OPTIONAL_PEERS = ['@bufbuild', '@grpc', '@opentelemetry'];

const greeterProto = fileURLToPath(new URL('../interop/proto/greeter.proto', import.meta.url));
const greeterCode = new URL('../fixtures/gen/greeter_pb.ts', import.meta.url);

/** Code that answers with the names that each door exports; `load` is an expression for a function. */
const namesBy = (load: string, doors: readonly string[]): string => `
  const load = ${load};
  const names = async (door) => [door, Object.keys(await load(door)).filter((name) => name !== '__esModule' && name !== 'module.exports').sort()];
  Promise.all(${JSON.stringify(doors)}.map(names)).then((all) => console.log(JSON.stringify(all)));
`;

let canceled = 0;

@Controller()
class Endless {
  @MessagePattern('double')
  double(@Payload() n: number): number {
    return 2 * n;
  }

  @MessagePattern('first')
  first(@DrpcStream() numbers: Observable<number>): Observable<number> {
    return numbers.pipe(take(1));
  }

  /** More than a pipe holds. */
  @MessagePattern('large')
  large(): string {
    return 'x'.repeat(2_000_000);
  }

  @MessagePattern('endless')
  async *endless(): AsyncGenerator<string> {
    try {
      for (;;) yield 'x'.repeat(1000);
    } finally {
      canceled++;
    }
  }
}

describe('the packed package', () => {
  let packed: PackedPackage;
  let app: InstalledPackage;
  let appWithOptional: InstalledPackage;

  beforeAll(async () => {
    packed = await PackedPackage.make();
    app = await packed.install('app', PEERS);
    appWithOptional = await packed.install('app-with-optional', [...PEERS, ...OPTIONAL_PEERS]);
  }, 120_000);

  afterAll(() => packed.remove());

  it('holds what was built, the manifest, the licence, what there is to read, and nothing else', () => {
    const others = packed.files.filter((file) => !/^dist\/.+\.(js|js\.map|d\.ts)$/.test(file));
    const pages = readdirSync(new URL('../../docs/', import.meta.url)).map((name) => `docs/${name}`);
    const expected = ['CHANGELOG.md', 'LICENSE', 'README.md', ...pages, 'package.json'];
    expect(others.sort()).toEqual(expected.sort());
    expect(packed.files).toEqual(expect.arrayContaining(['dist/index.js', 'dist/index.d.ts']));
  });

  it.each<[string, () => InstalledPackage, string[]]>([
    ['without the optional peers', () => app, DOORS],
    ['with them', () => appWithOptional, [...DOORS, PROTOBUF_DOOR, TELEMETRY_DOOR]],
  ])(
    'answers a CommonJS require() and an import with the same names, %s',
    async (_which, installed, doors) => {
      const required = await installed().evaluate('names.cjs', namesBy('require', doors));
      const imported = await installed().evaluate('names.mjs', namesBy('(door) => import(door)', doors));
      expect(required).toEqual(imported);
      expect(required).toEqual(doors.map((door) => [door, expect.arrayContaining([expect.any(String)])]));
    },
    60_000,
  );

  it.each([
    [PROTOBUF_DOOR, '@bufbuild/protobuf'],
    [TELEMETRY_DOOR, '@opentelemetry/api'],
  ])(
    'names the package that a door needs: %s',
    async (door, peer) => {
      const code = `
        require('nestjs-drpc');
        try {
          require('${door}');
        } catch ({ code, message }) {
          console.log(JSON.stringify([code, message.split(' imported')[0]]));
        }
      `;
      expect(await app.evaluate('door.cjs', code)).toEqual([
        'ERR_MODULE_NOT_FOUND',
        `Cannot find package '${peer}'`,
      ]);
    },
    60_000,
  );

  it('has one copy of its classes, however it is loaded', async () => {
    const code = `
      const { DrpcError, DrpcServer } = require('nestjs-drpc');
      const { Server } = require('@nestjs/microservices');
      import('nestjs-drpc/core').then((core) =>
        console.log(JSON.stringify([core.DrpcError === DrpcError, DrpcServer.prototype instanceof Server])),
      );
    `;
    expect(await app.evaluate('copies.cjs', code)).toEqual([true, true]);
  }, 60_000);

  it('runs its core without a single dependency', async () => {
    const alone = await packed.install('alone', []);
    const code = `
      const { DrpcError } = require('nestjs-drpc/core');
      require('nestjs-drpc/testing');
      console.log(JSON.stringify(new DrpcError(5, 'gone').code));
    `;
    expect(await alone.evaluate('core.cjs', code)).toBe(5);
  }, 60_000);

  it('opens no other path', async () => {
    const code = `
      try {
        require('nestjs-drpc/dist/core.js');
      } catch (error) {
        console.log(JSON.stringify(error.code));
      }
    `;
    expect(await app.evaluate('inside.cjs', code)).toBe('ERR_PACKAGE_PATH_NOT_EXPORTED');
  }, 60_000);

  it('has declarations that stand on their own, for ESM and for CommonJS', async () => {
    const code = `
      import { DrpcServer } from 'nestjs-drpc';
      import { DrpcError } from 'nestjs-drpc/core';
      import * as testing from 'nestjs-drpc/testing';
      export const error: Error = new DrpcError(5, 'gone');
      export const doors = [DrpcServer, testing] as const;
    `;
    const wrong = "import { NoSuchName } from 'nestjs-drpc/core';";
    const said = await app.typeCheck({ 'esm.mts': code, 'cjs.cts': code, 'wrong.mts': wrong });
    expect(said.trim().split('\n')).toEqual([expect.stringMatching(/^wrong\.mts.* 'NoSuchName'/)]);
  }, 120_000);

  it('opens its doors to TypeScript that looks for modules as before there were exports', async () => {
    const code = `
      import { DrpcServer } from 'nestjs-drpc';
      import { DrpcError } from 'nestjs-drpc/core';
      import { badRequest } from 'nestjs-drpc/protobuf';
      import { createInMemoryNetwork } from 'nestjs-drpc/testing';
      export const doors = [DrpcServer, DrpcError, badRequest, createInMemoryNetwork] as const;
    `;
    const flags = ['--module', 'commonjs', '--moduleResolution', 'node10', '--ignoreDeprecations', '6.0'];
    // Other packages have doors of their own that it does not find.
    const said = await appWithOptional.typeCheck({ 'node10.ts': code }, ...flags, '--skipLibCheck');
    expect(said).toBe('');
  }, 120_000);

  it('takes undefined for every option, as an application has it that knows exact optional properties', async () => {
    const code = `
      import type * as drpc from 'nestjs-drpc';
      import type * as core from 'nestjs-drpc/core';
      import { Client, ClientProxyFactory, ClientsModule } from '@nestjs/microservices';
      import { drpcClient } from 'nestjs-drpc';
      export const nest = [
        ClientsModule.register([drpcClient({ name: 'A', url: undefined })]),
        ClientProxyFactory.create(drpcClient({ url: undefined })),
        Client(drpcClient({ url: undefined })),
      ];
      type Undefined<T> = { [Name in keyof Required<T>]: undefined };
      export const take = (
        _client: drpc.DrpcClientOptions,
        _server: drpc.DrpcServerOptions,
        _loader: drpc.ProtoLoaderOptions,
        _call: drpc.DrpcCallOptions,
        _service: drpc.DrpcServiceOptions,
        _health: drpc.DrpcHealthCallOptions,
        _stream: drpc.DrpcStreamOptions,
        _exception: drpc.DrpcExceptionOptions,
        _conn: core.CallOptions,
        _error: core.DrpcErrorOptions,
      ): void => {};
      type Each<T> = { [At in keyof T]: Undefined<T[At]> };
      export const give = (...all: Each<Parameters<typeof take>>): void => take(...all);
    `;
    const said = await app.typeCheck({ 'exact.mts': code }, '--exactOptionalPropertyTypes');
    expect(said).toBe('');
  }, 120_000);

  it.each<[string, string, string, string]>([
    ['.proto files', 'proto', `{ protoPath: ${JSON.stringify(greeterProto)} }`, "getService('Greeter')"],
    ['protoc-gen-es', 'desc', '{ services: [Greeter] }', "service(Greeter, { as: 'observable' })"],
  ])(
    'serves and calls a service by %s',
    async (_kind, name, options, service) => {
      const { outputText } = transpileModule(readFileSync(greeterCode, 'utf8'), {
        compilerOptions: { module: ModuleKind.ESNext, target: ScriptTarget.ES2022 },
      });
      await appWithOptional.write('greeter_pb.mjs', outputText);
      const code = `
        import 'reflect-metadata';
        import { DrpcClient, DrpcMethod, DrpcServer } from 'nestjs-drpc';
        import { firstValueFrom } from 'rxjs';
        import { Greeter } from './greeter_pb.mjs';

        class Handlers {
          sayHello() {}
        }
        const { sayHello } = Handlers.prototype;
        DrpcMethod('Greeter')(Handlers.prototype, 'sayHello', { value: sayHello });
        const extras = Reflect.getMetadata('microservices:pattern_extras', sayHello);

        const options = ${options};
        const server = new DrpcServer({ port: 0, ...options });
        server.addHandler('sayHello', async ({ name }) => ({ message: 'Hello, ' + name }), false, extras);
        await new Promise((resolve, reject) => server.listen((error) => (error ? reject(error) : resolve())));
        const { services, ...rest } = options;
        const client = new DrpcClient({ port: server.address().port, ...rest });
        const { message } = await firstValueFrom(client.${service}.sayHello({ name: 'Nest' }));
        await client.close();
        await server.close();
        console.log(JSON.stringify(message));
      `;
      expect(await appWithOptional.evaluate(`${name}.mjs`, code)).toBe('Hello, Nest');
    },
    60_000,
  );

  it('has declarations for protobuf that stand on their own, for ESM and for CommonJS', async () => {
    const code = `
      import { decodeDetails, errorInfo } from '${PROTOBUF_DOOR}';
      import { DrpcException } from 'nestjs-drpc';
      const error = new DrpcException(3, 'wrong', { details: [errorInfo({ reason: 'A' })] });
      export const reason: string | undefined = decodeDetails(error).errorInfo?.reason;
    `;
    const wrong = `import { errorInfo } from '${PROTOBUF_DOOR}'; errorInfo({ raison: 'A' });`;
    const said = await appWithOptional.typeCheck({ 'esm.mts': code, 'cjs.cts': code, 'wrong.mts': wrong });
    expect(said.trim().split('\n')).toEqual([expect.stringMatching(/^wrong\.mts.* 'raison'/)]);
  }, 120_000);

  describe('as a command', () => {
    /** Runs it to its end; `meanwhile` is given the process. */
    const finished = async (
      args: readonly string[],
      meanwhile: (command: ChildProcessWithoutNullStreams) => void = () => undefined,
    ): Promise<{ code: number | NodeJS.Signals; output: string; errors: string }> => {
      const command = app.command('nestjs-drpc', args);
      const said = Promise.all([text(command.stdout).catch(() => ''), text(command.stderr)]);
      meanwhile(command);
      const [code, signal] = (await once(command, 'close')) as [number, NodeJS.Signals | null];
      const [output, errors] = await said;
      return { code: signal ?? code, output, errors };
    };
    const start = async (): Promise<string> => (await Service.start([Endless])).way.url!;

    beforeEach(() => {
      canceled = 0;
    });

    it('calls a service, and ends while its input is still open', async () => {
      const call = await finished(['call', await start(), 'double', '21']);
      expect(call).toEqual({ code: 0, output: '42\n', errors: '' });
      const stream = await finished(['call', '-i', await start(), 'first'], ({ stdin }) =>
        stdin.write('7\n'),
      );
      expect(stream).toEqual({ code: 0, output: '7\n', errors: '' });
    }, 60_000);

    it.each(['SIGINT', 'SIGTERM'] as const)(
      'cancels its call at %s, and ends by it, so that a loop of the shell ends with it',
      async (signal) => {
        const call = await finished(['call', await start(), 'endless'], (command) => {
          command.stdout.once('data', () => command.kill(signal));
        });
        expect(call).toMatchObject({ code: signal, errors: '' });
        await expect.poll(() => canceled).toBe(1);
      },
      60_000,
    );

    it('ends when it is interrupted, though what it wrote has not been read', async () => {
      const command = app.command('nestjs-drpc', ['call', await start(), 'large']);
      await once(command.stdout, 'readable');
      command.kill('SIGINT');
      expect(await once(command, 'exit')).toEqual([null, 'SIGINT']);
    }, 60_000);

    it.runIf(existsSync('/dev/full'))(
      'fails when its output can not be written, and says why',
      async () => {
        const full = openSync('/dev/full', 'w');
        onTestFinished(() => closeSync(full));
        const args = ['call', await start(), 'double', '21'];
        const command = app.command('nestjs-drpc', args, ['ignore', full, 'pipe']);
        const errors = text(command.stderr);
        expect(await once(command, 'exit')).toEqual([1, null]);
        expect(await errors).toMatch(/^nestjs-drpc: the output can not be written: ENOSPC.*\n$/);
      },
      60_000,
    );

    it.runIf(existsSync('/dev/full'))(
      'ends with the code it would have, though its errors can not be written',
      async () => {
        const full = openSync('/dev/full', 'w');
        onTestFinished(() => closeSync(full));
        const command = app.command('nestjs-drpc', ['call'], ['ignore', 'pipe', full]);
        expect(await once(command, 'exit')).toEqual([2, null]);
      },
      60_000,
    );

    it('cancels its call when nobody reads its output any more, and has nothing to complain of', async () => {
      const call = await finished(['call', await start(), 'endless'], ({ stdout }) => {
        stdout.once('data', () => stdout.destroy());
      });
      expect(call).toMatchObject({ code: 0, errors: '' });
      await expect.poll(() => canceled).toBe(1);
    }, 60_000);
  });
});
