import type { HttpException } from '@nestjs/common';
import type { FieldViolation } from '../errors/bad-request.js';

/**
 * What a ValidationPipe found wrong with a request; `undefined` for any other exception. With
 * `errorFormat: 'grouped'` it tells the fields, otherwise texts alone.
 */
export function violationsOf(exception: HttpException): FieldViolation[] | undefined {
  const response: unknown = exception.getResponse();
  if (typeof response !== 'object' || response === null) return undefined;
  const { message } = response as { message?: unknown };
  if (Array.isArray(message)) return toViolations('', message);
  if (typeof message !== 'object' || message === null) return undefined;
  const groups = Object.entries(message);
  if (!groups.every(([, texts]) => Array.isArray(texts))) return undefined;
  return groups.flatMap(([field, texts]) => toViolations(field, texts as unknown[]));
}

function toViolations(field: string, texts: readonly unknown[]): FieldViolation[] {
  return texts.map((text) => ({ field, description: String(text) }));
}

/** The same in one line. */
export function textOfViolations(violations: readonly FieldViolation[]): string {
  return violations.map(({ description }) => description).join('; ');
}
