import type { MessageHandler } from '@nestjs/microservices';
import type { MessageRule, MessageValidator } from '../bridge/message-validator.js';
import type { Encoding } from '../encoding/encoding.js';

/** How a handler takes its request. */
export enum RequestShape {
  /** One message. */
  One,
  /** `@DrpcStream()`. */
  Observable,
  /** `@DrpcStream({ as: 'iterable' })`. */
  Iterable,
}

/** What is done for one rpc name. */
export interface Route {
  readonly rpc: string;
  readonly isEvent: boolean;
  /** One, or for an event any number. */
  readonly handlers: MessageHandler[];
  readonly request: RequestShape;
  /** A unary protobuf method: of many values that its handler gives, the last is the answer. */
  readonly answersOnce: boolean;
  readonly encoding: Encoding;
  /** What each message of a stream has to be. */
  readonly rule: MessageRule | undefined;
  /** Made of the rule when the server begins to listen. */
  validate: MessageValidator | undefined;
}
