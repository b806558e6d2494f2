import type { Encoding } from '../encoding/encoding.js';

/** The messages of one type, by the functions of a library. */
export interface MessageCodec {
  /** @param value neither `undefined` nor `null` */
  readonly encode: (value: unknown) => Uint8Array;
  /** @param bytes the message's for good */
  readonly decode: (bytes: Uint8Array) => unknown;
}

const NO_FIELDS = new Uint8Array(0);

/**
 * Protobuf messages of one type to send and of one to receive. `undefined` and `null` travel as a message without
 * fields, so that a handler without a result answers google.protobuf.Empty.
 */
export class ProtobufEncoding implements Encoding {
  readonly name = 'protobuf';
  readonly #encode: MessageCodec['encode'];
  readonly #decode: MessageCodec['decode'];

  constructor(sent: MessageCodec, received: MessageCodec) {
    this.#encode = sent.encode;
    this.#decode = received.decode;
  }

  marshal(value: unknown): Uint8Array {
    return value === undefined || value === null ? NO_FIELDS : this.#encode(value);
  }

  unmarshal(bytes: Uint8Array): unknown {
    return this.#decode(Buffer.from(bytes));
  }

  // Both libraries make views for fields of type `bytes`, which must not be of borrowed memory.
  unmarshalOwned(bytes: Buffer): unknown {
    return this.#decode(bytes);
  }
}
