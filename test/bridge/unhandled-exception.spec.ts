import { BaseRpcContext, BaseRpcExceptionFilter } from '@nestjs/microservices';
import { NotFoundException, type ArgumentsHost } from '@nestjs/common';
import { lastValueFrom, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import * as own from '../../lib/bridge/unhandled-exception.js';

/** A second copy of the library in the process, with classes of its own. */
const other = (await import('../../lib/bridge/unhandled-exception.js?copy' as string)) as typeof own;

/** What Nest's last filter makes of an exception in a call with this context. */
async function filtered(exception: unknown, context: unknown): Promise<unknown> {
  const host = { getArgs: () => ['payload', context] } as unknown as ArgumentsHost;
  const told = new BaseRpcExceptionFilter().catch(exception as never, host) as Observable<unknown>;
  return lastValueFrom(told).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
}

describe('passUnhandledExceptions', () => {
  own.passUnhandledExceptions();
  other.passUnhandledExceptions();

  it.each([
    ['its own copy of the library', own],
    ['another copy', other],
  ])('lets the exceptions of calls of %s through, so that both know them', async (_whose, copy) => {
    class Context extends copy.MappingContext {}
    const exception = new NotFoundException();
    const thrown = await filtered(exception, new Context([]));
    expect(own.UnhandledException.isOne(thrown)).toBe(true);
    expect(other.UnhandledException.isOne(thrown)).toBe(true);
    expect((thrown as own.UnhandledException).exception).toBe(exception);
  });

  it.each([new (class extends BaseRpcContext {})([]), undefined, null, 'context'])(
    'does not touch calls of other transports: %j',
    async (context) => {
      const thrown = await filtered(new Error('any'), context);
      expect(own.UnhandledException.isOne(thrown)).toBe(false);
      expect(thrown).toMatchObject({ status: 'error' });
    },
  );

  it.each([undefined, null, 'text', {}, { exception: 1 }, new Error('any')])(
    'knows that %j is none',
    (value) => {
      expect(own.UnhandledException.isOne(value)).toBe(false);
    },
  );
});
