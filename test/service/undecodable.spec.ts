import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { concat, firstValueFrom, from, lastValueFrom, NEVER, of, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';

import {
  DrpcStream,
  type DrpcClient,
  type DrpcContext,
  type Encoding,
  type EncodingName,
} from '../../lib/index.js';
import { loadProtoServices } from '../../lib/service/proto-loader.js';
import { loadDescReader } from '../../lib/service/protobuf-es.js';
import type { MethodDefinition } from '../../lib/service/service-definition.js';
import { Greeter as GreeterService } from '../fixtures/gen/greeter_pb.js';
import { GreetingApp } from './helpers/greeting-app.js';
import { greeterProto } from './helpers/goldens.js';

const own: Encoding = {
  name: 'whole numbers',
  marshal: (value) => `${value as number}`,
  unmarshal(bytes) {
    const value = Number(Buffer.from(bytes).toString());
    if (Number.isInteger(value)) return value;
    throw new RangeError('no whole number');
  },
};

const ofLoader = loadProtoServices({ protoPath: greeterProto })[0]!.methods[0]!;
const ofDescriptor = (await loadDescReader()).method(GreeterService.method.sayHello);

/** Of no message in any encoding here: a field of protobuf that has no end. */
const GARBAGE = Buffer.of(0x0a, 0xff);

/** An encoding at both ends, what it is called, and a message that it can read at both. */
const ENCODINGS: [string, EncodingName | Encoding, EncodingName | Encoding, string, Buffer][] = [
  ['json', 'json', 'json', 'json', Buffer.from('{}')],
  ['an own one', own, own, 'whole numbers', Buffer.from('1')],
  ['protobuf of .proto files', ...endsOf(ofLoader), 'protobuf', Buffer.of()],
  ['protobuf of protoc-gen-es', ...endsOf(ofDescriptor), 'protobuf', Buffer.of()],
];

function endsOf({ serverEncoding, clientEncoding }: MethodDefinition): [Encoding, Encoding] {
  return [serverEncoding, clientEncoding];
}

/** Takes requests with `encoding`, and answers with bytes that the caller sends. */
function serviceWith(encoding: EncodingName | Encoding) {
  const canceled: string[] = [];

  @Controller()
  class Service {
    @MessagePattern('one', { encoding })
    one(): void {}

    @MessagePattern('stream', { encoding })
    stream(@DrpcStream() requests: Observable<unknown>): Promise<unknown> {
      return lastValueFrom(requests);
    }

    @EventPattern('event', { encoding })
    event(_value: unknown): void {}

    @MessagePattern('answer', { encoding: 'bytes' })
    answer(@Payload() bytes: Buffer): Buffer {
      return bytes;
    }

    @MessagePattern('answers', { encoding: 'bytes' })
    answers(@Payload() bytes: Buffer, @Ctx() { signal }: DrpcContext): Observable<Buffer> {
      signal.addEventListener('abort', () => canceled.push('answers'), { once: true });
      return concat(of(bytes), NEVER);
    }
  }
  return { Service, canceled };
}

/** Bytes from the caller, and a reading of what comes back. */
function readsWith(encoding: EncodingName | Encoding): Encoding {
  const unmarshal = (bytes: Uint8Array): unknown =>
    typeof encoding === 'string' ? JSON.parse(Buffer.from(bytes).toString()) : encoding.unmarshal(bytes);
  const name = typeof encoding === 'string' ? encoding : encoding.name;
  return { name, marshal: (value) => value as Buffer, unmarshal };
}

async function collected(answers: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of answers);
}

describe.each(ENCODINGS)('a message that can not be read: %s', (_what, server, client, name, good) => {
  async function start(): Promise<{ caller: DrpcClient; canceled: string[] }> {
    const { Service, canceled } = serviceWith(server);
    const caller = (await GreetingApp.start([Service])).client();
    return { caller, canceled };
  }

  it.each<[string, (caller: DrpcClient, bytes: Buffer) => Promise<unknown>]>([
    ['one', (caller, bytes) => caller.call('one', bytes, { encoding: 'bytes' })],
    ['stream', (caller, bytes) => caller.call('stream', from([good, bytes]), { encoding: 'bytes' })],
    ['event', (caller, bytes) => caller.call('event', bytes, { encoding: 'bytes' })],
  ])('is its caller’s fault as a request (%s): code 3, naming rpc and encoding', async (rpc, call) => {
    const { caller } = await start();
    await call(caller, good); // it is not the service that refuses

    await expect(call(caller, GARBAGE)).rejects.toMatchObject({
      code: 3,
      message: `a message of "${rpc}" is not valid ${name}`,
    });

    await call(caller, good);
  });

  it.each<[string, (caller: DrpcClient, bytes: Buffer, encoding: Encoding) => Promise<unknown>]>([
    ['call()', (caller, bytes, encoding) => caller.call('answers', bytes, { encoding })],
    ['stream()', (caller, bytes, encoding) => collected(caller.stream('answers', bytes, { encoding }))],
  ])('is not its caller’s fault as an answer (%s): code 13, and a cancel', async (_form, call) => {
    const { caller, canceled } = await start();
    const encoding = readsWith(client);
    await caller.call('answer', good, { encoding });

    await expect(call(caller, GARBAGE, encoding)).rejects.toMatchObject({
      code: 13,
      message: `an answer of "answers" is not valid ${name}`,
      cause: expect.any(Error) as Error,
    });

    // On the same connection, so behind the cancel.
    await caller.call('answer', good, { encoding });
    expect(canceled).toEqual(['answers']);
  });

  it('is not its caller’s fault as an answer (send())', async () => {
    const { Service } = serviceWith(server);
    const app = await GreetingApp.start([Service]);
    const caller = app.client({ encodings: { answer: readsWith(client) } });
    await firstValueFrom(caller.send('answer', good));
    await expect(firstValueFrom(caller.send('answer', GARBAGE))).rejects.toMatchObject({
      code: 13,
      message: `an answer of "answer" is not valid ${name}`,
    });
  });
});

describe('the encoding of bytes', () => {
  it('reads every message', async () => {
    const { Service } = serviceWith('bytes');
    const caller = (await GreetingApp.start([Service])).client();
    const call = caller.call('stream', from([GARBAGE]), { encoding: 'bytes' });
    expect(await call).toEqual(GARBAGE);
  });
});
