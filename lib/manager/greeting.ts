import { ProtocolError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';
import { headerByte } from '../wire/frame.js';
import { Kind } from '../wire/kind.js';

/** Sent by clients in front of their first frame where one port serves several protocols (drpcmigrate). */
export const PREAMBLE = Buffer.from('DRPC!!!1', 'latin1');

/** What a server makes of {@link PREAMBLE}. */
export type PreambleMode = 'accept' | 'require' | 'off';

/** How a Cancel begins: no text, and no TLS. */
const CANCEL = headerByte(Kind.Cancel, true, true);

/** Enough to tell the other protocols apart. */
const SHOWN = 24;

/**
 * Looks at the first bytes a server receives: skips the preamble, and refuses everything that can not be
 * the beginning of DRPC, so that no other protocol can be smuggled in (an HTTP request that a web page
 * sends to a local port, say).
 */
export class Greeting {
  readonly #mode: PreambleMode;
  #seen = 0;

  constructor(mode: PreambleMode) {
    this.#mode = mode;
  }

  /** Whether a preamble has begun whose end has not arrived. */
  get isUnfinished(): boolean {
    return this.#seen > 0 && this.#seen < PREAMBLE.length;
  }

  /**
   * Examines the first chunk, or those that follow while the preamble is incomplete. Answers how many
   * bytes to skip, or -1: all of them, and more are needed.
   * @throws ProtocolError that names what the bytes look like.
   */
  examine(chunk: Buffer): number {
    let at = 0;
    if (this.#mode !== 'off') {
      while (this.#seen < PREAMBLE.length) {
        if (at === chunk.length) return -1;
        if (chunk[at] !== PREAMBLE[this.#seen]) break;
        at++;
        this.#seen++;
      }
      if (this.#seen < PREAMBLE.length && (this.#seen > 0 || this.#mode === 'require')) {
        throw this.#refusal(Buffer.concat([PREAMBLE.subarray(0, this.#seen), chunk.subarray(at)]));
      }
    }
    if (at === chunk.length) return -1;
    if (!isBeginning(chunk[at]!)) throw this.#refusal(chunk.subarray(at));
    return at;
  }

  #refusal(bytes: Buffer): ProtocolError {
    const shown = bytes.subarray(0, SHOWN);
    const rule =
      this.#mode === 'require'
        ? `a connection must begin with the preamble ${PREAMBLE.toString('latin1')}`
        : 'a connection must begin with an Invoke or InvokeMetadata frame';
    return new ProtocolError(
      `${nameProtocol(shown)} on a DRPC port: "${escapeName(shown.toString('latin1'), 64)}"; ${rule}`,
    );
  }
}

/**
 * Refuses the first bytes of a server that speaks another protocol. None of them can begin a frame that is known, but
 * their lengths could announce one whose end never comes.
 * @throws ProtocolError that names what they look like.
 */
export function refuseForeign(bytes: Buffer): void {
  const shown = bytes.subarray(0, SHOWN);
  const isHttp = shown.toString('latin1').startsWith('HTTP/');
  // An alert: what we sent is no handshake.
  if (!isHttp && !(shown[0] === 0x15 && shown[1] === 0x03)) return;
  throw new ProtocolError(
    `the server speaks ${isHttp ? 'HTTP' : 'TLS'}: "${escapeName(shown.toString('latin1'), 64)}"; expected frames of DRPC`,
  );
}

/** Whether the first frame of a client may begin with `first`. */
function isBeginning(first: number): boolean {
  const kind = (first >> 1) & 0x3f;
  // Go sends the Cancel of a call also where its context ended before the Invoke was written.
  return kind === Kind.Invoke || kind === Kind.InvokeMetadata || first === CANCEL;
}

function nameProtocol(bytes: Buffer): string {
  const text = bytes.toString('latin1');
  if (text.startsWith('PRI * HTTP/2')) return 'HTTP/2';
  if (/^(GET|POST|PUT|HEAD|OPTIONS|DELETE|PATCH|CONNECT|TRACE) /.test(text)) return 'HTTP';
  if (bytes[0] === 0x16 && bytes[1] === 0x03) return 'TLS';
  if (text.startsWith('DRPC')) return 'a DRPC preamble';
  return 'an unknown protocol';
}
