import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { ClosedError } from '../../lib/errors/drpc-error.js';
import { headerByte, MAX_HEADER_SIZE } from '../../lib/wire/frame.js';
import { Kind } from '../../lib/wire/kind.js';
import {
  DEFAULT_BULK_SIZE,
  DEFAULT_WRITER_BUFFER_SIZE,
  DEFAULT_MAX_UNFINISHED_MESSAGES,
  MuxWriter,
  type MuxWriterOptions,
  type Sender,
} from '../../lib/wire/mux-writer.js';
import type { Uint64 } from '../../lib/wire/varint.js';
import { FakeSocket } from '../helpers/fake-socket.js';
import { describeFrames, message, parseFrames } from '../helpers/frames.js';
import { Prng } from '../helpers/prng.js';
import { VirtualClock } from '../helpers/virtual-clock.js';

const MESSAGE = headerByte(Kind.Message, true, false);
const CANCEL = headerByte(Kind.Cancel, true, true);
const KIB = 1024;

/** A writer on a socket that the test plays. */
class Rig {
  readonly clock = new VirtualClock();
  readonly socket = new FakeSocket();
  readonly errors: Error[] = [];
  readonly writer: MuxWriter;

  constructor(options: Partial<MuxWriterOptions> = {}) {
    this.writer = new MuxWriter(this.socket, {
      clock: this.clock,
      onError: (error) => void this.errors.push(error),
      ...options,
    });
    this.socket.on('error', () => undefined);
  }

  send(streamId: Uint64, messageId: Uint64, data: Uint8Array | string = ''): void {
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    this.writer.frame(MESSAGE, streamId, messageId, bytes, 0, bytes.length);
  }

  /** Ends the turn: what was appended goes to the socket, if nothing is there. */
  turn(): void {
    this.clock.turn();
  }

  /** Lets everything through; answers what was written since the last time. */
  drain(): Buffer {
    do this.clock.turn();
    while (this.socket.release());
    return this.socket.takeWritten();
  }

  /** Fills the writer with `size` bytes while a write is under way. */
  fill(size: number): void {
    this.send(99, 1);
    this.turn();
    let left = size;
    for (let id = 2; left > 0; id++) {
      const length = Math.min(left, 16 * KIB);
      this.send(99, id, Buffer.alloc(Math.max(length - 8, 0)));
      left = size - this.writer.pending;
    }
  }
}

/** A sender that appends one message in each of its turns. */
class Turns implements Sender {
  readonly #rig: Rig;
  readonly #id: number;
  readonly #size: number;
  left: number;
  messageId = 0;

  constructor(rig: Rig, id: number, left: number, size = 0) {
    this.#rig = rig;
    this.#id = id;
    this.left = left;
    this.#size = size;
  }

  pump(): boolean {
    if (this.left === 0) return false;
    this.left--;
    this.#rig.send(this.#id, ++this.messageId, Buffer.alloc(this.#size));
    return this.left > 0;
  }
}

/** Lets a sender wait whose turns take 0.2 ms each. */
function enqueueSlow(rig: Rig, turns: number): Turns {
  const slow = new Turns(rig, 1, turns);
  rig.writer.enqueue({
    pump: () => {
      rig.clock.advance(0.2);
      return slow.pump();
    },
  });
  return slow;
}

const noPump: Sender = { pump: () => false };

describe('MuxWriter', () => {
  describe('batches', () => {
    it('sends 1,000 frames byte for byte, in order', () => {
      const rig = new Rig();
      const random = new Prng(7);
      const expected: Buffer[] = [];
      for (let i = 1; i <= 1000; i++) {
        const data = random.bytes(random.once(20) ? random.int(40_000) : random.int(200));
        rig.send(i % 7, i, data);
        expected.push(message(i % 7, i, data));
      }
      expect(rig.drain().equals(Buffer.concat(expected))).toBe(true);
    });

    it('sends all that was appended in a turn in one write', () => {
      const rig = new Rig();
      for (let i = 1; i <= 10; i++) rig.send(i, 1, 'hello');
      expect(rig.socket.writes).toHaveLength(0);
      rig.turn();
      expect(rig.socket.writes).toHaveLength(1);
      expect(describeFrames(rig.socket.writes[0]!)).toHaveLength(10);
    });

    it('sends what is appended during a write in the next one', () => {
      const rig = new Rig();
      rig.send(1, 1, 'first');
      rig.turn();
      rig.send(1, 2, 'second');
      rig.send(1, 3, 'third');
      rig.turn();
      expect(rig.socket.writes).toHaveLength(1);
      rig.socket.release();
      expect(rig.socket.writes.map(describeFrames)).toEqual([
        ['Message s1 m1 first'],
        ['Message s1 m2 second', 'Message s1 m3 third'],
      ]);
    });

    it('has one write under way at a time, of at most 128 KiB and the headers', () => {
      const rig = new Rig({ bufferSize: 8 * 1024 * KIB, bulkSize: 8 * 1024 * KIB });
      for (let i = 1; i <= 40; i++) rig.send(1, i, Buffer.alloc(50_000));
      rig.turn();
      expect(rig.socket.writes).toHaveLength(1);
      rig.drain();
      expect(Math.max(...rig.socket.writes.map(({ length }) => length))).toBeLessThanOrEqual(
        128 * KIB + 2 * MAX_HEADER_SIZE,
      );
    });

    it('sends two of the largest frames in one write, once its memory has grown to that', () => {
      const rig = new Rig();
      for (const id of [1, 2, 3, 4, 5]) rig.send(id, 1, Buffer.alloc(64 * KIB));
      rig.drain();
      expect(rig.socket.writes.map((bytes) => parseFrames(bytes).length)).toEqual([1, 2, 2]);
    });

    it('parses whole when ten senders append a hundred frames each in turns', () => {
      const rig = new Rig({ bulkSize: 600 });
      const senders = Array.from({ length: 10 }, (_, i) => new Turns(rig, i + 1, 100, 20));
      for (const sender of senders) rig.writer.enqueue(sender);
      const frames = parseFrames(rig.drain());
      expect(frames).toHaveLength(1000);
      for (const id of [1, 5, 10]) {
        const own = frames.filter(({ streamId }) => streamId === id).map(({ messageId }) => messageId);
        expect(own).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
      }
    });

    it('does not touch the memory of a write before its callback', () => {
      const rig = new Rig();
      const chunks: { chunk: Buffer; copy: Buffer }[] = [];
      vi.spyOn(rig.socket, '_write').mockImplementation((chunk: Buffer, _encoding, callback) => {
        chunks.push({ chunk, copy: Buffer.from(chunk) });
        held.push(callback);
      });
      const held: (() => void)[] = [];
      let damaged = 0;
      for (let round = 0; round < 50; round++) {
        for (let i = 0; i < 5; i++) rig.send(1, round * 5 + i + 1, Buffer.alloc(3000, round));
        rig.turn();
        const under = chunks[chunks.length - 1]!;
        if (!under.chunk.equals(under.copy)) damaged++;
        held.shift()?.();
      }
      expect(chunks.length).toBeGreaterThan(20);
      expect(damaged).toBe(0);
    });

    it('puts a prefix in front of everything', () => {
      const rig = new Rig();
      rig.writer.prefix(Buffer.from('DRPC!!!1'));
      rig.send(1, 1);
      const bytes = rig.drain();
      expect(bytes.toString('latin1', 0, 8)).toBe('DRPC!!!1');
      expect(describeFrames(bytes.subarray(8))).toEqual(['Message s1 m1']);
      expect(rig.socket.writes).toHaveLength(1);
    });
  });

  describe('text', () => {
    it.each([
      ['nothing', ''],
      ['ASCII', 'hello'],
      ['127 bytes of ASCII', 'x'.repeat(127)],
      ['what takes two length bytes only as UTF-8', 'é'.repeat(100)],
      ['what takes three length bytes only as UTF-8', '€'.repeat(6000)],
      ['letters of three bytes', '日本語'],
      ['letters of four bytes', '😀'.repeat(40)],
      ['half a pair, which becomes a replacement character', 'a\ud800b'],
      ['a long one that is measured first', 'aé'.repeat(2000)],
      ['exactly 1,024 units', 'é'.repeat(1024)],
    ])('writes %s in UTF-8 and answers its size', (_what, text) => {
      const rig = new Rig();
      rig.send(3, 1, 'before');
      const size = rig.writer.text(MESSAGE, 3, 2, text);
      rig.send(3, 3, 'after');
      expect(size).toBe(Buffer.byteLength(text));
      const expected = [message(3, 1, 'before'), message(3, 2, text), message(3, 3, 'after')];
      expect(rig.drain().equals(Buffer.concat(expected))).toBe(true);
    });

    it.each([1500, 2500, 3000, 3500])('writes 3000 bytes of letters whole where %s are left', (left) => {
      const rig = new Rig();
      const headerSize = 5;
      const filler = Buffer.alloc(8 * KIB - headerSize - left);
      rig.send(3, 1, filler);
      expect(rig.writer.pending).toBe(8 * KIB - left);
      rig.writer.text(MESSAGE, 3, 2, '€'.repeat(1000));
      const expected = [message(3, 1, filler), message(3, 2, '€'.repeat(1000))];
      expect(rig.drain().equals(Buffer.concat(expected))).toBe(true);
    });

    it('writes random text as Buffer.from does, also over the ends of slabs', () => {
      const rig = new Rig({ bufferSize: 64 * 1024 * KIB, bulkSize: 64 * 1024 * KIB });
      const random = new Prng(8);
      const expected: Buffer[] = [];
      for (let i = 1; i <= 500; i++) {
        const units = Array.from({ length: random.int(random.once(10) ? 3000 : 300) }, () =>
          random.pick(['a', 'é', '€', '😀', '\udc00']),
        );
        rig.writer.text(MESSAGE, 1, i, units.join(''));
        expected.push(message(1, i, units.join('')));
      }
      expect(rig.drain().equals(Buffer.concat(expected))).toBe(true);
    });
  });

  describe('its bounds', () => {
    it('lets 1 MiB wait by default, and as much as it is told', () => {
      expect([DEFAULT_WRITER_BUFFER_SIZE, DEFAULT_BULK_SIZE]).toEqual([1024 * KIB, 128 * KIB]);
      const rig = new Rig();
      rig.fill(1024 * KIB - 20_000);
      expect([rig.writer.isFull, rig.writer.admits(0)]).toEqual([false, true]);
      rig.fill(1024 * KIB);
      expect([rig.writer.isFull, rig.writer.admits(0)]).toEqual([true, false]);
      const small = new Rig({ bufferSize: 1000 });
      small.fill(1000);
      expect(small.writer.isFull).toBe(true);
    });

    it('makes senders of much wait earlier than senders of little', () => {
      const rig = new Rig();
      rig.fill(DEFAULT_BULK_SIZE);
      expect([rig.writer.admits(0), rig.writer.admits(16 * KIB)]).toEqual([true, false]);
      rig.drain();
      expect(rig.writer.admits(16 * KIB)).toBe(true);
    });

    it('calls a sender that waits when there is room again', () => {
      const rig = new Rig({ bufferSize: 1000 });
      rig.fill(1000);
      const sender = new Turns(rig, 1, 1);
      rig.writer.enqueue(sender);
      rig.turn();
      expect([sender.left, rig.writer.waiting]).toEqual([1, 1]);
      rig.drain();
      expect([sender.left, rig.writer.waiting]).toEqual([0, 0]);
    });

    it('forgets a sender that ended while it waited', () => {
      const rig = new Rig({ bufferSize: 1000 });
      rig.fill(1000);
      const sender = new Turns(rig, 1, 1);
      rig.writer.enqueue(sender);
      rig.writer.remove(sender);
      rig.drain();
      expect([sender.left, rig.writer.waiting]).toEqual([1, 0]);
    });

    it('lets control frames pass when it is full', () => {
      const rig = new Rig({ bufferSize: 1000 });
      rig.fill(1000);
      rig.writer.frame(CANCEL, 5, 2, undefined, 0, 0);
      expect(rig.writer.isFull).toBe(true);
      expect(describeFrames(rig.drain()).at(-1)).toBe('Cancel! s5 m2');
      expect(rig.errors).toEqual([]);
    });

    it('ends a connection whose peer leaves more than the cap and 1 MiB of them unread, once', () => {
      const rig = new Rig();
      rig.send(1, 1);
      rig.turn();
      const data = Buffer.alloc(1000);
      const abortive = headerByte(Kind.Error, true, true);
      for (let i = 0; i < 3000; i++) rig.writer.frame(abortive, i + 2, 1, data, 0, data.length);
      // Not in the middle of what its owner does.
      expect(rig.errors).toEqual([]);
      rig.turn();
      expect(rig.socket.writes).toHaveLength(1);
      expect(rig.errors.map(String)).toEqual([expect.stringContaining('peer that does not read')]);
      expect(rig.errors[0]).toBeInstanceOf(ClosedError);
      expect(rig.writer.pending).toBe(0);
    });

    it('gives memory back some time after a burst, and makes no more until the next one', () => {
      const rig = new Rig();
      const slabs: number[] = [];
      const write = rig.socket._write.bind(rig.socket);
      vi.spyOn(rig.socket, '_write').mockImplementation((chunk: Buffer, encoding, callback) => {
        slabs.push(chunk.buffer.byteLength);
        write(chunk, encoding, callback);
      });
      for (let i = 0; i < 10; i++) rig.send(1, i + 1, Buffer.alloc(60_000));
      rig.drain();
      expect(slabs.at(-1)).toBe(2 * (64 * KIB + MAX_HEADER_SIZE));
      const make = vi.spyOn(Buffer, 'allocUnsafeSlow');
      onTestFinished(() => {
        make.mockRestore();
      });
      for (let i = 0; i < 500; i++) {
        rig.send(1, 100 + i, 'little');
        rig.drain();
      }
      expect(new Set(slabs.slice(-400))).toEqual(new Set([8 * KIB]));
      expect(make.mock.calls.map(([size]) => size)).toEqual([8 * KIB, 8 * KIB]);
    });
  });

  describe('a long turn', () => {
    /** A writer on a socket whose peer collects what arrives, from when it is told to. */
    async function onSocket() {
      const listener = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
      onTestFinished(() => void listener.close());
      await once(listener, 'listening');
      const socket = connect((listener.address() as AddressInfo).port, '127.0.0.1');
      onTestFinished(() => void socket.destroy());
      const [peer] = (await once(listener, 'connection')) as [Socket];
      const clock = new VirtualClock();
      const writer = new MuxWriter(socket, { clock, onError: (error) => expect.unreachable(error.message) });
      const appended: Buffer[] = [];
      const append = (count: number, size: number): void => {
        for (let i = 0; i < count; i++) {
          const data = Buffer.alloc(size, appended.length);
          writer.frame(MESSAGE, 1, appended.length + 1, data, 0, size);
          appended.push(message(1, appended.length + 1, data));
        }
      };
      /** Ends the turn, and reads until all has arrived. */
      const arrive = async (): Promise<Buffer> => {
        const wanted = appended.reduce((sum, { length }) => sum + length, 0);
        const chunks: Buffer[] = [];
        let length = 0;
        const arrived = new Promise<void>((resolve) => {
          peer.on('data', (chunk: Buffer) => {
            chunks.push(chunk);
            length += chunk.length;
            if (length >= wanted) resolve();
          });
        });
        peer.resume();
        const turning = setInterval(() => {
          clock.turn();
          clock.yielded();
        }, 1);
        await arrived;
        clearInterval(turning);
        return Buffer.concat(chunks);
      };
      return { socket, writer, clock, appended, append, arrive };
    }

    it('is written in parts, so that the first of a burst do not wait for the last', async () => {
      const { socket, writer, clock, appended, append, arrive } = await onSocket();
      append(8, 10);
      clock.advance(0.19);
      append(8, 10);
      expect(writer.handedOver).toBe(0);
      clock.advance(0.01);
      append(8, 10);
      expect([writer.handedOver, socket.bytesWritten]).toEqual([24 * 14, 24 * 14]);
      append(100, 10);
      expect(writer.handedOver).toBe(24 * 14);
      expect((await arrive()).equals(Buffer.concat(appended))).toBe(true);
    });

    it('loses and changes nothing when the kernel takes no more', async () => {
      const { socket, writer, clock, appended, append, arrive } = await onSocket();
      let left = 20;
      for (let i = 0; left > 0; i++) {
        append(8, i % 3 === 0 ? 4000 : 30);
        clock.advance(0.2);
        if (socket.writableLength > 0) left--;
      }
      expect(writer.pending).toBeGreaterThan(0);
      expect((await arrive()).equals(Buffer.concat(appended))).toBe(true);
    });

    it('waits for its end where a write could call somebody', () => {
      const rig = new Rig();
      for (let i = 1; i <= 100; i++) {
        rig.send(1, i);
        rig.clock.advance(1);
      }
      expect(rig.socket.writes).toHaveLength(0);
      rig.turn();
      expect(rig.socket.writes).toHaveLength(1);
    });
  });

  describe('turns', () => {
    it('gives each waiting sender one turn after the other', () => {
      const rig = new Rig({ bulkSize: 1 });
      rig.fill(1);
      for (const id of [1, 2, 3]) rig.writer.enqueue(new Turns(rig, id, 3));
      rig.drain();
      const order = rig.socket.writes.flatMap(describeFrames).slice(2);
      expect(order).toEqual([1, 2, 3].flatMap((round) => [1, 2, 3].map((id) => `Message s${id} m${round}`)));
    });

    it('keeps the turn of a sender that asks again while it waits', () => {
      const rig = new Rig({ bulkSize: 1 });
      rig.fill(1);
      const [first, second] = [new Turns(rig, 1, 1), new Turns(rig, 2, 1)];
      rig.writer.enqueue(first);
      rig.writer.enqueue(second);
      rig.writer.enqueue(first);
      rig.drain();
      expect(rig.socket.writes.flatMap(describeFrames).slice(2)).toEqual(['Message s1 m1', 'Message s2 m1']);
    });

    it('let the event loop go round when a socket that takes all at once kept them up for half a ms', () => {
      const rig = new Rig({ bulkSize: 1 });
      enqueueSlow(rig, 6);
      rig.drain();
      const first = rig.socket.writes.length;
      expect(first).toBeLessThan(6);
      expect(rig.clock.pendingYields).toBe(1);
      rig.send(2, 1, 'came in between');
      rig.drain();
      expect(rig.socket.writes).toHaveLength(first);
      rig.clock.yielded();
      expect(describeFrames(rig.socket.writes[first]!)).toContain('Message s2 m1 came in between');
      expect(rig.clock.pendingYields).toBe(0);
    });

    it('go on without waiting for the event loop when a chunk shows that it has come round', () => {
      const rig = new Rig({ bulkSize: 1 });
      const slow = enqueueSlow(rig, 6);
      rig.drain();
      const first = rig.socket.writes.length;
      expect(rig.clock.pendingYields).toBe(1);
      rig.writer.turnBegan();
      rig.drain();
      expect(rig.socket.writes.length).toBeGreaterThan(first);
      // The turn that was asked for finds nothing to do twice.
      while (rig.clock.pendingYields > 0) rig.clock.yielded();
      rig.drain();
      expect(slow.left).toBe(0);
      expect(rig.socket.writes).toHaveLength(6);
    });

    it('do not end for a writer with nothing left to write, however long the last was ago', () => {
      const rig = new Rig();
      rig.clock.advance(1000);
      rig.send(1, 1);
      expect(parseFrames(rig.drain())).toHaveLength(1);
      expect(rig.clock.pendingYields).toBe(0);
    });

    it('appends control frames that add up in the next write, although senders wait', () => {
      const rig = new Rig({ bufferSize: 1000 });
      rig.fill(1000);
      rig.writer.enqueue(new Turns(rig, 1, 1));
      rig.writer.enqueueControl({ appendControl: () => rig.writer.frame(CANCEL, 2, 2, undefined, 0, 0) });
      rig.socket.release();
      expect(describeFrames(rig.socket.writes[1]!).at(-1)).toBe('Cancel! s2 m2');
    });

    it('appends a control frame that adds up once, however often it was asked for', () => {
      const rig = new Rig();
      const appendControl = vi.fn<() => void>();
      const sender = { appendControl };
      rig.writer.enqueueControl(sender);
      rig.writer.enqueueControl(sender);
      rig.drain();
      expect(appendControl).toHaveBeenCalledTimes(1);
      rig.writer.enqueueControl(sender);
      rig.writer.removeControl(sender);
      rig.drain();
      expect(appendControl).toHaveBeenCalledTimes(1);
    });
  });

  describe('places for messages of several frames', () => {
    it('are eight; a ninth sender is called when one is free, in order', () => {
      const rig = new Rig();
      for (let i = 0; i < DEFAULT_MAX_UNFINISHED_MESSAGES; i++)
        expect(rig.writer.beginMessage(noPump)).toBe(true);
      expect(DEFAULT_MAX_UNFINISHED_MESSAGES).toBe(8);
      const called: string[] = [];
      const waiter = (name: string): Sender => ({
        pump() {
          if (!rig.writer.beginMessage(this)) return false;
          called.push(name);
          return false;
        },
      });
      const [a, b] = [waiter('a'), waiter('b')];
      expect([rig.writer.beginMessage(a), rig.writer.beginMessage(b)]).toEqual([false, false]);
      expect(rig.writer.waiting).toBe(2);
      rig.writer.endMessage();
      rig.drain();
      expect(called).toEqual(['a']);
      rig.writer.endMessage();
      rig.drain();
      expect(called).toEqual(['a', 'b']);
    });

    it('go on to the next when the sender to whom one was offered has ended', () => {
      const rig = new Rig();
      for (let i = 0; i < DEFAULT_MAX_UNFINISHED_MESSAGES; i++) rig.writer.beginMessage(noPump);
      const pump = vi.fn<() => boolean>(() => false);
      const [gone, next] = [{ pump: () => false }, { pump }];
      rig.writer.beginMessage(gone);
      rig.writer.beginMessage(next);
      rig.writer.endMessage();
      rig.writer.remove(gone);
      rig.drain();
      expect(pump).toHaveBeenCalledTimes(1);
    });

    it('are all free again when all messages have ended', () => {
      const rig = new Rig();
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < DEFAULT_MAX_UNFINISHED_MESSAGES; i++)
          expect(rig.writer.beginMessage(noPump)).toBe(true);
        expect(rig.writer.beginMessage(noPump)).toBe(false);
        rig.writer.remove(noPump);
        for (let i = 0; i < DEFAULT_MAX_UNFINISHED_MESSAGES; i++) rig.writer.endMessage();
        rig.drain();
      }
      expect(rig.writer.waiting).toBe(0);
    });
  });

  describe('whenDrained', () => {
    it('calls at once when nothing waits', () => {
      const task = vi.fn<() => void>();
      new Rig().writer.whenDrained(task);
      expect(task).toHaveBeenCalledTimes(1);
    });

    it('calls once everything has been written: what is pending, under way, and what senders have', () => {
      const rig = new Rig({ bufferSize: 1000 });
      rig.fill(1000);
      const sender = new Turns(rig, 1, 3);
      rig.writer.enqueue(sender);
      let writesThen = 0;
      rig.writer.whenDrained(() => (writesThen = rig.socket.writes.length));
      rig.turn();
      expect(writesThen).toBe(0);
      rig.drain();
      expect([sender.left, writesThen]).toEqual([0, rig.socket.writes.length]);
    });

    it('waits for a sender although nothing is pending yet', () => {
      const rig = new Rig();
      const sender = new Turns(rig, 1, 1);
      rig.writer.enqueue(sender);
      const task = vi.fn<() => void>();
      rig.writer.whenDrained(task);
      expect(task).not.toHaveBeenCalled();
      rig.drain();
      expect([sender.left, task.mock.calls.length]).toEqual([0, 1]);
    });

    it('calls when the writer is stopped', () => {
      const rig = new Rig();
      rig.send(1, 1);
      const task = vi.fn<() => void>();
      rig.writer.whenDrained(task);
      rig.writer.stop(new Error('over'));
      expect(task).toHaveBeenCalledTimes(1);
      rig.writer.whenDrained(task);
      expect(task).toHaveBeenCalledTimes(2);
    });
  });

  describe('stop', () => {
    it('makes appending do nothing, and keeps the first cause', () => {
      const rig = new Rig();
      const first = new Error('first');
      for (let i = 0; i < 20; i++) rig.writer.stop(i === 0 ? first : new Error(`${i}`));
      rig.send(1, 1);
      expect(rig.writer.text(MESSAGE, 1, 2, 'text')).toBe(0);
      rig.writer.prefix(Buffer.from('DRPC!!!1'));
      expect(rig.drain().length).toBe(0);
      expect(rig.writer.stopCause).toBe(first);
    });

    it('drops what is pending, and everybody who waits', () => {
      const rig = new Rig({ bufferSize: 1000 });
      rig.fill(1000);
      const sender = new Turns(rig, 1, 1);
      rig.writer.enqueue(sender);
      rig.writer.enqueueControl({ appendControl: () => rig.send(2, 1) });
      rig.writer.stop(new Error('over'));
      expect([rig.writer.pending, rig.writer.waiting]).toEqual([0, 0]);
      rig.drain();
      expect(rig.socket.writes).toHaveLength(1);
      expect(sender.left).toBe(1);
    });

    it('leaves the write under way alone, and hears of its failure in silence', () => {
      const rig = new Rig();
      rig.send(1, 1, 'under way');
      rig.turn();
      rig.writer.stop(new Error('over'));
      rig.socket.release(new Error('EPIPE'));
      expect(rig.errors).toEqual([]);
      expect(rig.writer.inFlight).toBe(0);
    });
  });

  describe('onError', () => {
    it('is told the very error of the socket, once', () => {
      const rig = new Rig();
      rig.send(1, 1);
      rig.turn();
      rig.send(1, 2);
      const error = new Error('EPIPE');
      rig.socket.release(error);
      rig.send(1, 3);
      rig.drain();
      expect(rig.errors).toEqual([error]);
      expect(rig.writer.stopCause).toBe(error);
      expect(rig.socket.writes).toHaveLength(1);
    });

    it('may stop the writer, whose cause then counts', () => {
      const cause = new ClosedError('connection lost');
      const rig = new Rig({ onError: () => rig.writer.stop(cause) });
      rig.send(1, 1);
      rig.turn();
      rig.socket.release(new Error('EPIPE'));
      expect(rig.writer.stopCause).toBe(cause);
    });
  });

  it('accounts for every byte, and for nothing in the end', () => {
    const rig = new Rig();
    expect([rig.writer.pending, rig.writer.inFlight, rig.writer.appended, rig.writer.handedOver]).toEqual([
      0, 0, 0, 0,
    ]);
    rig.send(1, 1, 'hello');
    expect([rig.writer.pending, rig.writer.inFlight, rig.writer.appended, rig.writer.handedOver]).toEqual([
      9, 0, 9, 0,
    ]);
    const batch = rig.writer.batch;
    rig.turn();
    expect(rig.writer.batch).not.toBe(batch);
    rig.send(1, 2);
    expect([rig.writer.pending, rig.writer.inFlight, rig.writer.appended, rig.writer.handedOver]).toEqual([
      4, 9, 13, 9,
    ]);
    rig.drain();
    expect([rig.writer.pending, rig.writer.inFlight, rig.writer.waiting]).toEqual([0, 0, 0]);
    expect(rig.writer.handedOver).toBe(13);
  });
});
