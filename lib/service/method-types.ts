import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from './protobuf-es.types.js';

/** A message as it is read. */
export type MessageOf<Desc extends DescMessage> = MessageShape<Desc>;

/** What is taken for a message: itself or some of its fields. */
export type FieldsOf<Desc extends DescMessage> = MessageInitShape<Desc>;

/** `Yes` for a method that takes a stream of messages, otherwise `No`. */
export type IfRequestStream<Method extends DescMethod, Yes, No> = Method['methodKind'] extends
  'client_streaming' | 'bidi_streaming'
  ? Yes
  : No;

/** `Yes` for a method that answers a stream of messages, otherwise `No`. */
export type IfResponseStream<Method extends DescMethod, Yes, No> = Method['methodKind'] extends
  'server_streaming' | 'bidi_streaming'
  ? Yes
  : No;
