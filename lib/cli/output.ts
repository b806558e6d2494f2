import { isUint8Array } from 'node:util/types';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import { escapeText } from '../errors/escape.js';

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
  if (details.length > 0) lines.push(...(await showDetails(error)));
  return `${lines.join('\n')}\n`;
}

async function showDetails(error: DrpcError): Promise<string[]> {
  const known = Object.entries(await decodedDetails(error)).map(
    ([name, detail]) => `  ${name}: ${toJson(detail)}`,
  );
  if (known.length > 0) return known;
  return error.details.map(({ typeUrl, value }) => `  ${escapeText(typeUrl, 256)}: ${value.length} bytes`);
}

/** Decoded where the package is there that does it. */
async function decodedDetails(error: DrpcError): Promise<object> {
  try {
    const { decodeDetails } = await import('../service/error-details.js');
    return decodeDetails(error);
  } catch {
    return {};
  }
}

function toJson(value: unknown): string | undefined {
  const text = JSON.stringify(value, plain) as string | undefined;
  return text?.replace(UNSAFE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** What JSON has no form for, and the names of types in messages of protobuf. */
function plain(key: string, value: unknown): unknown {
  if (key === '$typeName' || key === '$unknown') return undefined;
  return typeof value === 'bigint' ? value.toString() : value;
}
