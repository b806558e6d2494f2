import type { ErrorDetail } from './drpc-error.js';
import { bytesField, optionalField } from './protobuf.js';

/** What is wrong with one field of a request. */
export interface FieldViolation {
  /** Its path, the names joined by dots; empty where it is not known. */
  readonly field: string;
  readonly description: string;
}

/** Packs what is wrong with the fields of a request into a detail of a DrpcError: google.rpc.BadRequest. */
export function encodeBadRequest(violations: readonly FieldViolation[]): ErrorDetail {
  const encoded = violations.map(({ field, description }) =>
    bytesField(1, Buffer.concat([optionalField(1, field), optionalField(2, description)])),
  );
  return { typeUrl: 'type.googleapis.com/google.rpc.BadRequest', value: Buffer.concat(encoded) };
}
