import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import type { DrpcServerOptions } from 'nestjs-drpc';
import { createInMemoryNetwork, createInMemoryPair } from 'nestjs-drpc/testing';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Conn } from '../../lib/conn/conn.js';
import type { RpcStream } from '../../lib/conn/rpc-stream.js';
import { serveOne } from '../../lib/conn/serve-one.js';
import { bytesEncoding, type Encoding } from '../../lib/encoding/encoding.js';
import { DrpcCode } from '../../lib/errors/codes.js';
import { CanceledError, DrpcError } from '../../lib/errors/drpc-error.js';
import type { ManagerOptions } from '../../lib/manager/manager.options.js';
import { decodeMetadata } from '../../lib/metadata/metadata.js';
import { RecvWindow } from '../../lib/stream/recv-window.js';
import { unmarshalError, type ErrorForm } from '../../lib/wire/error-payload.js';
import type { Frame } from '../../lib/wire/frame.js';
import { Kind } from '../../lib/wire/kind.js';
import { HelloReplySchema, HelloRequestSchema } from '../fixtures/gen/greeter_pb.js';
import { invoke, parseFrames, windowUpdate } from '../helpers/frames.js';
import { cockroachVectors, storjVectors, type Transcript } from './helpers/go-vectors.js';
import { InteropService } from './helpers/interop-service.js';
import { asOurServerSays, comparable, FrameEnd, streamsOf } from './helpers/replay.js';

interface Generation {
  readonly profile: 'storj' | 'cockroach';
  readonly form: ErrorForm;
  readonly isMultiplexing: boolean;
}

const STORJ: Generation = { profile: 'storj', form: 'storj', isMultiplexing: false };
const COCKROACH: Generation = { profile: 'cockroach', form: 'status', isMultiplexing: true };

/** Grants depend on when messages are taken; its test goes step by step. */
const FLOW_CONTROL = 'flow control';
/** Which we refuse. */
const COMPRESSED = 'compressed';
/** For its limit and words, which are not ours. */
const TOO_LARGE = 'a message too large';

const TRANSCRIPTS = [
  ...storjVectors.transcripts.map((transcript) => ['storj', transcript.name, STORJ, transcript] as const),
  ...ofCockroach((name) => ![FLOW_CONTROL, COMPRESSED, TOO_LARGE].includes(name)),
];
/** Only what a server says to it. */
const TOO_LARGE_TRANSCRIPTS = ofCockroach((name) => name === TOO_LARGE);

function ofCockroach(wanted: (name: string) => boolean) {
  return cockroachVectors.transcripts
    .filter(({ name }) => wanted(name))
    .map((transcript) => ['cockroach', transcript.name, COCKROACH, transcript] as const);
}

/** What the Go programs were started with. */
const SETTINGS: Record<string, Pick<DrpcServerOptions, 'splitSize' | 'maxStreams'>> = {
  'unary, split in frames of 16 bytes': { splitSize: 16 },
  'one stream too many': { maxStreams: 1 },
};

const framesOf = (lines: readonly string[]): Frame[] => parseFrames(Buffer.from(lines.join(''), 'hex'));
const isKind =
  (...kinds: Kind[]) =>
  ({ kind }: Frame): boolean =>
    kinds.includes(kind);

@Controller()
class Greeter {
  @MessagePattern('/interop.v1.Greeter/SayHello', { encoding: 'bytes' })
  sayHello(@Payload() request: Buffer): Uint8Array {
    const { name } = fromBinary(HelloRequestSchema, request);
    return toBinary(HelloReplySchema, create(HelloReplySchema, { message: `Hello, ${name}!` }));
  }
}

describe('What a Nest service answers to the bytes of a Go client', () => {
  it.each(TRANSCRIPTS)('%s: %s', async (_peer, name, { profile, form, isMultiplexing }, transcript) => {
    const client = framesOf(transcript.client);
    const server = framesOf(transcript.server).map((each) => asOurServerSays(each, form));
    const end = await connectToService({ plainClients: profile, ...SETTINGS[name] });

    for (const each of client) {
      // Before these a Go client had heard all of it.
      const isLast = isKind(Kind.Close, Kind.Cancel)(each);
      const heard = server.filter(
        ({ streamId }) =>
          (isLast && streamId === each.streamId) || (!isMultiplexing && streamId < each.streamId),
      );
      await end.until(() =>
        heard.every(({ streamId }) => end.on(streamId).length >= on(heard, streamId).length),
      );
      end.send(each);
    }
    await fence(end);

    for (const id of streamsOf(client)) {
      expect(comparable(end.on(id))).toEqual(comparable(on(server, id)));
    }
  });

  it('cockroach: flow control', async () => {
    const [near, far] = createInMemoryPair();
    onTestFinished(() => void near.destroy());
    serveOne(far, new Map([['/interop.Interop/Chat', { encoding: BYTES, run: chat }]]), WINDOWS);
    const end = new FrameEnd(near);
    const { client, server } = flowControl();

    end.send(...client);
    await end.until(() => end.frames.some(isKind(Kind.CloseSend)));

    expect(comparable(end.frames)).toEqual(comparable(server.filter((each) => !isUpdate(each))));
  });
});

describe('What a Nest service answers to the bytes of a Go client that compresses', () => {
  it('code 12 for its call, and the connection lives', async () => {
    const { client } = framesOfBoth(COMPRESSED);
    const end = await connectToService({ plainClients: 'cockroach' });

    end.send(...client);
    await fence(end);

    const answers = end.on(1);
    expect(answers.map(({ kind, control }) => ({ kind, control }))).toEqual([
      { kind: Kind.Error, control: false },
    ]);
    const { data } = answers[0]!;
    expect(unmarshalError(Buffer.from(data), 0, data.length)).toMatchObject({
      code: DrpcCode.Unimplemented,
      message: expect.stringContaining('compression "snappy" is not supported') as string,
    });
  });
});

describe('What our client sends to the bytes of a Go server', () => {
  it.each([...TRANSCRIPTS, ...TOO_LARGE_TRANSCRIPTS])(
    '%s: %s',
    async (_peer, name, { form, isMultiplexing }, transcript) => {
      const [near, far] = createInMemoryPair();
      const conn = new Conn(near, { errorForm: form, ...SETTINGS[name] });
      onTestFinished(() => conn.close());
      const end = new FrameEnd(far);
      const client = framesOf(transcript.client);
      const server = framesOf(transcript.server);
      const ids = streamsOf(client);
      const answered = ids.map((id) => answer(end, on(client, id), on(server, id)));

      const calls: Promise<Heard>[] = [];
      for (const id of ids) {
        calls.push(play(conn, on(client, id), on(server, id)));
        // Another stream begins when this one has ended, or has been answered.
        if (!isMultiplexing) await calls.at(-1);
      }
      const heard = await Promise.all(calls);
      await Promise.all(answered);

      expect(heard.flatMap(({ messages }) => messages).sort()).toEqual([...transcript.received].sort());
      const errors = heard.flatMap(({ error }) => error ?? []);
      expect(errors.map(shown)).toEqual(expectedErrors(transcript));
      for (const id of ids) {
        const expected = comparable(withoutNeedlessClose(on(client, id), on(server, id)));
        await end.until(() => end.on(id).length >= expected.length);
        expect(comparable(end.on(id))).toEqual(expected);
      }
    },
  );

  it('cockroach: flow control', async () => {
    const [near, far] = createInMemoryPair();
    const conn = new Conn(near, WINDOWS);
    onTestFinished(() => conn.close());
    const end = new FrameEnd(far);
    const { client, server } = flowControl();

    const [{ messages }] = await Promise.all([
      play(conn, client, server),
      answer(
        end,
        client.filter((each) => !isUpdate(each)),
        server,
      ),
    ]);

    expect(messages).toEqual(messagesOf(server).map((message) => message.toString('hex')));
    expect(comparable(end.frames)).toEqual(comparable(client.filter((each) => !isUpdate(each))));
  });
});

describe('What a window grants for the messages of a Go peer', () => {
  it.each(['client', 'server'] as const)('as cockroach does, which took those of the %s', (from) => {
    const { client, server } = flowControl();
    const taken = from === 'client' ? client : server;
    const grants = (from === 'client' ? server : client).filter(isUpdate);
    const window = new RecvWindow(1024);

    const granted = messagesOf(taken).flatMap(({ length }) =>
      window.consume(length) ? windowUpdate(1, window.takeGrant()).toString('hex') : [],
    );

    expect(granted).toEqual(comparable(grants));
    expect(granted.length).toBeGreaterThan(1);
  });
});

// ------------------------------------------------------------------------ helpers

function on(frames: readonly Frame[], id: Frame['streamId']): Frame[] {
  return frames.filter(({ streamId }) => streamId === id);
}

/** The client's end of a connection to a service in memory. */
async function connectToService(options: DrpcServerOptions): Promise<FrameEnd> {
  const { listener, dial } = createInMemoryNetwork();
  const service = await InteropService.start({ listener, ...options }, [Greeter]);
  const duplex = await dial();
  onTestFinished(async () => {
    duplex.destroy();
    await service.close();
  });
  return new FrameEnd(duplex);
}

const FENCE = 1000;

/** Resolves when everything that was sent before has been answered. */
async function fence(end: FrameEnd): Promise<void> {
  end.send(...parseFrames(invoke(FENCE, '/no/such/rpc')));
  await end.until(() => end.on(FENCE).length > 0);
}

interface Heard {
  messages: string[];
  error?: unknown;
}

/** The messages of a direction, put together. */
function messagesOf(frames: readonly Frame[]): Buffer[] {
  const messages = frames.filter(isKind(Kind.Message));
  const ids = [...new Set(messages.map(({ messageId }) => messageId))];
  return ids.map((id) =>
    Buffer.concat(messages.filter(({ messageId }) => messageId === id).map(({ data }) => data)),
  );
}

/** Makes the call that a Go client made on a stream. */
async function play(conn: Conn, client: readonly Frame[], server: readonly Frame[]): Promise<Heard> {
  const rpc = Buffer.concat(client.filter(isKind(Kind.Invoke)).map(({ data }) => data)).toString();
  const [metadata] = client.filter(isKind(Kind.InvokeMetadata));
  const stream = conn.newStream<Buffer, Buffer>(rpc, BYTES, {
    metadata: metadata && decodeMetadata(Buffer.from(metadata.data)),
  });
  for (const message of messagesOf(client)) await stream.msgSend(message);
  if (client.some(isKind(Kind.CloseSend))) stream.closeSend();
  const isOver = server.some(isKind(Kind.CloseSend, Kind.Error));
  return isOver ? readAll(stream) : leave(stream, messagesOf(server).length, client.some(isKind(Kind.Close)));
}

async function readAll(stream: RpcStream<Buffer, Buffer>): Promise<Heard> {
  const heard: Heard = { messages: [] };
  try {
    for await (const message of stream) heard.messages.push(message.toString('hex'));
  } catch (error) {
    heard.error = error;
  }
  return heard;
}

/** Reads so many messages and leaves, with a Close or a Cancel. */
async function leave(stream: RpcStream<Buffer, Buffer>, count: number, isClose: boolean): Promise<Heard> {
  const heard: Heard = { messages: [] };
  for (let i = 0; i < count; i++) heard.messages.push((await stream.msgRecv())!.toString('hex'));
  if (isClose) stream.close();
  else {
    stream.sendCancel(new CanceledError('context canceled'));
    heard.error = await stream.msgRecv().catch((error: unknown) => error);
  }
  return heard;
}

/** Sends what the Go server answered on a stream, once all that it had been asked is here. */
async function answer(end: FrameEnd, client: readonly Frame[], server: readonly Frame[]): Promise<void> {
  const asked = client.filter((each) => !isKind(Kind.Close, Kind.Cancel)(each));
  const id = Number(client[0]!.streamId);
  await end.until(() => comparable(end.on(id)).length >= comparable(asked).length);
  if (server.length > 0) end.send(...server);
}

/** A Go client that does not wait for the server's CloseSend sends Close; ours waits, and has nothing to close. */
function withoutNeedlessClose(client: readonly Frame[], server: readonly Frame[]): readonly Frame[] {
  return server.some(isKind(Kind.CloseSend, Kind.Error))
    ? client.filter((each) => each.kind !== Kind.Close)
    : client;
}

function shown(error: unknown): string {
  const { code, rawCode, message } = error as DrpcError;
  return `${rawCode ?? code}: ${message}`;
}

/** The end without an answer is no error to us, and a cancel has its code also where Go has none for it. */
function expectedErrors({ error }: Transcript): string[] {
  if (!error || error.class === 'eof') return [];
  return [`${error.class === 'canceled' ? 1 : error.code}: ${error.message}`];
}

/** Windows are larger here than the Go peer's, so that nothing is granted for so little. */
const WINDOWS = {
  errorForm: 'status',
  splitSize: 256,
  sendWindow: 64 * 1024,
  recvWindow: 64 * 1024,
} satisfies Partial<ManagerOptions>;

const BYTES = bytesEncoding as Encoding;
const isUpdate = isKind(Kind.WindowUpdate);

function framesOfBoth(transcript: string): { client: Frame[]; server: Frame[] } {
  const { client, server } = cockroachVectors.transcripts.find(({ name }) => name === transcript)!;
  return { client: framesOf(client), server: framesOf(server) };
}

function flowControl(): { client: Frame[]; server: Frame[] } {
  return framesOfBoth(FLOW_CONTROL);
}

async function chat(stream: RpcStream): Promise<void> {
  for await (const message of stream) await stream.msgSend(message);
}
