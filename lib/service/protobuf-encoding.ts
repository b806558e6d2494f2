import type { Encoding } from '../encoding/encoding.js';

/** What an encoding of protobuf messages is made of: the functions of the library for one message type. */
export interface MessageCodec {
  /** `value` is never `undefined` or `null`. */
  encode(value: unknown): Uint8Array;
  /** `bytes` are the message's for good. */
  decode(bytes: Uint8Array): unknown;
}

const NO_FIELDS = new Uint8Array(0);

/**
 * Messages of one protobuf type. `undefined` and `null` travel as a message
 * without fields, so that a handler without a result answers google.protobuf.Empty.
 */
export class ProtobufEncoding implements Encoding {
  readonly name: string;
  readonly #codec: MessageCodec;

  constructor(typeName: string, codec: MessageCodec) {
    this.name = `protobuf ${typeName}`;
    this.#codec = codec;
  }

  marshal(value: unknown): Uint8Array {
    return value === undefined || value === null ? NO_FIELDS : this.#codec.encode(value);
  }

  unmarshal(bytes: Uint8Array): unknown {
    return this.#codec.decode(Buffer.from(bytes));
  }

  // The libraries make views for fields of type `bytes`, and the borrowed memory is used again.
  unmarshalRange(bytes: Buffer, start: number, end: number): unknown {
    const copy = Buffer.allocUnsafe(end - start);
    bytes.copy(copy, 0, start, end);
    return this.#codec.decode(copy);
  }
}
