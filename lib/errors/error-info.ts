import { DrpcCode } from './codes.js';
import { DrpcError, type ErrorDetail } from './drpc-error.js';
import { bytesField, optionalField, ProtobufReader } from './protobuf.js';
import { withoutStack } from './without-stack.js';

/**
 * Why an error happened, for programs: google.rpc.ErrorInfo.
 * @see https://google.aip.dev/193
 */
export interface ErrorInfo {
  /** Constant name of the cause in UPPER_SNAKE_CASE. */
  readonly reason: string;
  /** Who defines the reason. */
  readonly domain: string;
  /** Further facts; a record without prototype where it was received. */
  readonly metadata?: Readonly<Record<string, string>>;
}

const TYPE_NAME = 'google.rpc.ErrorInfo';
const TYPE_URL = `type.googleapis.com/${TYPE_NAME}`;

const REFUSED_REASON = 'STREAM_REFUSED';
const REFUSED_DOMAIN = 'drpc';
/** The mark of a refusal is small, and every error of a peer is looked at: what is larger is not even read. */
const MAX_REFUSAL_SIZE = 4096;

/** Packs an ErrorInfo into a detail of a {@link DrpcError}. */
export function encodeErrorInfo({ reason, domain, metadata = {} }: ErrorInfo): ErrorDetail {
  const entries = Object.entries(metadata).map(([key, value]) =>
    bytesField(3, Buffer.concat([bytesField(1, key), bytesField(2, value)])),
  );
  return {
    typeUrl: TYPE_URL,
    value: Buffer.concat([optionalField(1, reason), optionalField(2, domain), ...entries]),
  };
}

/**
 * Unpacks a detail; `undefined` when it is of another type.
 * @throws ProtocolError when its bytes are not an ErrorInfo.
 */
export function decodeErrorInfo({ typeUrl, value }: ErrorDetail): ErrorInfo | undefined {
  // Only what stands behind the last slash names the type; the host before it may be any.
  if (typeUrl.slice(typeUrl.lastIndexOf('/') + 1) !== TYPE_NAME) return undefined;
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  const reader = new ProtobufReader(bytes, 0, bytes.length);
  const metadata = Object.create(null) as Record<string, string>;
  let reason = '';
  let domain = '';
  while (reader.next()) {
    if (reader.isBytes(1)) reason = reader.text();
    else if (reader.isBytes(2)) domain = reader.text();
    else if (reader.isBytes(3)) {
      const [key, text] = readEntry(new ProtobufReader(bytes, reader.start, reader.end));
      metadata[key] = text;
    }
  }
  return { reason, domain, metadata };
}

/**
 * An error that says "this stream was never started, it is safe to send it again": the server is at a limit of
 * its own (ResourceExhausted) or is shutting down (Unavailable).
 * The detail travels in the status form only; a peer that reads the storj form sees code and message.
 */
export function streamRefused(
  message: string,
  code: DrpcCode.ResourceExhausted | DrpcCode.Unavailable = DrpcCode.ResourceExhausted,
): DrpcError {
  return withoutStack(
    () =>
      new DrpcError(code, message, {
        details: [encodeErrorInfo({ reason: REFUSED_REASON, domain: REFUSED_DOMAIN })],
      }),
  );
}

/**
 * `error` as an application may answer it: without the mark of {@link streamRefused}, which a call of its own to
 * another server may have brought. What has run must not be sent again as if it had not.
 */
export function withoutRefusal(error: DrpcError): DrpcError {
  if (!isStreamRefused(error)) return error;
  const { code, message, details, cause } = error;
  return new DrpcError(code, message, { details: details.filter((detail) => !isRefusal(detail)), cause });
}

/** Whether `error` carries the mark of {@link streamRefused}; an application's own code 8 or 14 does not. */
export function isStreamRefused(error: unknown): boolean {
  return error instanceof DrpcError && error.details.some(isRefusal);
}

function isRefusal(detail: ErrorDetail): boolean {
  if (detail.value.length > MAX_REFUSAL_SIZE) return false;
  try {
    const info = decodeErrorInfo(detail);
    return info !== undefined && info.reason === REFUSED_REASON && info.domain === REFUSED_DOMAIN;
  } catch {
    return false; // what a peer garbled is no permission to send twice
  }
}

function readEntry(reader: ProtobufReader): [key: string, value: string] {
  let key = '';
  let value = '';
  while (reader.next()) {
    if (reader.isBytes(1)) key = reader.text();
    else if (reader.isBytes(2)) value = reader.text();
  }
  return [key, value];
}
