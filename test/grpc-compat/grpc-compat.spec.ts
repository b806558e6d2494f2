import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Contestant } from './contestant.js';
import { makeDrpc } from './drpc.js';
import { makeGrpc } from './grpc.js';

/** The cases of the reference's grpccompat tests, and a few more: what a caller sees, in order. */
type Play = (contestant: Contestant) => Promise<readonly string[]>;

const CASES: readonly [name: string, play: Play, seen: readonly string[]][] = [
  [
    'TestBasic: a unary call',
    async (on) => {
      const { client } = on.unary('Echo', 'a');
      await client.until(/^end/);
      return client.events;
    },
    ['message a', 'end'],
  ],
  [
    'TestBasic: streams in both directions',
    async (on) => {
      const call = on.stream('Echo');
      call.send('a');
      call.send('b');
      call.closeSend();
      await call.client.until(/^end/);
      return call.client.events;
    },
    ['message a', 'message b', 'end'],
  ],
  [
    'the server ends first',
    async (on) => {
      const call = on.stream('Early');
      call.send('a');
      await call.client.until(/^end/);
      call.closeSend();
      return call.client.events;
    },
    ['message a', 'end'],
  ],
  [
    'a stream without an answer',
    async (on) => {
      const call = on.stream('Nothing');
      call.send('a');
      await call.client.until(/^end/);
      call.closeSend();
      return call.client.events;
    },
    ['end'],
  ],
  [
    'TestError_ErrorPassedBack: unary',
    async (on) => {
      const { client } = on.unary('Fail', 'a');
      await client.until(/^error/);
      return client.events;
    },
    ['error 9 marker'],
  ],
  [
    'TestError_ErrorPassedBack: stream',
    async (on) => {
      const call = on.stream('Fail');
      call.send('a');
      await call.client.until(/^error/);
      return call.client.events;
    },
    ['error 9 marker'],
  ],
  [
    'an error behind a value',
    async (on) => {
      const call = on.stream('FailAfter');
      call.send('a');
      await call.client.until(/^error/);
      return call.client.events;
    },
    ['message a', 'error 9 marker'],
  ],
  [
    'TestCancel_CancelAfterSuccess: unary',
    async (on) => {
      const call = on.unary('Echo', 'a');
      await call.client.until(/^end/);
      call.cancel();
      return settled(on, call.client.events);
    },
    ['message a', 'end'],
  ],
  [
    'TestCancel_CancelAfterSuccess: stream',
    async (on) => {
      const call = on.stream('Echo');
      call.closeSend();
      await call.client.until(/^end/);
      call.cancel();
      return settled(on, call.client.events);
    },
    ['end'],
  ],
  [
    'TestCancel_CancelAfterError: unary',
    async (on) => {
      const call = on.unary('Fail', 'a');
      await call.client.until(/^error/);
      call.cancel();
      return settled(on, call.client.events);
    },
    ['error 9 marker'],
  ],
  [
    'TestCancel_CancelAfterError: stream',
    async (on) => {
      const call = on.stream('Fail');
      call.send('a');
      await call.client.until(/^error/);
      call.cancel();
      return settled(on, call.client.events);
    },
    ['error 9 marker'],
  ],
  [
    'TestCancel_ErrorAfterCancel: unary',
    async (on) => {
      const call = on.unary('Hang', 'a');
      await on.handlers.until(/^begun Hang/);
      call.cancel();
      await call.client.until(/^error/);
      await on.handlers.until(/^canceled/);
      return settled(on, call.client.events);
    },
    ['error 1'],
  ],
  [
    'TestCancel_ErrorAfterCancel: stream',
    async (on) => {
      const call = on.stream('Hang');
      await on.handlers.until(/^begun Hang/);
      call.cancel();
      await call.client.until(/^error/);
      await on.handlers.until(/^canceled/);
      return settled(on, call.client.events);
    },
    ['error 1'],
  ],
  [
    'a cancel between two values',
    async (on) => {
      const call = on.stream('Echo');
      call.send('a');
      await call.client.until(/^message/);
      call.cancel();
      await call.client.until(/^error/);
      await on.handlers.until(/^canceled/);
      return call.client.events;
    },
    ['message a', 'error 1'],
  ],
  [
    'a cancel in the turn of the call',
    async (on) => {
      const call = on.unary('Hang', 'a');
      call.cancel();
      await call.client.until(/^error/);
      return call.client.events;
    },
    ['error 1'],
  ],
  [
    'a deadline: unary',
    async (on) => {
      const { client } = on.unary('Hang', 'a', 100);
      await client.until(/^error/);
      return client.events;
    },
    ['error 4'],
  ],
  [
    'a deadline: stream',
    async (on) => {
      const { client } = on.stream('Hang', 100);
      await client.until(/^error/);
      return client.events;
    },
    ['error 4'],
  ],
  [
    'a method that nobody serves',
    async (on) => {
      const { client } = on.unary('Unknown', 'a');
      await client.until(/^error/);
      return client.events;
    },
    ['error 12'],
  ],
];

/** What was seen after another call has come and gone: nothing may have been added. */
async function settled(on: Contestant, events: readonly string[]): Promise<readonly string[]> {
  await on.unary('Echo', 'z').client.until(/^end/);
  return events;
}

describe.each([
  ['@grpc/grpc-js', makeGrpc],
  ['this library', makeDrpc],
] as const)('a caller of %s', (_name, make) => {
  let contestant: Contestant;

  beforeEach(async () => {
    contestant = await make();
  });

  afterEach(() => contestant.close());

  it.each(CASES)('sees the same: %s', async (_case, play, seen) => {
    expect(await play(contestant)).toEqual(seen);
  });
});
