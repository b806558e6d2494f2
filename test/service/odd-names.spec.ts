import { fileURLToPath } from 'node:url';
import { create, toJson } from '@bufbuild/protobuf';
import { Controller } from '@nestjs/common';
import { firstValueFrom, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';

import { DrpcClient, DrpcMethod, type DrpcContext } from '../../lib/index.js';
import { GreetingApp } from './helpers/greeting-app.js';
import { Names, FieldsSchema, type Fields } from './protos/odd/gen/names_pb.js';
import { Color, type Part } from './protos/odd/gen/parts/part_pb.js';

const folder = fileURLToPath(new URL('./protos/odd/', import.meta.url));
const proto = {
  package: 'odd.v1',
  protoPath: 'names.proto',
  loader: { includeDirs: [folder], longs: String },
};

type Call = (request: object) => Observable<{ constructor: string }>;

/** Each answers which rpc it is. */
@Controller()
class NamedHandlers {
  @DrpcMethod('Names', 'constructor')
  make(_part: object, { pattern }: DrpcContext): object {
    return { constructor: pattern };
  }

  @DrpcMethod('Names', 'toString')
  text(_part: object, { pattern }: DrpcContext): object {
    return { constructor: pattern };
  }

  @DrpcMethod('Names', 'hasOwnProperty')
  has(_part: object, { pattern }: DrpcContext): object {
    return { constructor: pattern };
  }

  @DrpcMethod('Names')
  format(_part: object, { pattern }: DrpcContext): object {
    return { constructor: pattern };
  }

  @DrpcMethod('Names', 'Then')
  afterwards(_part: object, { pattern }: DrpcContext): object {
    return { constructor: pattern };
  }

  @DrpcMethod('Names')
  findPart(_part: object, { pattern }: DrpcContext): object {
    return { constructor: pattern };
  }

  @DrpcMethod('Names')
  getHTTPPart(_part: object, { pattern }: DrpcContext): object {
    return { constructor: pattern };
  }

  @DrpcMethod('Names')
  echo(fields: object): object {
    return fields;
  }
}

@Controller()
class TypedHandlers {
  @DrpcMethod(Names.method.constructor$)
  make(_part: Part, { pattern }: DrpcContext): { constructor$: string } {
    return { constructor$: pattern };
  }

  @DrpcMethod(Names.method.toString$)
  text(_part: Part, { pattern }: DrpcContext): { constructor$: string } {
    return { constructor$: pattern };
  }

  @DrpcMethod(Names.method.then)
  afterwards(_part: Part, { pattern }: DrpcContext): { constructor$: string } {
    return { constructor$: pattern };
  }

  @DrpcMethod(Names.method.find_part)
  find(_part: Part, { pattern }: DrpcContext): { constructor$: string } {
    return { constructor$: pattern };
  }

  @DrpcMethod(Names.method.echo)
  echo(fields: Fields): Fields {
    return fields;
  }
}

describe('a service with odd names', () => {
  const names = ['constructor', 'toString', 'hasOwnProperty', 'format', 'Then', 'find_part', 'GetHTTPPart'];
  const forms = [
    ['getService()', (client: DrpcClient) => client.getService<object>('Names')],
    ['service()', (client: DrpcClient) => client.service(Names)],
    ['service() with Observables', (client: DrpcClient) => client.service(Names, { as: 'observable' })],
  ] as const;

  it.each(forms)('is no promise for its method Then: %s', async (_form, make) => {
    const service = make((await GreetingApp.start([])).client(proto));
    expect('then' in service).toBe(false);
    expect(await Promise.resolve(service)).toBe(service);
  });

  it.each(names)('has its method %s, from .proto files', async (name) => {
    const app = await GreetingApp.start([NamedHandlers], proto);
    const service = app.client(proto).getService<Record<string, Call>>('Names');
    const answer = await firstValueFrom(service[name]!({ id: '1' }));
    expect(answer.constructor).toBe(`/odd.v1.Names/${name}`);
  });

  it('has its method Then as then$ as well, from .proto files', async () => {
    const app = await GreetingApp.start([NamedHandlers], proto);
    const service = app.client(proto).getService<Record<string, Call>>('Names');
    const answer = await firstValueFrom(service['then$']!({ id: '1' }));
    expect(answer.constructor).toBe('/odd.v1.Names/Then');
  });

  it.each([
    ['constructor$', 'constructor'],
    ['toString$', 'toString'],
    ['then$', 'Then'],
    ['find_part', 'find_part'],
  ] as const)('has its method %s, from protoc-gen-es', async (name, rpc) => {
    const app = await GreetingApp.start([TypedHandlers]);
    const answer = await app.client().service(Names)[name]({ id: 1n });
    expect(answer.constructor$).toBe(`/odd.v1.Names/${rpc}`);
  });

  it('brings its fields along, from .proto files', async () => {
    const app = await GreetingApp.start([NamedHandlers], proto);
    const fields = {
      constructor: 'c',
      toString: 't',
      valueOf: 'v',
      toJSON: 'j',
      length: 'l',
      default: 'd',
      format: 'f',
      map: { constructor: { id: '1' }, ['__proto__']: { id: '2' } },
      parts: [{ id: '9007199254740993', color: 1 }],
      time: { seconds: '1', nanos: 2 },
      new: { id: '3' },
    };
    const service = app.client(proto).getService<{ echo(message: object): Observable<object> }>('Names');
    expect(await firstValueFrom(service.echo(fields))).toEqual(fields);
  });

  it('brings its fields along, from protoc-gen-es', async () => {
    const app = await GreetingApp.start([TypedHandlers]);
    const fields = create(FieldsSchema, {
      constructor$: 'c',
      toString$: 't',
      valueOf$: 'v',
      toJSON$: 'j',
      length: 'l',
      default: 'd',
      format: 'f',
      map: { constructor: { id: 1n } },
      parts: [{ id: 9007199254740993n, color: Color.RED }],
      time: { seconds: 1n, nanos: 2 },
      class: { case: 'new', value: { id: 3n } },
    });
    const answer = await app.client().service(Names).echo(fields);
    expect(toJson(FieldsSchema, answer)).toEqual(toJson(FieldsSchema, fields));
  });
});

describe('the options of the loader', () => {
  it('have folders for imports: without them the error names files and reason', () => {
    const protoPath = `${folder}names.proto`;
    // A file beside its import is found without them.
    expect(() => new DrpcClient({ protoPath, package: 'odd.v1' })).not.toThrow();
    expect(() => new DrpcClient({ protoPath: 'names.proto' })).toThrow(
      /^protoPath "names\.proto" can not be loaded: ENOENT.*names\.proto/,
    );
  });
});
