import { DrpcCode } from 'nestjs-drpc';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { describeFrame } from '../helpers/frames.js';
import { GoClient, type GoResult } from './helpers/go-client.js';
import { InteropService } from './helpers/interop-service.js';
import { faultsOf, MULTIPLEXING_PEERS, PEERS, STORJ, type GoPeer } from './helpers/peers.js';
import { RecordingProxy } from './helpers/recording-proxy.js';
import { canceledByFrame, type PlayedCancel } from './helpers/soft-cancel.js';
import { describeWithGo } from './helpers/with-go.js';

/** What the client itself judges: it demands the right answers and a connection that is of use afterwards. */
const JUDGED_BY_THE_CLIENT = [
  ...['unary', 'empty', 'split', '4mib', 'metadata', 'nil'],
  ...['server-stream', 'server-stream-none', 'server-stream-large'],
  ...['client-stream', 'client-stream-none', 'client-stream-large'],
  ...['bidi', 'bidi-burst', 'early-end', 'early-end-unread', 'close-early', 'close-early-large'],
  ...['error-after-values', 'connection-lost', 'sequential', 'queue'],
  ...['cancel-before', 'cancel-after-end'],
];

/** Scenarios that cancel, and the handlers they cancel. */
const CANCELS = [
  ['cancel-unary', 'Hang'],
  ['cancel-server-stream', 'Endless'],
  ['cancel-client-stream', 'Sink'],
  ['cancel-bidi', 'Chat'],
] as const;

describeWithGo.each(PEERS)('a Go client (%s) of a Nest service', (_, peer) => {
  const { profile } = peer;
  const { play, playCancel, canceled, service } = useService(peer);

  it.each(JUDGED_BY_THE_CLIENT)('%s', async (scenario) => {
    expect(await play(scenario)).toMatchObject({ scenario, ok: true });
  });

  it('error-code, with details where its errors have them', async () => {
    const result = await play('error-code');

    expect(result).toMatchObject({ ok: true, code: 5, error: 'no such thing: ünïcode' });
    expect(result.details?.map(({ typeUrl }) => typeUrl)).toEqual(
      profile === 'storj' ? undefined : ['type.googleapis.com/google.rpc.ErrorInfo'],
    );
  });

  it('too-large: code 8, and the connection lives', async () => {
    expect(await play('too-large')).toMatchObject({ ok: true, connection: 'open' });
  });

  it('unknown-rpc: code 12', async () => {
    const result = await play('unknown-rpc', '--expect-unknown', String(DrpcCode.Unimplemented));

    expect(result).toMatchObject({
      ok: true,
      connection: 'open',
      error: 'protocol error: unknown rpc: "/interop.Interop/Missing"',
    });
  });

  it.each(CANCELS)('%s: the handler is told', async (scenario, handler) => {
    const result = await canceledByFrame(async () => {
      const played = await playCancel(scenario, handler);
      await canceled(handler);
      return played;
    });

    expect(result).toMatchObject({ ok: true, class: 'canceled', connection: 'open' });
  });

  it.each([
    ['deadline', 'Hang'],
    ['deadline-stream', 'Endless'],
  ])('%s: the handler is told', async (scenario, handler) => {
    service().log.clear();

    const result = await play(scenario);

    expect(result).toMatchObject({ ok: true, class: 'deadline', connection: 'open' });
    await canceled(handler);
  });

  it('connection lost at its end: the handler is told', async () => {
    const { log } = service();
    log.clear();
    const proxy = await record(peer, service());
    const client = await GoClient.start(peer.module, proxy.port, 'cancel-bidi', peer.flags);
    await client.ready();
    await log.seen('start Chat');

    proxy.cut();

    await canceled('Chat');
    client.goOn();
    expect(await client.result()).toMatchObject({ ok: false });
  });

  it('sees nothing of the control stream, nor of anything it did not ask for', async () => {
    const proxy = await record(peer, service());
    await GoClient.play(peer.module, proxy.port, 'unary', peer.flags);

    // Its one call, and the end of that.
    expect(proxy.recordings.map(({ serverFrames }) => serverFrames.map(describeFrame))).toEqual([
      ['Message s1 m1 hello', 'CloseSend s1 m2'],
    ]);
  });

  it('drpc-compression: code 12, and the connection lives', async () => {
    const result = await play('unknown-rpc', ...peer.compression);

    expect(result).toMatchObject({
      class: 'rpc',
      code: DrpcCode.Unimplemented,
      error: 'compression "snappy" is not supported: send messages without drpc-compression',
      // What it says of the second call, on the same connection, which is refused like the first.
      problem: expect.stringContaining('compression "snappy" is not supported') as string,
    });
  });
});

describeWithGo.each(MULTIPLEXING_PEERS)('many streams of a Go client (%s)', (_, peer) => {
  const { play, cancel, service } = useService(peer);

  it('concurrent: 1,000 streams open at once, then 1,000 calls', async () => {
    expect(await play('concurrent')).toMatchObject({ ok: true });
  });

  it('interleaved: large messages on eight streams at once', async () => {
    expect(await play('interleaved')).toMatchObject({ ok: true });
  });

  it('cancel-isolation: one of three streams is canceled, the others go on', async () => {
    const result = await cancel('cancel-isolation', 'Chat');

    expect(result).toMatchObject({ ok: true, class: 'canceled', connection: 'open' });
    await service().log.seen('end Chat', 3);
    expect(service().log.entries.filter((entry) => entry === 'canceled Chat')).toHaveLength(1);
  });

  it('stalled-reader: a stream that nobody reads holds no other up', async () => {
    expect(await play('stalled-reader')).toMatchObject({ ok: true });
  });

  it('under load: early ends and cancels of several clients at once', async () => {
    const scenarios = [
      'close-early-large',
      'cancel-server-stream',
      'cancel-bidi',
      'cancel-unary',
      'interleaved',
    ];
    const rounds = Array.from({ length: 5 }, () => scenarios).flat();
    const { port } = await record(peer, service());

    const results = await Promise.all(
      [1, 2, 3].map((ms) => GoClient.playAll(peer.module, port, rounds, ms, peer.flags)),
    );

    expect(results.flat().filter(({ ok }) => !ok)).toEqual([]);
  });

  it('max-streams: one stream too many is refused with code 8', async () => {
    const small = await InteropService.start({ plainClients: peer.profile, maxStreams: 5 });
    onTestFinished(() => small.close());
    const { port } = await record(peer, small);
    const expected = ['--max-streams', '5', '--expect-refused', String(DrpcCode.ResourceExhausted)];

    const result = await GoClient.play(peer.module, port, 'max-streams', [...peer.flags, ...expected]);

    expect(result).toMatchObject({
      ok: true,
      error: 'too many concurrent streams: refused: at most 5 concurrent streams',
    });
  });
});

describeWithGo('Go clients with one stream a connection (storj)', () => {
  const { play, cancel, canceled, service } = useService(STORJ);

  it('pool: a hundred calls at once through its pool', async () => {
    expect(await play('pool')).toMatchObject({ ok: true });
  });

  it.each(CANCELS)('%s without --soft-cancel: its connection ends', async (scenario, handler) => {
    const result = await cancel(scenario, handler, []);

    expect(result).toMatchObject({ ok: true, class: 'canceled', connection: 'closed' });
    await canceled(handler);
  });

  // A late frame of an older stream would end such a client: id monotonicity violation.
  it('under load: pools, early ends and cancels of several clients at once', async () => {
    const scenarios = ['pool', 'close-early-large', 'cancel-server-stream', 'cancel-bidi', 'queue'];
    const rounds = Array.from({ length: 5 }, () => scenarios).flat();
    const { port } = await record(STORJ, service());

    const results = await Promise.all(
      [1, 2, 3].map((ms) => GoClient.playAll(STORJ.module, port, rounds, ms, STORJ.flags)),
    );

    expect(results.flat().filter(({ ok }) => !ok)).toEqual([]);
  });
});

/** A service for the tests of a group. */
function useService(peer: GoPeer) {
  let service: InteropService;

  beforeAll(async () => {
    service = await InteropService.start({ plainClients: peer.profile });
  });

  afterAll(() => service.close());

  /** Plays a scenario that cancels, once its handler runs. */
  const playCancel = async (scenario: string, handler: string, args = peer.flags): Promise<PlayedCancel> => {
    const { log } = service;
    log.clear();
    const proxy = await record(peer, service);
    const client = await GoClient.start(peer.module, proxy.port, scenario, args);
    await client.ready();
    await log.seen(`start ${handler}`);
    expect(log.entries).not.toContain(`end ${handler}`);
    client.goOn();
    return { result: await client.result(), proxy };
  };

  return {
    service: () => service,

    play: async (scenario: string, ...more: string[]): Promise<GoResult> => {
      const { port } = await record(peer, service);
      return GoClient.play(peer.module, port, scenario, [...peer.flags, ...more]);
    },

    playCancel,

    cancel: async (...args: Parameters<typeof playCancel>): Promise<GoResult> =>
      (await playCancel(...args)).result,

    /** Resolves when a handler was told to stop, and has. */
    canceled: async (handler: string): Promise<void> => {
      await service.log.seen(`canceled ${handler}`);
      await service.log.seen(`end ${handler}`);
    },
  };
}

/** What a test records is examined at its end: no frame that such a client does not understand. */
async function record(peer: GoPeer, service: InteropService): Promise<RecordingProxy> {
  const proxy = await RecordingProxy.listen(service.port);
  onTestFinished(async () => {
    await proxy.close();
    expect(proxy.recordings).not.toEqual([]);
    for (const recording of proxy.recordings) expect(faultsOf(peer, recording)).toEqual([]);
  });
  return proxy;
}
