import { basename, dirname, relative } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { CanceledError, DrpcCode, DrpcContext, DrpcException, DrpcMethod, DrpcStream } from 'nestjs-drpc';
import { badRequest, errorInfo } from 'nestjs-drpc/protobuf';
import { concat, map, NEVER, of, reduce, take, toArray, type Observable } from 'rxjs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';

import { ExitCode } from '../../lib/cli/run.js';
import { VERSION } from '../../lib/control/version.js';
import { Service, type ServiceOptions } from '../client/helpers/service.js';
import { TestServer } from '../pool/helpers/test-server.js';
import { greeterProto } from '../service/helpers/goldens.js';
import { Command, result, succeeded } from './helpers/command.js';

const ca = fileURLToPath(new URL('../fixtures/tls/ca.crt', import.meta.url));

const BYTES = { encoding: 'bytes' };

/** Calls that were canceled, in the order in which their handlers heard of it. */
let canceled: string[] = [];

@Controller()
class Handlers {
  @MessagePattern('sum')
  sum(@Payload() numbers: number[]): number {
    return numbers.reduce((a, b) => a + b, 0);
  }

  @MessagePattern({ topic: 'sum', area: { name: 'math', level: 1 } })
  sumOfTopic(@Payload() numbers: number[]): number {
    return this.sum(numbers);
  }

  @MessagePattern('{no JSON')
  brace(): string {
    return 'a name like any other';
  }

  @MessagePattern('three')
  three(): Observable<number> {
    return of(1, 2, 3);
  }

  @MessagePattern('total')
  total(@DrpcStream() numbers: Observable<number>): Observable<number> {
    return numbers.pipe(reduce((a, b) => a + b, 0));
  }

  @MessagePattern('joined')
  joined(@DrpcStream() texts: Observable<string>): Observable<string[]> {
    return texts.pipe(toArray());
  }

  @MessagePattern('hex', BYTES)
  hex(@DrpcStream() lines: Observable<Buffer>): Observable<Buffer> {
    return lines.pipe(map((line) => Buffer.from(`${line.toString('hex')} `)));
  }

  @MessagePattern('double')
  double(@DrpcStream() numbers: Observable<number>): Observable<number> {
    return numbers.pipe(map((n) => 2 * n));
  }

  @MessagePattern('first')
  first(@DrpcStream() numbers: Observable<number>): Observable<number> {
    return numbers.pipe(take(1));
  }

  @MessagePattern('payload')
  payload(@Payload() payload: unknown): string {
    return payload === undefined ? 'nothing' : JSON.stringify(payload);
  }

  @MessagePattern('nothing')
  nothing(): undefined {
    return undefined;
  }

  @MessagePattern('metadata')
  metadata(@Ctx() context: DrpcContext): object {
    return { ...context.metadata };
  }

  @MessagePattern('reversed', BYTES)
  reversed(@Payload() bytes: Buffer): Buffer {
    return Buffer.from(bytes).reverse();
  }

  @MessagePattern('shout', BYTES)
  shout(@DrpcStream() lines: Observable<Buffer>): Observable<Buffer> {
    return lines.pipe(map((line) => Buffer.from(`${line.toString().toUpperCase()}\n`)));
  }

  @MessagePattern('hostile')
  hostile(): string {
    return 'a\u009b31mb\u202ec\u2028d\u001be';
  }

  @MessagePattern('refuse')
  refuse(): never {
    throw new DrpcException(DrpcCode.NotFound, 'no such\u001b[31m user', {
      details: [badRequest([{ field: 'id', description: 'is not there' }])],
    });
  }

  @MessagePattern('details')
  details(): never {
    const own = { typeUrl: 'a.b/Own\u001b', value: new Uint8Array(3) };
    const details = [own, errorInfo({ reason: 'A' }), errorInfo({ reason: 'B' })];
    throw new DrpcException(DrpcCode.Aborted, 'several', { details });
  }

  @MessagePattern('names of types')
  namesOfTypes(): object {
    return { $typeName: 'a', $unknown: [1] };
  }

  @MessagePattern('hang')
  hang(@Ctx() context: DrpcContext): Observable<string> {
    context.signal.addEventListener('abort', () => canceled.push('hang'));
    return concat(of('begun'), NEVER);
  }

  @MessagePattern('endless')
  async *endless(): AsyncGenerator<string> {
    try {
      for (;;) yield 'x'.repeat(1000);
    } finally {
      canceled.push('endless');
    }
  }
}

@Controller()
class Greeter {
  @DrpcMethod('Greeter', 'SayHello')
  sayHello({ name = '' }: { name?: string }): object {
    return { message: `Hello, ${name}!` };
  }

  @DrpcMethod('Greeter', 'CollectHellos')
  collectHellos(@DrpcStream() requests: Observable<{ name: string }>): Observable<object> {
    return requests.pipe(
      reduce<{ name: string }, string[]>((names, { name }) => [...names, name], []),
      map((names) => ({ message: 'Hello!', names })),
    );
  }

  @DrpcMethod('Greeter', 'EchoAll')
  echoAll(all: object): object {
    return all;
  }
}

@Controller()
class Ill {
  @MessagePattern('/nestjs.drpc.v1.Health/Ping')
  ping(): never {
    throw new DrpcException(DrpcCode.Internal, '\u001b[31mill\nx');
  }
}

async function start(options: ServiceOptions = {}): Promise<string> {
  canceled = [];
  const service = await Service.start([Handlers, Greeter], {
    ...options,
    server: { protoPath: greeterProto, ...options.server },
  });
  return service.way.url!;
}

describe('nestjs-drpc call', () => {
  it.each<[string, string[], string]>([
    ['the one answer', ['sum', '[1,2,3]'], '6\n'],
    ['each of several answers', ['three'], '1\n2\n3\n'],
    ['what was sent without a message', ['payload'], '"nothing"\n'],
    ['what was sent with one', ['payload', '{"a":[null]}'], '"{\\"a\\":[null]}"\n'],
    ['what was sent with a negative number', ['payload', '-5', '-t', '60000'], '"-5"\n'],
    ['what was sent behind the options', ['-t', '60000', '--', 'payload', '-1.5'], '"-1.5"\n'],
    ['an empty line for an empty message', ['nothing'], '\n'],
    ['names as they are', ['names of types'], '{"$typeName":"a","$unknown":[1]}\n'],
    [
      'what has an object for a pattern',
      ['{ "topic": "sum", "area": { "name": "math", "level": 1 } }', '[1, 2]'],
      '3\n',
    ],
    ['what only looks like an object', ['{no JSON'], '"a name like any other"\n'],
    ['bytes as they are', ['-e', 'bytes', 'reversed', 'abc'], 'cba'],
    ['the answer to no bytes', ['--encoding', 'bytes', 'reversed'], ''],
    [
      'the answer to metadata',
      ['metadata', '--metadata', 'User=ann', '-m', 'token=a=b'],
      '{"user":"ann","token":"a=b"}\n',
    ],
  ])('writes %s', async (_what, args, output) => {
    expect(await result(['call', await start(), ...args])).toEqual(succeeded(output));
  });

  it('escapes what a terminal would obey, and the answer is still the same JSON', async () => {
    const { output } = await result(['call', await start(), 'hostile']);
    expect(output).toBe('"a\\u009b31mb\\u202ec\\u2028d\\u001be"\n');
    expect(JSON.parse(output)).toBe('a\u009b31mb\u202ec\u2028d\u001be');
  });

  it.each<[string, string[], string | Uint8Array, string]>([
    ['a message in each line', ['total'], '1\n2\n \t\n\n3', '6\n'],
    ['behind a byte order mark', ['total'], '\ufeff1\n2', '3\n'],
    ['lines that end as those of Windows', ['total'], '1\r\n2\r\n', '3\n'],
    ['no line', ['total'], '', '0\n'],
    ['lines as bytes, the empty ones too', ['-e', 'bytes', 'shout'], 'ab\n\ncd\n', 'AB\n\nCD\n'],
    [
      'bytes that are no text',
      ['-e', 'bytes', 'hex'],
      Buffer.from('61ff0dfe0d0a00c3', 'hex'),
      '61ff0dfe0d 00c3 ',
    ],
  ])('takes a request stream from the input: %s', async (_what, args, input, output) => {
    expect(await result(['call', '--stdin', await start(), ...args], input)).toEqual(succeeded(output));
  });

  it.each<[string, string[], string, string]>([
    ['JSON in several lines', ['sum'], '[1,\n 2,\n 3]\n', '6\n'],
    ['bytes as they are', ['-e', 'bytes', 'reversed'], 'a\nb\n', '\nb\na'],
    ['no bytes', ['-e', 'bytes', 'reversed'], '', ''],
  ])('takes all of the input for the message: %s', async (_what, args, input, output) => {
    expect(await result(['call', await start(), ...args, '-'], input)).toEqual(succeeded(output));
  });

  it('refuses an input that is larger than any message', async () => {
    const { code, errors } = await result(
      ['call', await start(), 'sum', '-'],
      ' '.repeat(16 * 1024 * 1024 + 1),
    );
    expect(code).toBe(ExitCode.Usage);
    expect(errors).toContain('the input is longer than 16777216 bytes');
  });

  it('can be given up while it reads the input', async () => {
    const command = new Command(['call', 'drpc://127.0.0.1:1', 'sum', '-']);
    command.input.write('[1');
    command.stop.abort(new CanceledError('interrupted'));
    expect(await command.result()).toEqual({ code: ExitCode.Interrupted, output: '', errors: '' });
  });

  it('answers each line while the input goes on', async () => {
    const command = new Command(['call', '-i', await start(), 'double']).read();
    command.input.write('1\n');
    await command.until('2\n');
    command.input.write('2\n');
    await command.until('4\n');
    command.input.end();
    expect(await command.result()).toEqual(succeeded('2\n4\n'));
  });

  it('tells which line of the input is not JSON', async () => {
    const { code, output, errors } = await result(['call', '-i', await start(), 'total'], '1\n{2\n');
    expect({ code, output }).toEqual({ code: ExitCode.Usage, output: '' });
    expect(errors).toContain('line 2 of the input is not JSON');
  });

  it('takes nothing for text that is not', async () => {
    const { code, output, errors } = await result(
      ['call', '-i', await start(), 'joined'],
      Buffer.from('"a\xff"\n', 'latin1'),
    );
    expect({ code, output }).toEqual({ code: ExitCode.Usage, output: '' });
    expect(errors).toContain('line 1 of the input is not JSON: The encoded data was not valid');
  });

  it('joins a line that arrives in parts', async () => {
    const command = new Command(['call', '-i', await start(), 'double']).read();
    command.input.write('1\n1');
    await command.until('2\n');
    command.input.end('0\n');
    expect(await command.result()).toEqual(succeeded('2\n20\n'));
  });

  it('does not take an input that can not be read for one that has ended', async () => {
    const command = new Command(['call', '-i', await start(), 'double']).read();
    command.input.write('1\n');
    await command.until('2\n');
    command.input.destroy(new Error('EIO: broken'));
    const { code, errors } = await command.result();
    expect(code).toBe(ExitCode.Usage);
    expect(errors).toContain('nestjs-drpc: the input can not be read: EIO: broken\n');
  });

  it('does not hold a line without end', async () => {
    const command = new Command(['call', '-i', await start(), 'total']).read();
    const chunk = Buffer.alloc(1024 * 1024, '1');
    Readable.from(
      (function* () {
        for (;;) yield chunk;
      })(),
    ).pipe(command.input);
    const { code, errors } = await command.result();
    expect(code).toBe(ExitCode.Usage);
    expect(errors).toContain('a line of the input is longer than 16777216 bytes');
  });

  it('tells of an error with its code and details, and of nothing that a terminal would obey', async () => {
    expect(await result(['call', await start(), 'refuse'])).toEqual({
      code: ExitCode.Failure,
      output: '',
      errors:
        'error 5 (NotFound): no such\\x1b[31m user\n' +
        '  badRequest: {"fieldViolations":[{"field":"id","description":"is not there","reason":""}]}\n',
    });
  });

  it('tells of each detail in its place, whether it is known or not', async () => {
    const { errors } = await result(['call', await start(), 'details']);
    expect(errors.split('\n').slice(1)).toEqual([
      '  a.b/Own\\x1b: 3 bytes',
      '  errorInfo: {"reason":"A","domain":"","metadata":{}}',
      '  errorInfo: {"reason":"B","domain":"","metadata":{}}',
      '',
    ]);
  });

  it.each<[string, string[], string]>([
    ['an unknown rpc', ['nobody'], 'error 12 (Unimplemented): protocol error: unknown rpc: "nobody"'],
    ['a timeout', ['hang', '--timeout', '50'], 'error 4 (DeadlineExceeded)'],
    ['reserved metadata', ['sum', '-m', 'grpc-timeout=1S'], 'error 3 (InvalidArgument): metadata key'],
  ])('fails with %s', async (_what, args, message) => {
    const { code, errors } = await result(['call', await start(), ...args]);
    expect(code).toBe(ExitCode.Failure);
    expect(errors).toContain(message);
    expect(errors).not.toContain('    at ');
  });

  it('fails where nobody listens', async () => {
    const { code, errors } = await result(['call', 'drpc://127.0.0.1:1', 'sum', '[]']);
    expect(code).toBe(ExitCode.Failure);
    expect(errors).toMatch(/^error 14 \(Unavailable\): .*127\.0\.0\.1:1.*\n$/);
  });

  it('cancels the call when it is given up', async () => {
    const command = new Command(['call', await start(), 'hang']).read();
    await command.until('"begun"\n');
    command.stop.abort(new CanceledError('interrupted'));
    expect(await command.result()).toEqual({ code: ExitCode.Interrupted, output: '"begun"\n', errors: '' });
    await expect.poll(() => canceled).toEqual(['hang']);
  });

  it('waits for a reader of the output that is slow, and cancels the call when it leaves', async () => {
    const command = new Command(['call', await start(), 'endless']);
    const { output, stop } = command;
    await expect.poll(() => output.writableNeedDrain).toBe(true);
    const held = output.readableLength + output.writableLength;
    expect(held).toBeLessThan(100_000);
    output.once('data', () => stop.abort(new CanceledError('enough')));
    expect((await command.result()).code).toBe(ExitCode.Interrupted);
    await expect.poll(() => canceled).toEqual(['endless']);
  });

  it('lets go of an input that has not ended when the call has', async () => {
    const command = new Command(['call', '-i', await start(), 'first']).read();
    command.input.write('7\n');
    expect(await command.result()).toEqual(succeeded('7\n'));
    expect(command.input.destroyed).toBe(true);
  });

  it('speaks TLS with an authority of its own', async () => {
    const url = await start({ over: 'tls' });
    expect(await result(['call', url, 'sum', '[4]', '--ca', ca])).toEqual(succeeded('4\n'));
    expect((await result(['call', url, 'sum', '[4]'])).code).toBe(ExitCode.Failure);
  });
});

describe('nestjs-drpc call --proto', () => {
  const proto = ['--proto', greeterProto];

  it.each<[string, string[], string]>([
    [
      'by its full name',
      ['/interop.v1.Greeter/SayHello', '{"name":"Ann"}'],
      '{"message":"Hello, Ann!","index":0}\n',
    ],
    [
      'without the slash',
      ['interop.v1.Greeter/SayHello', '{"name":"Ann"}'],
      '{"message":"Hello, Ann!","index":0}\n',
    ],
    ['without a message', ['interop.v1.Greeter/SayHello'], '{"message":"Hello, !","index":0}\n'],
  ])('calls a method %s', async (_how, args, output) => {
    expect(await result(['call', await start(), ...proto, ...args])).toEqual(succeeded(output));
  });

  it('streams messages', async () => {
    const args = ['call', '-i', await start(), ...proto, 'interop.v1.Greeter/CollectHellos'];
    expect(await result(args, '{"name":"Ann"}\n{"name":"Bob"}\n')).toEqual(
      succeeded('{"names":["Ann","Bob"],"message":"Hello!"}\n'),
    );
  });

  it('reads and writes 64-bit integers, bytes and enums as protobuf has them in JSON', async () => {
    const sent = { fInt64: '-9007199254740993', fBytes: 'AP8=', fColor: 'COLOR_GREEN' };
    const args = ['call', await start(), ...proto, 'interop.v1.Greeter/EchoAll', JSON.stringify(sent)];
    const { output } = await result(args);
    expect(JSON.parse(output)).toMatchObject(sent);
  });

  it.each<[string, object, string]>([
    ['as the .proto file writes it', { f_string: 'a' }, 'f_string'],
    ['in a message', { fNested: { name: 'a', child: { nmae: 'b' } } }, 'fNested.child.nmae'],
    ['in a list', { rNested: [{ name: 'a' }, { nmae: 'b' }] }, 'rNested.1.nmae'],
  ])('refuses a field that is not there: %s', async (_where, message, field) => {
    const args = ['call', await start(), ...proto, 'interop.v1.Greeter/EchoAll', JSON.stringify(message)];
    const { code, output, errors } = await result(args);
    expect({ code, output }).toEqual({ code: ExitCode.Failure, output: '' });
    expect(errors).toContain(`no field is called "${field}" (names are in camelCase)\n`);
  });

  it.each<[string, object]>([
    ['null', { fNested: null, fString: null, oInt32: null }],
    ['a default value', { oInt32: 0, oString: '', fNested: {}, wInt64: { value: 0 } }],
    ['maps', { mInt32String: { '-1': 'a' }, mBoolColor: { false: 1, true: 2 }, mStringNested: { a_b: {} } }],
    [
      '64-bit integers in maps',
      { mStringInt64: { a_b: '-1' }, mUint64Bytes: { '18446744073709551615': 'AA==' } },
    ],
    ['a member of a oneof', { cEmpty: {} }],
    ['lists that are empty', { rNested: [], rBytes: [] }],
    ['a list of numbers for bytes', { fBytes: [1, 2], rBytes: [[3]] }],
    ['google.protobuf.Any', { wAny: { '@type': 'type.googleapis.com/interop.v1.Nested', name: 'a' } }],
    ['another one', { wAny: { type_url: 'a/b', value: 'AA==' } }],
    ['google.protobuf.Struct', { wStruct: { fields: { a_b: { stringValue: 'c' } } } }],
  ])('takes %s in a field', async (_what, message) => {
    const args = ['call', await start(), ...proto, 'interop.v1.Greeter/EchoAll', JSON.stringify(message)];
    expect(await result(args)).toMatchObject({ code: ExitCode.Success, errors: '' });
  });

  it('writes what JSON has no number for as texts', async () => {
    const sent = { fDouble: 'NaN', fFloat: '-Infinity', rDouble: ['Infinity', 1.5] };
    const args = ['call', await start(), ...proto, 'interop.v1.Greeter/EchoAll', JSON.stringify(sent)];
    const { output } = await result(args);
    expect(JSON.parse(output)).toMatchObject(sent);
  });

  it.each<[string, string]>([
    ['a path from here', relative('.', greeterProto)],
    ['one from a folder for imports', basename(greeterProto)],
    ['an absolute path', greeterProto],
  ])('finds a file by %s, without a warning', async (_how, path) => {
    const warnings = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    onTestFinished(() => warnings.mockRestore());
    const folders = ['--import-path', '/nowhere', '--import-path', dirname(greeterProto)];
    const args = ['call', await start(), '--proto', path, ...folders, 'interop.v1.Greeter/SayHello'];
    expect(await result(args)).toEqual(succeeded('{"message":"Hello, !","index":0}\n'));
    expect(warnings).not.toHaveBeenCalled();
  });

  it.each<[string, string[], string]>([
    [
      'a method that is not there',
      ['Greeter/Nope'],
      'no method is called "Greeter/Nope": the .proto files have interop.v1.Greeter/SayHello, ',
    ],
    [
      'a stream for one message',
      ['-i', 'interop.v1.Greeter/SayHello'],
      '/interop.v1.Greeter/SayHello takes one message',
    ],
    ['a file that is not there', ['--proto', '/nowhere.proto', 'a.B/C'], '/nowhere.proto'],
  ])('refuses %s', async (_what, args, message) => {
    const { code, errors } = await result(['call', await start(), ...proto, ...args]);
    expect(code).toBe(ExitCode.Usage);
    expect(errors).toContain(message);
  });
});

describe('nestjs-drpc ping', () => {
  it('tells who a server is and how fast it answers', async () => {
    const url = await start();
    const { code, output } = await result(['ping', url]);
    expect(code).toBe(ExitCode.Success);
    expect(output).toMatch(
      new RegExp(`^${url}: a nestjs-drpc server, connected in \\d+\\.\\d ms, answered in \\d+\\.\\d ms\\n$`),
    );
  });

  it('tells how it speaks to another', async () => {
    const { output } = await result(['ping', await start(), '--peer', 'cockroach']);
    expect(output).toContain(': a DRPC server, spoken to as cockroach, connected');
  });

  it('fails where nobody listens', async () => {
    const { code, errors } = await result(['ping', 'drpc://127.0.0.1:1']);
    expect(code).toBe(ExitCode.Failure);
    expect(errors).toContain('error 14 (Unavailable): cannot connect to drpc://127.0.0.1:1');
  });

  it.each(['0', '50'])('takes no longer than %s ms when told so, connecting and all', async (timeout) => {
    const server = await TestServer.listen({ kindOf: () => 'silent' });
    const { code, errors } = await result(['ping', `drpc://127.0.0.1:${server.port}`, '-t', timeout]);
    expect(code).toBe(ExitCode.Failure);
    expect(errors).toBe(`error 4 (DeadlineExceeded): no answer within ${timeout} ms\n`);
  });

  it('tells what a server has to say, and nothing that a terminal would obey', async () => {
    const { way } = await Service.start([Ill]);
    const { code, output, errors } = await result(['ping', way.url!]);
    expect({ code, output }).toEqual({ code: ExitCode.Failure, output: '' });
    expect(errors).toMatch(/, but: \\x1b\[31mill\\nx\n$/);
  });

  it('is given up at once', async () => {
    const command = new Command(['ping', await start()]);
    command.stop.abort(new CanceledError('interrupted'));
    expect(await command.result()).toEqual({ code: ExitCode.Interrupted, output: '', errors: '' });
  });
});

describe('nestjs-drpc', () => {
  it('tells its version', async () => {
    expect(await result(['--version'])).toEqual(succeeded(`${VERSION}\n`));
  });

  it('tells what there is, and nothing that is not', async () => {
    const { code, output } = await result(['--help']);
    expect(code).toBe(ExitCode.Success);
    for (const [option] of output.matchAll(/--[a-z-]+/g)) {
      const { errors } = await result(['call', 'drpc://127.0.0.1:1', 'x', option]);
      expect(errors).not.toContain('Unknown option');
    }
  });

  it.each<[string[], string]>([
    [[], 'a command is missing: call or ping'],
    [['cal'], 'unknown command "cal": must be call or ping'],
    [['call'], 'call needs a URL and the name of an rpc'],
    [
      ['call', 'drpc://a', 'b', '1', '2'],
      '"2" is one too many: call takes a URL, an rpc and one message, quoted',
    ],
    [['call', 'a', 'b', '1', '-i'], 'a message and --stdin exclude each other'],
    [['call', 'a', 'b', '-e', 'xml'], '--encoding is "xml": must be json or bytes'],
    [['call', 'a', 'b', '--proto', 'x', '-e', 'json'], '--proto and --encoding exclude each other'],
    [['call', 'a', 'b', '--import-path', 'x'], '--import-path is given without --proto'],
    [['call', 'a', 'b', '-t', '1s'], '--timeout is "1s": must be a number of milliseconds'],
    [['ping', 'drpc://a', '-t', '1000000000'], '--timeout is "1000000000": must be a number of milliseconds'],
    [['call', 'a', 'b', '-t', '-5'], "Did you forget to specify the option argument for '-t'?"],
    [['call', 'drpc://a', 'b', '-5x'], 'the message is not JSON'],
    [['call', 'a', 'b', '-m', 'x'], '--metadata is "x": must be key=value'],
    [['call', 'a', 'b', '--ca', '/nowhere'], '--ca can not be read: ENOENT'],
    [['call', 'drpc://a', 'b', '--ca', ca], 'with option tls: must be drpcs://host:port then'],
    [['call', 'http://a', 'b'], 'option url is "http://a": must be drpc://host:port'],
    [['call', 'drpc://a', 'b', '{'], 'the message is not JSON'],
    [['call', 'drpc://a', 'b', '--peer', 'grpc'], `option peer is "grpc"`],
    [['call', 'drpc://a', 'b', '--nope'], `Unknown option '--nope'`],
    [['ping'], 'ping needs a URL'],
    [['ping', 'a', 'b'], '"b" is one too many: ping takes a URL'],
    [['ping', 'a', '-m', 'a=b'], '--metadata is for call only'],
  ])('refuses %j', async (args, message) => {
    const { code, output, errors } = await result(args);
    expect({ code, output }).toEqual({ code: ExitCode.Usage, output: '' });
    expect(errors).toMatch(/^nestjs-drpc: .+\nnestjs-drpc --help tells what there is\.\n$/s);
    expect(errors).toContain(message);
  });
});
