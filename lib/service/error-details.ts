import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf';
import type { ErrorDetail } from '../errors/drpc-error.js';
import {
  BadRequestSchema,
  DebugInfoSchema,
  ErrorInfoSchema,
  HelpSchema,
  LocalizedMessageSchema,
  PreconditionFailureSchema,
  QuotaFailureSchema,
  RequestInfoSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from './google-rpc/error_details_pb.js';

const SCHEMAS = {
  badRequest: BadRequestSchema,
  debugInfo: DebugInfoSchema,
  errorInfo: ErrorInfoSchema,
  help: HelpSchema,
  localizedMessage: LocalizedMessageSchema,
  preconditionFailure: PreconditionFailureSchema,
  quotaFailure: QuotaFailureSchema,
  requestInfo: RequestInfoSchema,
  resourceInfo: ResourceInfoSchema,
  retryInfo: RetryInfoSchema,
} as const;

const NAMES = Object.keys(SCHEMAS) as (keyof typeof SCHEMAS)[];

/** The well-known details of an error: google.rpc's messages, the first of each type. */
export type WellKnownDetails = {
  readonly [Name in keyof typeof SCHEMAS]?: MessageShape<(typeof SCHEMAS)[Name]>;
};

/** What has details: a DrpcError or DrpcException, or anything alike. */
interface WithDetails {
  readonly details: readonly ErrorDetail[];
}

/**
 * Reads the well-known details of whatever a call failed with: `decodeDetails(error).badRequest?.fieldViolations`.
 * Values without details have none, and details that are garbled are left out.
 */
export function decodeDetails(error: unknown): WellKnownDetails {
  const details = detailsOf(error);
  const found: Record<string, unknown> = {};
  for (const name of NAMES) {
    const [first] = messagesOf(details, SCHEMAS[name]);
    if (first) found[name] = first;
  }
  return found;
}

/** The details of an error that are messages of one type, in their order; garbled ones are left out. */
export function findDetails<Desc extends DescMessage>(error: unknown, schema: Desc): MessageShape<Desc>[] {
  return messagesOf(detailsOf(error), schema);
}

/** Packs a message, or its fields, into a detail of an error. */
export function encodeDetail<Desc extends DescMessage>(
  schema: Desc,
  message: MessageInitShape<Desc>,
): ErrorDetail {
  return {
    typeUrl: `type.googleapis.com/${schema.typeName}`,
    value: toBinary(schema, create(schema, message)),
  };
}

type FieldsOf<Name extends keyof typeof SCHEMAS> = MessageInitShape<(typeof SCHEMAS)[Name]>;

/** What is wrong with the fields of a request. */
export function badRequest(
  fieldViolations: NonNullable<FieldsOf<'badRequest'>['fieldViolations']>,
): ErrorDetail {
  return encodeDetail(BadRequestSchema, { fieldViolations });
}

/** When the call may be tried again. @param delay the least time to wait before it, in ms */
export function retryInfo(delay: number): ErrorDetail {
  const seconds = Math.trunc(delay / 1000);
  const nanos = Math.round((delay - seconds * 1000) * 1e6);
  return encodeDetail(RetryInfoSchema, { retryDelay: { seconds: BigInt(seconds), nanos } });
}

/** Why an error happened, for programs. */
export function errorInfo(info: FieldsOf<'errorInfo'>): ErrorDetail {
  return encodeDetail(ErrorInfoSchema, info);
}

/** Which quota is used up. */
export function quotaFailure(violations: NonNullable<FieldsOf<'quotaFailure'>['violations']>): ErrorDetail {
  return encodeDetail(QuotaFailureSchema, { violations });
}

/** Which conditions of the call were not met. */
export function preconditionFailure(
  violations: NonNullable<FieldsOf<'preconditionFailure'>['violations']>,
): ErrorDetail {
  return encodeDetail(PreconditionFailureSchema, { violations });
}

function detailsOf(error: unknown): readonly ErrorDetail[] {
  const { details } = (error ?? {}) as Partial<WithDetails>;
  return Array.isArray(details) ? (details as readonly ErrorDetail[]) : [];
}

function messagesOf<Desc extends DescMessage>(
  details: readonly ErrorDetail[],
  schema: Desc,
): MessageShape<Desc>[] {
  return details.flatMap(({ typeUrl, value }) => {
    // Only what stands behind the last slash names the type; the host before it may be any.
    if (typeUrl.slice(typeUrl.lastIndexOf('/') + 1) !== schema.typeName) return [];
    try {
      return [fromBinary(schema, value)];
    } catch {
      return [];
    }
  });
}
