import { config, throwError } from 'rxjs';
import { afterEach, expect, it, vi } from 'vitest';
import { mayGoUnheard } from '../../lib/bridge/unheard-end.js';

const before = config.onUnhandledError;

afterEach(() => {
  config.onUnhandledError = before;
});

/** RxJS reports from a timer: those set afterwards run behind it. */
async function reported(error: unknown): Promise<void> {
  throwError(() => error).subscribe();
  await new Promise((resolve) => setTimeout(resolve));
}

it('keeps RxJS from throwing an error that nobody handles, and says so where that is asked for', async () => {
  const hook = vi.fn<(error: unknown) => void>();
  config.onUnhandledError = hook;
  const unheard = vi.fn<() => void>();
  const [quiet, told] = [new Error('quiet'), new Error('told')];
  mayGoUnheard(quiet);
  mayGoUnheard(told, unheard);
  await reported(quiet);
  expect(unheard).not.toHaveBeenCalled();
  await reported(told);
  expect(unheard).toHaveBeenCalledOnce();
  expect(hook).not.toHaveBeenCalled();
});

it.each([new Error('of the application'), 'text', null])(
  'leaves %s to the hook that was there',
  async (error) => {
    const hook = vi.fn<(error: unknown) => void>();
    config.onUnhandledError = hook;
    mayGoUnheard(new Error('quiet'));
    await reported(error);
    expect(hook.mock.calls).toEqual([[error]]);
  },
);

it('throws what nobody handles where there was no hook, as RxJS does', () => {
  config.onUnhandledError = null;
  mayGoUnheard(new Error('quiet'));
  expect(() => config.onUnhandledError!(new Error('of the application'))).toThrow('of the application');
});

it('stays in front of a hook that is set later', async () => {
  const error = new Error('quiet');
  mayGoUnheard(error);
  const hook = vi.fn<(error: unknown) => void>();
  config.onUnhandledError = hook;
  mayGoUnheard(error);
  await reported(error);
  await reported('other');
  expect(hook.mock.calls).toEqual([['other']]);
});
