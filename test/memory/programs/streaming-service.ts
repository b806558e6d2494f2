/** A service that streams, and reads streams, in a process whose memory is watched from outside. */
import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { DrpcServer, DrpcStream } from 'nestjs-drpc';

const BYTES = { encoding: 'bytes' };

/** Stands before the reader: it goes on when it is told to, and whoever asks learns when it waits. */
class Gate {
  #waiting: (() => void) | undefined;
  #told: (() => void)[] = [];

  /** Waits for {@link open}. */
  async pass(): Promise<void> {
    const opened = new Promise<void>((resolve) => {
      this.#waiting = resolve;
    });
    for (const resolve of this.#told.splice(0)) resolve();
    await opened;
  }

  async reached(): Promise<void> {
    if (!this.#waiting) await new Promise<void>((resolve) => this.#told.push(resolve));
  }

  open(): void {
    this.#waiting?.();
    this.#waiting = undefined;
  }
}

@Controller()
class StreamingController {
  readonly #gate = new Gate();
  #produced = 0;
  #taken = 0;

  /** Each message is newly made: one memory for all would hide how many of them wait. */
  @MessagePattern('rows', BYTES)
  async *rows(@Payload() request: Buffer): AsyncGenerator<Buffer> {
    const { count, size } = JSON.parse(request.toString()) as { count: number; size: number };
    for (this.#produced = 0; this.#produced < count;) {
      const row = Buffer.alloc(size, this.#produced);
      row.writeUInt32BE(this.#produced++);
      yield row;
    }
  }

  @MessagePattern('produced')
  produced(): number {
    return this.#produced;
  }

  /** Stands still after every 64 messages, until it is told to go on. */
  @MessagePattern('take', BYTES)
  async take(@DrpcStream({ as: 'iterable' }) rows: AsyncIterable<Buffer>): Promise<Buffer> {
    let bytes = 0;
    for await (const row of rows) {
      if (row.readUInt32BE() !== this.#taken)
        throw new Error(`row ${row.readUInt32BE()} after ${this.#taken} rows`);
      bytes += row.length;
      if (++this.#taken % 64 === 0) await this.#gate.pass();
    }
    return Buffer.from(String(bytes));
  }

  /** Answers when the reader stands still: how many messages it took. */
  @MessagePattern('standing')
  async standing(): Promise<number> {
    await this.#gate.reached();
    return this.#taken;
  }

  @MessagePattern('go on')
  goOn(): number {
    this.#gate.open();
    return this.#taken;
  }
}

@Module({ controllers: [StreamingController] })
class StreamingModule {}

const server = new DrpcServer({ url: 'drpc://127.0.0.1:0' });
const app = await NestFactory.createMicroservice(StreamingModule, { strategy: server, logger: false });
await app.listen();
process.on('disconnect', () => process.exit());
process.send!((server.address() as AddressInfo).port);
