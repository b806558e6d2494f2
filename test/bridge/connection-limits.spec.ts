import { describe, expect, it } from 'vitest';
import { CONNECTION_LIMITS, resolveConnectionLimits } from '../../lib/bridge/connection-limits.js';
import { DEFAULT_PING_INTERVAL, DEFAULT_PING_TIMEOUT } from '../../lib/control/control-stream.js';
import { resolveManagerOptions } from '../../lib/manager/manager.options.js';
import { DEFAULT_STREAM_WINDOW, MIN_STREAM_WINDOW } from '../../lib/stream/recv-window.js';

const NAMES = Object.keys(CONNECTION_LIMITS) as (keyof typeof CONNECTION_LIMITS)[];

describe('CONNECTION_LIMITS', () => {
  const core: Record<string, unknown> = {
    ...resolveManagerOptions({ role: 'server' }),
    streamWindow: DEFAULT_STREAM_WINDOW,
    pingInterval: DEFAULT_PING_INTERVAL,
    pingTimeout: DEFAULT_PING_TIMEOUT,
  };

  it.each(NAMES)('has the default of the core for %s, and allows it', (name) => {
    const rule = CONNECTION_LIMITS[name];
    expect(rule.default).toBe(core[name]);
    expect(rule.min).toBeLessThanOrEqual(rule.default);
    expect(rule.max).toBeGreaterThanOrEqual(rule.default);
  });

  it('asks for the least window that the core takes', () => {
    expect(CONNECTION_LIMITS.streamWindow.min).toBe(MIN_STREAM_WINDOW);
  });
});

describe('resolveConnectionLimits', () => {
  it('fills the defaults in, also for an explicit undefined', () => {
    const defaults = Object.fromEntries(NAMES.map((name) => [name, CONNECTION_LIMITS[name].default]));
    expect(resolveConnectionLimits({})).toEqual(defaults);
    expect(resolveConnectionLimits({ maxSendSize: undefined })).toEqual(defaults);
    expect(resolveConnectionLimits({ maxSendSize: 5000 })).toEqual({ ...defaults, maxSendSize: 5000 });
  });

  it.each(NAMES)('refuses a %s below its least', (name) => {
    const { min } = CONNECTION_LIMITS[name];
    expect(() => resolveConnectionLimits({ [name]: min - 1 })).toThrow(
      `option ${name} is ${min - 1}: must be`,
    );
    expect(resolveConnectionLimits({ [name]: min })[name]).toBe(min);
  });
});
