import type { Duplex } from 'node:stream';
import { DrpcCode } from '../../../lib/errors/codes.js';
import { DrpcError } from '../../../lib/errors/drpc-error.js';
import { streamRefused } from '../../../lib/errors/error-info.js';
import { marshalError, unmarshalError, type ErrorForm } from '../../../lib/wire/error-payload.js';
import { encodeFrame, parseFrame, type Frame } from '../../../lib/wire/frame.js';
import { Kind } from '../../../lib/wire/kind.js';

/** The other end of a connection, played by a test: frames that arrive, and bytes of its own. */
export class FrameEnd {
  /** All frames that have arrived. */
  readonly frames: Frame[] = [];
  readonly #duplex: Duplex;
  readonly #waiting = new Set<() => void>();
  #rest: Buffer = Buffer.alloc(0);

  constructor(duplex: Duplex) {
    this.#duplex = duplex;
    duplex.on('data', (chunk: Buffer) => this.#take(chunk));
    duplex.on('error', () => undefined);
  }

  /** Those on one stream. */
  on(streamId: Frame['streamId']): Frame[] {
    return this.frames.filter((frame) => frame.streamId === streamId);
  }

  send(...frames: readonly Frame[]): void {
    this.#duplex.write(Buffer.concat(frames.map(encodeFrame)));
  }

  /** Resolves when frames have arrived that fulfil `condition`. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }

  #take(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    for (let parsed = parseFrame(this.#rest, 0); parsed; parsed = parseFrame(this.#rest, 0)) {
      this.frames.push({ ...parsed.frame, data: Buffer.from(parsed.frame.data) });
      this.#rest = this.#rest.subarray(parsed.end);
    }
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resolve of waiting) resolve();
  }
}

/** The ids of the streams in a transcript, in order. */
export function streamsOf(frames: readonly Frame[]): number[] {
  return [...new Set(frames.map(({ streamId }) => Number(streamId)))];
}

/** Frames as hex, the frames of an rpc's name as one: we do not split it. */
export function comparable(frames: readonly Frame[]): string[] {
  const lines: string[] = [];
  let name = Buffer.alloc(0);
  for (const frame of frames) {
    if (frame.kind === Kind.Invoke) name = Buffer.concat([name, frame.data]);
    if (frame.kind === Kind.Invoke && !frame.done) continue;
    const isName = frame.kind === Kind.Invoke;
    lines.push(encodeFrame(isName ? { ...frame, data: name } : frame).toString('hex'));
    if (isName) name = Buffer.alloc(0);
  }
  return lines;
}

/** What our server answers where Go's has no code for it: unknown rpcs have code 12, refusals code 8 and a mark. */
export function asOurServerSays(frame: Frame, form: ErrorForm): Frame {
  if (frame.kind !== Kind.Error) return frame;
  const data = Buffer.from(frame.data);
  const { message } = unmarshalError(data, 0, data.length);
  if (message.startsWith('protocol error: unknown rpc')) {
    return { ...frame, data: marshalError(new DrpcError(DrpcCode.Unimplemented, message), form) };
  }
  return message.startsWith('too many')
    ? { ...frame, data: marshalError(streamRefused(message), form) }
    : frame;
}
