import { describe, expect, it } from 'vitest';
import {
  marshalControl,
  MAX_CONTROL_SIZE,
  unmarshalControl,
  type ControlMessage,
} from '../../lib/control/control-message.js';
import { ProtocolError } from '../../lib/errors/drpc-error.js';
import { describeError, thrownBy } from '../helpers/recorder.js';

function read(text: string): ControlMessage | undefined {
  // Not at the beginning of its buffer: messages are borrowed ranges.
  const bytes = Buffer.from(`##${text}##`);
  return unmarshalControl(bytes, 2, bytes.length - 2);
}

const settings = { streamWindow: 65_536, maxMessageSize: 1 };

describe('marshalControl and unmarshalControl', () => {
  it.each<ControlMessage>([
    { type: 'ping', id: 1 },
    { type: 'pong', id: 0 },
    { type: 'goaway', lastStreamId: 7, reason: 'bye' },
    { type: 'goaway', lastStreamId: 2n ** 64n - 1n, reason: '' },
    {
      type: 'settings',
      ...settings,
      maxStreams: 1000,
      pingInterval: 0,
      library: 'nestjs-drpc',
      version: '1.2.3',
    },
  ])('carry $type to the other side as it is', (message) => {
    expect(read(marshalControl(message))).toEqual(message);
  });

  it('carry a limit that is none as the greatest number', () => {
    const unlimited = { type: 'settings', streamWindow: Infinity, maxMessageSize: Infinity } as const;
    const greatest = Number.MAX_SAFE_INTEGER;
    expect(read(marshalControl(unlimited))).toMatchObject({
      streamWindow: greatest,
      maxMessageSize: greatest,
    });
  });

  it('ignore a type that this version does not know', () => {
    expect(read('{"type":"color","id":1}')).toBeUndefined();
  });

  it('ignore fields that this version does not know, and texts that are none', () => {
    const message = { type: 'settings', ...settings, color: 'red', library: { toString: 1 }, version: 7 };
    expect(read(JSON.stringify(message))).toMatchObject({ ...settings, library: '', version: '' });
  });

  it.each([
    ['', 'not JSON'],
    ['{"type":', 'not JSON'],
    ['[]', 'not a JSON object'],
    ['null', 'not a JSON object'],
    ['7', 'not a JSON object'],
    ['{}', 'no type'],
    ['{"type":7}', 'no type'],
    ['{"type":"ping"}', 'id is undefined'],
    ['{"type":"ping","id":-1}', 'id is -1: it must be a whole number of at least 0'],
    ['{"type":"ping","id":1.5}', 'id is 1.5'],
    ['{"type":"pong","id":"1"}', 'id is a string'],
    ['{"type":"goaway","lastStreamId":-1}', 'lastStreamId is -1'],
    ['{"type":"goaway","lastStreamId":"x"}', 'lastStreamId is a string'],
    ['{"type":"settings","maxMessageSize":1}', 'streamWindow is undefined'],
    [
      '{"type":"settings","streamWindow":65535,"maxMessageSize":1}',
      'streamWindow is 65535: it must be a whole number of at least 65536',
    ],
    ['{"type":"settings","streamWindow":65536,"maxMessageSize":0}', 'maxMessageSize is 0'],
    ['{"type":"settings","streamWindow":{"valueOf":1},"maxMessageSize":1}', 'streamWindow is an Object'],
    [
      '{"type":"settings","streamWindow":{"constructor":{"name":"\\n[Nest] all is well"}},"maxMessageSize":1}',
      'streamWindow is an object: it must be a whole number of at least 65536',
    ],
    [
      '{"type":"settings","streamWindow":65536,"maxMessageSize":1,"maxStreams":0}',
      'maxStreams is 0: it must be a whole number of at least 1',
    ],
  ])('refuse %s', (text, reason) => {
    const error = thrownBy(() => read(text));
    expect(error).toBeInstanceOf(ProtocolError);
    expect(describeError(error)).toContain(reason);
  });

  it('take 4 KiB and refuse one byte more', () => {
    const padded = (size: number): string => {
      const empty = JSON.stringify({ type: 'goaway', lastStreamId: 1, reason: '' });
      return JSON.stringify({ type: 'goaway', lastStreamId: 1, reason: 'x'.repeat(size - empty.length) });
    };
    expect(read(padded(MAX_CONTROL_SIZE))).toMatchObject({ type: 'goaway' });
    expect(describeError(thrownBy(() => read(padded(MAX_CONTROL_SIZE + 1))))).toContain(
      '4097 bytes: at most 4096 are allowed',
    );
  });

  it('is not led astray by names of Object.prototype', () => {
    expect(read('{"type":"constructor"}')).toBeUndefined();
    expect(read('{"type":"ping","id":1,"__proto__":{"type":"pong"}}')).toEqual({ type: 'ping', id: 1 });
  });
});
