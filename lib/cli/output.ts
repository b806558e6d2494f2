import { isUint8Array } from 'node:util/types';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError, type ErrorDetail } from '../errors/drpc-error.js';
import { escapeName, escapeText } from '../errors/escape.js';

/** Longest message of an error that is shown, in bytes. */
const MAX_MESSAGE = 16 * 1024;

/** What JSON leaves as it is and a terminal may obey: the controls above ASCII, and those that turn the direction of text. */
const UNSAFE = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** An answer for the output: bytes as they are, all else as a line of JSON; nothing, for `undefined`, as an empty line. */
export function showAnswer(answer: unknown): string | Uint8Array {
  return isUint8Array(answer) ? answer : `${toJson(answer) ?? ''}\n`;
}

/** An error for people, in lines; what is known of its details is decoded. */
export async function showError(thrown: unknown): Promise<string> {
  const error = DrpcError.from(thrown);
  const { code, rawCode, details } = error;
  const raw = rawCode === undefined ? '' : `, ${rawCode} on the wire`;
  const lines = [`error ${code} (${DrpcCode[code]}${raw}): ${escapeText(error.message, MAX_MESSAGE)}`];
  if (details.length > 0) lines.push(...(await showDetails(details)));
  return `${lines.join('\n')}\n`;
}

/** A detail is decoded where its type is known, and its size is told where it is not. */
async function showDetails(details: readonly ErrorDetail[]): Promise<string[]> {
  const decode = await detailDecoder();
  return details.map((detail) => {
    const [known] = Object.entries(decode({ details: [detail] }));
    if (known) return `  ${known[0]}: ${toJson(known[1], asInProto)}`;
    return `  ${escapeName(detail.typeUrl)}: ${detail.value.length} bytes`;
  });
}

/** Decodes what is well known, where the package is there that does it. */
async function detailDecoder(): Promise<(error: { details: readonly ErrorDetail[] }) => object> {
  try {
    return (await import('../service/error-details.js')).decodeDetails;
  } catch {
    return () => ({});
  }
}

function toJson(value: unknown, replacer?: (key: string, value: unknown) => unknown): string | undefined {
  const text = JSON.stringify(value, replacer) as string | undefined;
  return text?.replace(UNSAFE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** For messages of @bufbuild/protobuf, which have 64-bit integers and name their types. */
function asInProto(key: string, value: unknown): unknown {
  if (key === '$typeName' || key === '$unknown') return undefined;
  return typeof value === 'bigint' ? value.toString() : value;
}
