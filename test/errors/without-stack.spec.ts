import { describe, expect, it } from 'vitest';

import { CanceledError } from '../../lib/errors/drpc-error.js';
import { withoutStack } from '../../lib/errors/without-stack.js';

describe('withoutStack', () => {
  it('makes the error with no frames in its stack', () => {
    const error = withoutStack(() => new CanceledError());
    expect(error).toBeInstanceOf(CanceledError);
    expect(error.stack).not.toContain('\n');
  });

  it('leaves the traces of other errors as they were', () => {
    const limit = Error.stackTraceLimit;
    withoutStack(() => new Error('x'));
    expect(Error.stackTraceLimit).toBe(limit);
    expect(new Error('y').stack).toContain('\n');
  });

  it('does so when making the error fails', () => {
    const limit = Error.stackTraceLimit;
    const make = (): Error => {
      throw new RangeError('no error today');
    };
    expect(() => withoutStack(make)).toThrow(RangeError);
    expect(Error.stackTraceLimit).toBe(limit);
  });

  it('makes the error also where traces cannot be switched off', () => {
    const frozen = Object.getOwnPropertyDescriptor(Error, 'stackTraceLimit')!;
    Object.defineProperty(Error, 'stackTraceLimit', { ...frozen, writable: false });
    try {
      expect(withoutStack(() => new Error('x')).message).toBe('x');
    } finally {
      Object.defineProperty(Error, 'stackTraceLimit', frozen);
    }
  });
});
