import { describe, expect, it } from 'vitest';
import { DEFAULT_STREAM_WINDOW, MIN_STREAM_WINDOW, RecvWindow } from '../../lib/stream/recv-window.js';

const KIB = 1024;

describe('RecvWindow', () => {
  it('grants after 512 KiB were taken of the default window of 2 MiB', () => {
    expect(DEFAULT_STREAM_WINDOW).toBe(2048 * KIB);
    const window = new RecvWindow(DEFAULT_STREAM_WINDOW);
    expect(window.consume(512 * KIB - 1)).toBe(false);
    expect(window.consume(1)).toBe(true);
  });

  it('grants everything that was taken, once', () => {
    const window = new RecvWindow(DEFAULT_STREAM_WINDOW);
    window.consume(512 * KIB);
    window.consume(100);
    expect(window.takeGrant()).toBe(512 * KIB + 100);
    expect(window.takeGrant()).toBe(0);
  });

  it.each([[MIN_STREAM_WINDOW], [100_000], [1_000_000], [DEFAULT_STREAM_WINDOW], [2 ** 33]])(
    'withholds less than a sender of %i bytes of credit needs to go on',
    (size) => {
      const window = new RecvWindow(size);
      let withheld = 0;
      while (!window.consume(1000)) withheld += 1000;
      // A frame takes half of the window at most.
      expect(withheld).toBeLessThan(size - size / 2);
    },
  );
});
