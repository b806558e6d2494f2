import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Controller, Inject } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import {
  DrpcException,
  type DrpcCode,
  DrpcContext,
  DrpcMetadata,
  DrpcStream,
  type Metadata,
} from 'nestjs-drpc';
import { EMPTY, Observable, reduce } from 'rxjs';
import { CallLog } from './call-log.js';
import { patternBytes } from './peers.js';

/** Names as the Go peers use them. */
export const rpc = (name: string): string => `/interop.Interop/${name}`;

interface CountRequest {
  n?: number;
  size?: number;
  delayMs?: number;
}

interface Failure {
  code: DrpcCode;
  message: string;
  details?: { typeUrl: string; value: string }[];
}

/** Answers as the Go service of the same name does; test/interop/go/README.md describes each rpc. */
@Controller()
export class InteropController {
  constructor(@Inject(CallLog) private readonly log: CallLog) {}

  @MessagePattern(rpc('Echo'), { encoding: 'bytes' })
  echo(@Payload() data: Buffer): Buffer {
    return data;
  }

  @MessagePattern(rpc('EchoMeta'), { encoding: 'bytes' })
  echoMeta(@DrpcMetadata() metadata: Metadata): Buffer {
    const sorted = Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1));
    return Buffer.from(JSON.stringify(Object.fromEntries(sorted)));
  }

  @MessagePattern(rpc('Count'), { encoding: 'bytes' })
  count(@Payload() data: Buffer, @Ctx() context: DrpcContext): AsyncIterable<Buffer> {
    const request = parse<CountRequest>(data);
    return this.log.watch(context, this.numbers(request, request.n ?? 0, context.signal));
  }

  @MessagePattern(rpc('Endless'), { encoding: 'bytes' })
  endless(@Payload() data: Buffer, @Ctx() context: DrpcContext): AsyncIterable<Buffer> {
    return this.log.watch(context, this.numbers(parse(data), Infinity, context.signal));
  }

  @MessagePattern(rpc('Sum'))
  sum(@DrpcStream() numbers: Observable<number>): Observable<number> {
    return numbers.pipe(reduce((sum, number) => sum + number, 0));
  }

  @MessagePattern(rpc('Chat'), { encoding: 'bytes' })
  chat(@DrpcStream() messages: Observable<Buffer>, @Ctx() context: DrpcContext): Observable<Buffer> {
    return this.log.watchObservable(context, messages);
  }

  @MessagePattern(rpc('Fail'))
  fail(@Payload() failure: Failure): never {
    throw exception(failure);
  }

  @MessagePattern(rpc('FailAfter'), { encoding: 'bytes' })
  async *failAfter(@Payload() data: Buffer): AsyncIterable<Buffer> {
    const { n, ...failure } = parse<Failure & { n: number }>(data);
    yield* this.numbers({}, n);
    throw exception(failure);
  }

  @MessagePattern(rpc('Slow'))
  async slow(@Payload() { delayMs, value }: { delayMs: number; value: unknown }): Promise<unknown> {
    await delay(delayMs);
    return value;
  }

  @MessagePattern(rpc('Hang'), { encoding: 'bytes' })
  hang(@Ctx() context: DrpcContext): Observable<Buffer> {
    return this.log.watchObservable(context, new Observable<Buffer>());
  }

  @MessagePattern(rpc('Sink'), { encoding: 'bytes' })
  async sink(
    @DrpcStream({ as: 'iterable' }) messages: AsyncIterable<Buffer>,
    @Ctx() context: DrpcContext,
  ): Promise<Buffer> {
    const hash = createHash('sha256');
    const reply = { messages: 0, bytes: 0, sha256: '' };
    for await (const message of this.log.watch(context, messages)) {
      reply.messages++;
      reply.bytes += message.length;
      hash.update(message);
    }
    reply.sha256 = hash.digest('hex');
    return Buffer.from(JSON.stringify(reply));
  }

  @MessagePattern(rpc('Nil'), { encoding: 'bytes' })
  nil(): Observable<Buffer> {
    return EMPTY;
  }

  @MessagePattern(rpc('Early'), { encoding: 'bytes' })
  async *early(@DrpcStream({ as: 'iterable' }) _messages: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
    yield Buffer.from('early');
  }

  @MessagePattern(rpc('Drop'), { encoding: 'bytes' })
  async *drop(
    @DrpcStream({ as: 'iterable' }) messages: AsyncIterable<Buffer>,
    @Ctx() context: DrpcContext,
  ): AsyncIterable<Buffer> {
    let isFirst = true;
    for await (const message of messages) {
      if (isFirst) yield* this.numbers({}, parse<CountRequest>(message).n ?? 0);
      else this.log.dropConnection(context.peer);
      isFirst = false;
    }
  }

  private async *numbers(
    { size = 0, delayMs = 0 }: CountRequest,
    count: number,
    signal?: AbortSignal,
  ): AsyncIterable<Buffer> {
    for (let i = 0; i < count; i++) {
      yield size > 0 ? patternBytes(i, size) : Buffer.from(String(i));
      if (delayMs > 0) await delay(delayMs, undefined, { signal });
    }
  }
}

function parse<T extends object>(data: Buffer): T {
  return (data.length > 0 ? JSON.parse(data.toString()) : {}) as T;
}

function exception({ code, message, details = [] }: Failure): DrpcException {
  return new DrpcException(code, message, {
    details: details.map(({ typeUrl, value }) => ({ typeUrl, value: Buffer.from(value, 'base64') })),
  });
}
