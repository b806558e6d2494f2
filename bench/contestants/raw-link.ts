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

export interface RawStyle {
  /** All frames of a turn leave in one write; otherwise each has its own. */
  batched: boolean;
  /** Payloads are good only until the handler returns; otherwise each is a Buffer of the receiver's own. */
  lent: boolean;
}

/** The payload is `bytes[start, end)`. */
export type FrameHandler = (kind: RawKind, id: number, bytes: Buffer, start: number, end: number) => void;

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

  constructor(socket: Socket, { batched, lent }: RawStyle, handler: FrameHandler) {
    this.#socket = socket;
    this.#batched = batched;
    this.#slab = Buffer.allocUnsafeSlow(SLAB_SIZE);
    socket.setNoDelay(true);
    readFrames(socket, lent, handler);
  }

  get blocked(): boolean {
    if (this.#outstanding + this.#used < OUTSTANDING_LIMIT) return false;
    this.#draining = true;
    return true;
  }

  send(kind: RawKind, id: number, bytes: Buffer = NO_BYTES, start = 0, end = bytes.length): void {
    const size = HEADER_SIZE + end - start;
    if (!this.#batched) {
      const frame = Buffer.allocUnsafe(size);
      putFrame(frame, 0, kind, id, bytes, start, end);
      this.#write(frame, undefined);
      return;
    }
    if (this.#used + size > this.#slab.length) this.#nextSlab(size);
    putFrame(this.#slab, this.#used, kind, id, bytes, start, end);
    this.#used += size;
    this.#flushSoon();
  }

  /** Sends `value` as JSON, written straight into the slab; only where frames are batched. */
  sendJson(kind: RawKind, id: number, value: unknown): void {
    const text = JSON.stringify(value);
    // A UTF-16 unit is at most three bytes of UTF-8.
    const room = HEADER_SIZE + 3 * text.length;
    if (this.#used + room > this.#slab.length) this.#nextSlab(room);
    const length = this.#slab.write(text, this.#used + HEADER_SIZE);
    putFrame(this.#slab, this.#used, kind, id, NO_BYTES, 0, 0);
    this.#slab.writeUInt32LE(length, this.#used);
    this.#used += HEADER_SIZE + length;
    this.#flushSoon();
  }

  #flushSoon(): void {
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

function putFrame(
  to: Buffer,
  at: number,
  kind: RawKind,
  id: number,
  bytes: Buffer,
  start: number,
  end: number,
): void {
  to.writeUInt32LE(end - start, at);
  to.writeUInt32LE((id << 3) | kind, at + 4);
  if (end > start) bytes.copy(to, at + HEADER_SIZE, start, end);
}

function readFrames(socket: Socket, lent: boolean, handler: FrameHandler): void {
  const header = Buffer.alloc(HEADER_SIZE);
  let spare = NO_BYTES;
  let frame: Buffer = header;
  let size = HEADER_SIZE;
  let held = 0;

  const tell = (bytes: Buffer, at: number, end: number): void => {
    const tag = bytes.readUInt32LE(at + 4);
    const start = at + HEADER_SIZE;
    if (lent) handler(tag & 7, tag >>> 3, bytes, start, end);
    else handler(tag & 7, tag >>> 3, bytes.subarray(start, end), 0, end - start);
  };

  /** A place for a frame that came in pieces; one is enough where payloads are only lent. */
  const place = (): Buffer => {
    if (!lent) return Buffer.allocUnsafe(size);
    if (spare.length < size) spare = Buffer.allocUnsafeSlow(size);
    return spare;
  };

  /** Completes the frame that the last chunk has begun; answers where the next one starts. */
  const resume = (chunk: Buffer): number => {
    let offset = 0;
    for (;;) {
      const taken = Math.min(size - held, chunk.length - offset);
      chunk.copy(frame, held, offset, offset + taken);
      held += taken;
      offset += taken;
      if (held < size) return offset;
      size = HEADER_SIZE + frame.readUInt32LE(0);
      if (held === size) break;
      frame = place();
      header.copy(frame);
    }
    const done = frame;
    const end = size;
    frame = header;
    size = HEADER_SIZE;
    held = 0;
    tell(done, 0, end);
    return offset;
  };

  socket.on('data', (chunk: Buffer) => {
    let offset = held > 0 ? resume(chunk) : 0;
    while (chunk.length - offset >= HEADER_SIZE) {
      const end = offset + HEADER_SIZE + chunk.readUInt32LE(offset);
      if (end > chunk.length) break;
      tell(chunk, offset, end);
      offset = end;
    }
    if (offset < chunk.length) resume(chunk.subarray(offset));
  });
}
