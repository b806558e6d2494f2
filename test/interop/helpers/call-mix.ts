import type { DrpcClient } from 'nestjs-drpc';
import { firstValueFrom, from, lastValueFrom, of } from 'rxjs';
import type { Prng } from '../../helpers/prng.js';
import { rpc } from './interop.controller.js';
import { patternBytes } from './peers.js';
import { echo } from './recorded-client.js';

const WORKERS = 8;
const CALLS = 40;
const NOTHING = Buffer.alloc(0);
/** Without a pause it would be millions of messages, all of which the proxy keeps. */
const NOW_AND_THEN = Buffer.from('{"delayMs":1}');

/** Makes calls of all shapes at once and gives many up, in every state; answers those that went wrong. */
export async function playMix(client: DrpcClient, prng: Prng): Promise<string[]> {
  const wrong: string[] = [];
  const work = async (_: unknown, worker: number): Promise<void> => {
    for (let i = 0; i < CALLS; i++) {
      if ((await play(client, prng, worker * CALLS + i)) !== true) wrong.push(`${worker}: ${i}`);
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, work));
  return wrong;
}

async function play(client: DrpcClient, prng: Prng, i: number): Promise<unknown> {
  const text = `call ${i}`;
  switch (prng.int(6)) {
    case 0:
    case 1: {
      const abort = new AbortController();
      // Half of them in the middle of messages of many frames.
      const isUpload = prng.once(2);
      const request = isUpload ? from(Array<Buffer>(20).fill(patternBytes(0, 300_000))) : NOTHING;
      const call = client.call(rpc(isUpload ? 'Sink' : 'Hang'), request, { signal: abort.signal });
      for (let turns = prng.int(50); turns > 0; turns--) await new Promise((go) => setImmediate(go));
      abort.abort(new Error(text));
      // An upload may have been faster.
      return call.then(
        () => isUpload,
        (error: Error) => error.message === text,
      );
    }
    case 2:
      return (await firstValueFrom(client.send<Buffer>(rpc('Endless'), NOW_AND_THEN))).equals(
        Buffer.from('0'),
      );
    case 3:
      return client
        .call(rpc('Fail'), Buffer.from(`{"code":9,"message":"${text}"}`))
        .catch((error: Error) => error.message === text);
    case 4: {
      const messages = of(Buffer.from('a'), Buffer.from('b'));
      return (await lastValueFrom(client.send<Buffer>(rpc('Chat'), messages))).equals(Buffer.from('b'));
    }
    default:
      return (await echo(client, text)) === text;
  }
}
