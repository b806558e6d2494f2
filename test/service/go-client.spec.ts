import { DrpcCode } from 'nestjs-drpc';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { GoClient, type GoResult } from '../interop/helpers/go-client.js';
import { PEERS } from '../interop/helpers/peers.js';
import { RecordingProxy } from '../interop/helpers/recording-proxy.js';
import { canceledByFrame } from '../interop/helpers/soft-cancel.js';
import { describeWithGo } from '../interop/helpers/with-go.js';
import { GREETERS, GreeterService } from './helpers/interop-greeter.js';

/** What the client itself judges. */
const JUDGED_BY_THE_CLIENT = [
  'greeter-unary',
  'greeter-empty',
  'greeter-server-stream',
  'greeter-client-stream',
  'greeter-bidi',
  'greeter-all-types',
  'greeter-error-after-values',
];

/** Scenarios that cancel, and the handlers they cancel. */
const CANCELS = [
  ['greeter-cancel-unary', 'SayHello'],
  ['greeter-cancel-server-stream', 'ListHellos'],
  ['greeter-cancel-client-stream', 'CollectHellos'],
  ['greeter-cancel-bidi', 'Chat'],
] as const;

const PAIRS = GREETERS.flatMap(([kind, controller, options]) =>
  PEERS.map(([name, peer]) => [kind, name, controller, options, peer] as const),
);

describeWithGo.each(PAIRS)(
  'a Greeter by %s, called from Go (%s)',
  (_kind, _name, controller, options, peer) => {
    let service: GreeterService;

    beforeAll(async () => {
      service = await GreeterService.start(controller, { plainClients: peer.profile, ...options });
    });

    afterAll(() => service.close());

    const play = (scenario: string, ...more: string[]): Promise<GoResult> =>
      GoClient.play(peer.module, service.port, scenario, [...peer.flags, ...more]);

    it.each(JUDGED_BY_THE_CLIENT)('%s', async (scenario) => {
      expect(await play(scenario)).toMatchObject({ scenario, ok: true });
    });

    it('greeter-unary, with the metadata of the call', async () => {
      const { log } = service;
      log.clear();
      const result = await play('greeter-unary', '--metadata', 'token=abc,language=fr');
      expect(result).toMatchObject({ ok: true });
      expect(log.entries).toContain('metadata {"language":"fr","token":"abc"}');
    });

    it('greeter-error, with details where its errors have them', async () => {
      const { details, ...result } = await play('greeter-error');
      expect(result).toMatchObject({ ok: true, code: 7, error: 'not for you' });
      expect(details?.map(({ typeUrl }) => typeUrl)).toEqual(
        peer.profile === 'storj' ? undefined : ['type.googleapis.com/google.rpc.ErrorInfo'],
      );
    });

    it('greeter-unknown: code 12', async () => {
      const result = await play('greeter-unknown', '--expect-unknown', String(DrpcCode.Unimplemented));
      expect(result).toMatchObject({ ok: true, connection: 'open' });
    });

    it.each(CANCELS)('%s: the handler is told', async (scenario, handler) => {
      const { log } = service;
      const result = await canceledByFrame(async () => {
        log.clear();
        const proxy = await RecordingProxy.listen(service.port);
        onTestFinished(() => proxy.close());
        const client = await GoClient.start(peer.module, proxy.port, scenario, peer.flags);
        await client.ready();
        await log.seen(`start ${handler}`);
        client.goOn();
        const played = { result: await client.result(), proxy };
        await log.seen(`canceled ${handler}`);
        await log.seen(`end ${handler}`);
        return played;
      });
      expect(result).toMatchObject({ ok: true, class: 'canceled', connection: 'open' });
    });

    it('greeter-deadline: the handler is told', async () => {
      const { log } = service;
      log.clear();
      expect(await play('greeter-deadline')).toMatchObject({ ok: true, class: 'deadline' });
      await log.seen('canceled SayHello');
      await log.seen('end SayHello');
    });
  },
);
