/** Longest text of a peer that goes into a log line or an error message, in bytes. */
const MAX_NAME_SIZE = 256;

const CUT_MARK = '...';

/** Printable ASCII but the backslash: the usual name, which needs no work. */
const PLAIN = /^[\x20-\x5b\x5d-\x7e]*$/;

/**
 * What a terminal or a log reader would not show as a character of its own: controls, line and paragraph
 * separators, spaces that look like the plain one, direction marks, half surrogates, unassigned characters.
 * The backslash too, so that two names never read the same.
 */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}\\]|(?! )\p{Zs}/u;

/** Of those, what may not stand in a text of several lines. */
const UNPRINTABLE_IN_TEXT = /(?![\n\\])(?:[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs})/u;

/**
 * A name that came from a peer, made fit for a log line or an error message: unprintable characters become
 * `\n`, `\x1b` or `\u{202e}`, and the result, a final `...` included, is at most `max` bytes of UTF-8.
 */
export function escapeName(text: string, max = MAX_NAME_SIZE): string {
  if (text.length <= max && PLAIN.test(text)) return text;
  return escapeChars(text, max, UNPRINTABLE);
}

/** As {@link escapeName}, for a text of several lines, a stack trace say: its newlines and backslashes stay. */
export function escapeText(text: string, max: number): string {
  return escapeChars(text, max, UNPRINTABLE_IN_TEXT);
}

function escapeChars(text: string, max: number, unprintable: RegExp): string {
  // A character is at least one byte, so nothing past the first `max + 1` can matter.
  let out = '';
  let size = 0;
  let fitsWithMark = 0; // length of `out` that still leaves room for the mark
  for (const char of text.slice(0, max + 1)) {
    const shown = unprintable.test(char) ? escapeChar(char) : char;
    size += Buffer.byteLength(shown);
    if (size > max) return out.slice(0, fitsWithMark) + CUT_MARK.slice(0, max);
    out += shown;
    if (size + CUT_MARK.length <= max) fitsWithMark = out.length;
  }
  return out;
}

function escapeChar(char: string): string {
  switch (char) {
    case '\\':
      return '\\\\';
    case '\n':
      return '\\n';
    case '\r':
      return '\\r';
    case '\t':
      return '\\t';
  }
  const code = char.codePointAt(0)!;
  return code <= 0xff ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}
