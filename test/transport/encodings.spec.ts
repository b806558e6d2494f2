import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { bytesEncoding, DrpcStream, type Encoding } from 'nestjs-drpc';
import { Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { TestService } from './helpers/test-service.js';

/** Numbers in four bytes. */
const numberEncoding: Encoding<number> = {
  name: 'number',
  marshal(value) {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32BE(value);
    return bytes;
  },
  unmarshal: (bytes) => Buffer.from(bytes).readInt32BE(),
};

@Controller()
class EncodedController {
  @MessagePattern('by handler', { encoding: numberEncoding })
  byHandler(@Payload() value: number): number {
    return value + 1;
  }

  @MessagePattern('by option')
  byOption(@Payload() value: Buffer): Buffer {
    return Buffer.concat([value, Buffer.from('!')]);
  }

  @MessagePattern({ cmd: 'by option' })
  byObject(@Payload() value: Buffer): boolean | Buffer {
    return Buffer.isBuffer(value) && value;
  }

  @MessagePattern('stream', { encoding: 'bytes' })
  stream(@DrpcStream() values: Observable<Buffer>): Observable<Buffer> {
    return values;
  }

  @MessagePattern('junk', { encoding: { ...numberEncoding, marshal: () => 5 as never } })
  junk(): number {
    return 1;
  }

  @MessagePattern('void', { encoding: 'bytes' })
  nothing(): void {}
}

describe('encodings of the server', () => {
  const server = {
    encodings: { 'by option': 'bytes', '{"cmd":"by option"}': 'bytes', 'by handler': 'json' },
  } as const;

  async function start() {
    return (await TestService.start([EncodedController], { server })).connect();
  }

  it("are the handler's own", async () => {
    expect(await (await start()).call('by handler', 41, {}, numberEncoding as Encoding)).toBe(42);
  });

  it('are those of the options, by pattern', async () => {
    const caller = await start();
    const bytes = Buffer.from([0, 255]);
    expect(await caller.call('by option', bytes, {}, bytesEncoding as Encoding)).toEqual(
      Buffer.from([0, 255, 33]),
    );
    expect(await caller.call('{"cmd":"by option"}', bytes, {}, bytesEncoding as Encoding)).toEqual(bytes);
  });

  it('give bytes that are the handler’s for good', async () => {
    const caller = await start();
    const call = caller.open(
      'stream',
      [Buffer.from('one'), Buffer.from('two')],
      {},
      bytesEncoding as Encoding,
    );
    expect(await call.rest()).toEqual([Buffer.from('one'), Buffer.from('two')]);
  });

  it('name themselves when they can not read a message', async () => {
    const caller = await start();
    await expect(caller.call('by handler', 'x')).rejects.toMatchObject({
      code: 3,
      message: 'a message of "by handler" is not valid number',
    });
  });

  it('answer code 2 for what is neither bytes nor text, and the connection lives on', async () => {
    const caller = await start();
    await expect(caller.call('junk', 1, {}, numberEncoding as Encoding)).rejects.toMatchObject({
      code: 2,
    });
    expect(await caller.call('by handler', 41, {}, numberEncoding as Encoding)).toBe(42);
  });

  it('answer code 2 for a value that they can not write', async () => {
    await expect(
      (await start()).call('void', Buffer.alloc(0), {}, bytesEncoding as Encoding),
    ).rejects.toMatchObject({
      code: 2,
      message: 'Internal server error',
    });
  });
});
