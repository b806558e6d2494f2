import type { Duplex } from 'node:stream';
import { unmarshalError } from '../../../lib/wire/error-payload.js';
import { Kind } from '../../../lib/wire/kind.js';
import { parseFrame, type Frame } from '../../../lib/wire/frame.js';
import { describeFrame } from '../../helpers/frames.js';

/** The bytes of one connection, both ways. */
class Tapped {
  readonly duplex: Duplex;
  #sent: Buffer = Buffer.alloc(0);
  #received: Buffer = Buffer.alloc(0);

  constructor(duplex: Duplex) {
    this.duplex = duplex;
    const write = duplex.write.bind(duplex) as (chunk: Uint8Array, ...rest: unknown[]) => boolean;
    duplex.write = (chunk: Uint8Array, ...rest: unknown[]): boolean => {
      // The writer uses its buffer again.
      this.#sent = Buffer.concat([this.#sent, chunk]);
      return write(chunk, ...rest);
    };
    duplex.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
    });
  }

  /** All that came, as text of bytes. */
  get receivedText(): string {
    return this.#received.toString('latin1');
  }

  get sent(): Frame[] {
    return framesIn(this.#sent);
  }

  get received(): Frame[] {
    return framesIn(this.#received);
  }

  /** The streams on which `rpc` was invoked. */
  streamsOf(rpc: string): unknown[] {
    return this.sent.filter((frame) => isKind(frame, Kind.Invoke) && textOf(frame) === rpc).map(idOf);
  }
}

/** Writes down the frames of a client's connections, both ways; put between the client and its `dial`. */
export class FrameTap {
  readonly #connections: Tapped[] = [];

  /** A `dial` that does what the given one does, with an ear at what goes over it. */
  on(dial: () => Promise<Duplex>): () => Promise<Duplex> {
    return async () => {
      const duplex = await dial();
      this.#connections.push(new Tapped(duplex));
      return duplex;
    };
  }

  /** The client's ends, the first connection first. */
  get duplexes(): Duplex[] {
    return this.#connections.map(({ duplex }) => duplex);
  }

  /** What the client sent for its calls of `rpc`, as `Message 1`, in order. */
  sent(rpc: string): string[] {
    return this.#lines(rpc, ({ sent }) => sent);
  }

  /** What came back. */
  received(rpc: string): string[] {
    return this.#lines(rpc, ({ received }) => received);
  }

  /** All that came on all connections, as text of bytes: for what must not be in it. */
  get receivedText(): string {
    return this.#connections.map(({ receivedText }) => receivedText).join('');
  }

  /** The rpcs that were invoked, in order. */
  get invoked(): string[] {
    return this.#connections.flatMap(({ sent }) =>
      sent.filter((frame) => isKind(frame, Kind.Invoke)).map(textOf),
    );
  }

  #lines(rpc: string, direction: (connection: Tapped) => Frame[]): string[] {
    return this.#connections.flatMap((connection) => {
      const streams = connection.streamsOf(rpc);
      return direction(connection)
        .filter((frame) => streams.includes(idOf(frame)) && !isKind(frame, Kind.InvokeMetadata))
        .map(lineOf);
    });
  }
}

const idOf = ({ streamId }: Frame): string => String(streamId);
const textOf = ({ data }: Frame): string => Buffer.from(data).toString();
const isKind = (frame: Frame, kind: Kind): boolean => frame.kind === (kind as number);

/** The whole frames in `bytes`. */
function framesIn(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; ;) {
    const parsed = at < bytes.length ? parseFrame(bytes, at) : undefined;
    if (!parsed) return frames;
    frames.push(parsed.frame);
    at = parsed.end;
  }
}

/** `Invoke sum`, `Message 1`, `Cancel`, `Error 4 deadline exceeded`. */
function lineOf(frame: Frame): string {
  if (!isKind(frame, Kind.Error))
    return describeFrame({ ...frame, control: false }).replace(/ s\d+ m\d+/, '');
  const { code, message } = unmarshalError(Buffer.from(frame.data), 0, frame.data.length);
  return `Error ${code} ${message}`;
}
