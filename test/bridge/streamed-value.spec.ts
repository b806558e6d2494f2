import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { describe, expect, it } from 'vitest';
import { dropStreamedValue, hearFaults, pull } from '../../lib/bridge/streamed-value.js';

const MISSING = new URL('no-such-file', import.meta.url);

/** Resolves when a stream is over, without a listener for its error. */
function closed(stream: Readable): Promise<void> {
  return new Promise((resolve) => void stream.once('close', resolve));
}

describe('dropStreamedValue', () => {
  it('lets a stream whose file is missing fail unheard', async () => {
    const stream = createReadStream(MISSING);
    dropStreamedValue(stream);
    expect(stream.destroyed).toBe(true);
    expect(stream.listenerCount('error')).toBe(1);
    await closed(stream);
    expect(stream.errored).toMatchObject({ code: 'ENOENT' });
  });

  it('cancels a web stream, and leaves one that has a reader', () => {
    let isCanceled = false;
    const source = { cancel: () => void (isCanceled = true) };
    const read = new ReadableStream(source);
    read.getReader();
    dropStreamedValue(read);
    expect(isCanceled).toBe(false);
    dropStreamedValue(new ReadableStream(source));
    expect(isCanceled).toBe(true);
  });

  it('survives a value that throws when it is looked at, and a stream that can not be destroyed', () => {
    const angry = () => {
      throw new Error('any');
    };
    expect(() => dropStreamedValue(new Proxy({}, { get: angry }))).not.toThrow();
    expect(() => dropStreamedValue(Object.assign(new Readable(), { destroy: angry }))).not.toThrow();
  });

  it.each([undefined, null, 0, 'text', {}, [1]])('does nothing to %j', (value) => {
    expect(() => dropStreamedValue(value)).not.toThrow();
  });
});

describe('pull', () => {
  it('lets a stream fail that was stopped before it was read', async () => {
    const stream = createReadStream(MISSING);
    pull(stream).stop();
    expect(stream.listenerCount('error')).toBe(1);
    await closed(stream);
    expect(stream.errored).toMatchObject({ code: 'ENOENT' });
  });
});

describe('hearFaults', () => {
  it('leaves the error to who pulls the stream later', async () => {
    const stream = createReadStream(MISSING);
    hearFaults(stream);
    await closed(stream);
    await expect(pull(stream).next()).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('listens once, however often it is asked to', () => {
    const stream = new Readable();
    for (let i = 0; i < 20; i++) hearFaults(stream);
    expect(stream.listenerCount('error')).toBe(1);
  });

  it.each([undefined, null, 0, 'text', {}, new ReadableStream()])('does nothing to %j', (value) => {
    expect(() => hearFaults(value)).not.toThrow();
  });
});
