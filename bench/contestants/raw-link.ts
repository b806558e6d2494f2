import type { Socket } from 'node:net';

/**
 * The least that carries many calls on one socket: length, kind and id, no state, no limit, no error.
 *
 *   | length of payload u32 | id << 3 | kind u32 | payload |
 */
export const HEADER_SIZE = 8;

export enum RawKind {
  Call,
  Answer,
  Download,
  Message,
  End,
  PingPong,
  Hold,
  Cancel,
}

/** `payload` is the receiver's to keep. */
export type FrameHandler = (kind: RawKind, id: number, payload: Buffer) => void;

const SLAB_SIZE = 256 * 1024;
const NO_BYTES = Buffer.alloc(0);

/** What a producer may have under way before it waits. */
const OUTSTANDING_LIMIT = 256 * 1024;

/** Sends frames over a socket: those of one turn in one write out of a reused slab, or each in a write of its own. */
export class RawLink {
  /** Called when a producer that found `blocked` may go on. */
  onDrain: () => void = () => undefined;

  readonly #socket: Socket;
  readonly #batched: boolean;
  readonly #free: Buffer[] = [];
  #slab: Buffer;
  #used = 0;
  #flushing = false;
  #outstanding = 0;
  #draining = false;
  readonly #flushTurn = () => {
    this.#flushing = false;
    this.#flush();
  };

  constructor(socket: Socket, batched: boolean, handler: FrameHandler) {
    this.#socket = socket;
    this.#batched = batched;
    this.#slab = Buffer.allocUnsafeSlow(SLAB_SIZE);
    socket.setNoDelay(true);
    readFrames(socket, handler);
  }

  get blocked(): boolean {
    if (this.#outstanding + this.#used < OUTSTANDING_LIMIT) return false;
    this.#draining = true;
    return true;
  }

  send(kind: RawKind, id: number, payload: Buffer = NO_BYTES): void {
    const size = HEADER_SIZE + payload.length;
    if (!this.#batched) {
      const frame = Buffer.allocUnsafe(size);
      putFrame(frame, 0, kind, id, payload);
      this.#write(frame, undefined);
      return;
    }
    if (this.#used + size > this.#slab.length) this.#nextSlab(size);
    putFrame(this.#slab, this.#used, kind, id, payload);
    this.#used += size;
    if (this.#flushing) return;
    this.#flushing = true;
    process.nextTick(this.#flushTurn);
  }

  #nextSlab(size: number): void {
    this.#flush();
    if (size > this.#slab.length) this.#slab = Buffer.allocUnsafeSlow(size);
  }

  #flush(): void {
    if (this.#used === 0) return;
    const slab = this.#slab;
    const full = this.#used;
    this.#used = 0;
    this.#slab = this.#free.pop() ?? Buffer.allocUnsafeSlow(SLAB_SIZE);
    this.#write(slab.subarray(0, full), slab);
  }

  #write(bytes: Buffer, slab: Buffer | undefined): void {
    const size = bytes.length;
    this.#outstanding += size;
    this.#socket.write(bytes, () => {
      this.#outstanding -= size;
      if (slab) this.#free.push(slab);
      if (!this.#draining || this.#outstanding > OUTSTANDING_LIMIT / 2) return;
      this.#draining = false;
      this.onDrain();
    });
  }
}

function putFrame(to: Buffer, at: number, kind: RawKind, id: number, payload: Buffer): void {
  to.writeUInt32LE(payload.length, at);
  to.writeUInt32LE((id << 3) | kind, at + 4);
  payload.copy(to, at + HEADER_SIZE);
}

function readFrames(socket: Socket, handler: FrameHandler): void {
  const header = Buffer.alloc(HEADER_SIZE);
  let frame: Buffer = header;
  let held = 0;

  /** Completes the frame that the last chunk has begun; answers where the next one starts. */
  const resume = (chunk: Buffer): number => {
    let offset = 0;
    for (;;) {
      const taken = Math.min(frame.length - held, chunk.length - offset);
      chunk.copy(frame, held, offset, offset + taken);
      held += taken;
      offset += taken;
      if (held < frame.length) return offset;
      const size = HEADER_SIZE + frame.readUInt32LE(0);
      if (held === size) break;
      frame = Buffer.allocUnsafe(size);
      header.copy(frame);
    }
    const done = frame;
    frame = header;
    held = 0;
    const tag = done.readUInt32LE(4);
    handler(tag & 7, tag >>> 3, done.subarray(HEADER_SIZE));
    return offset;
  };

  socket.on('data', (chunk: Buffer) => {
    let offset = held > 0 ? resume(chunk) : 0;
    while (chunk.length - offset >= HEADER_SIZE) {
      const start = offset + HEADER_SIZE;
      const end = start + chunk.readUInt32LE(offset);
      if (end > chunk.length) break;
      const tag = chunk.readUInt32LE(offset + 4);
      offset = end;
      handler(tag & 7, tag >>> 3, chunk.subarray(start, end));
    }
    if (offset < chunk.length) resume(chunk.subarray(offset));
  });
}
