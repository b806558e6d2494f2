import { CONTROL_RPC, marshalControl } from '../../lib/control/control-message.js';
import { PeerConn } from '../../lib/control/peer-conn.js';
import { PeerServer } from '../../lib/control/peer-server.js';
import { ProtocolError } from '../../lib/errors/drpc-error.js';
import type { Manager } from '../../lib/manager/manager.js';
import type { Random } from '../simulation/random.js';
import { VirtualClock } from '../simulation/virtual-clock.js';
import { frameBytes, mutate, readSlowly, type SlowFrame } from './slow-frames.js';
import { StubSocket } from './stub-socket.js';
import { must, type Target } from './target.js';

const SETTINGS = { streamWindow: 65536, maxMessageSize: 1 << 22, maxStreams: 10, pingInterval: 0 };

/** Messages as peers, newer versions and attackers might send them. */
function messageFor(random: Random): string {
  const value = (): unknown =>
    random.pick([
      0,
      1,
      -1,
      1.5,
      65535,
      65536,
      2 ** 53,
      1e300,
      null,
      true,
      '',
      '7',
      'x'.repeat(300),
      [],
      {},
      { a: { b: 1 } },
    ]);
  const base: Record<string, unknown> = random.pick([
    { type: 'settings', ...SETTINGS },
    { type: 'ping', id: random.int(0, 9) },
    { type: 'pong', id: random.int(0, 9) },
    { type: 'goaway', lastStreamId: random.int(0, 9), reason: 'why' },
    { type: 'tomorrow', what: 1 },
  ]);
  const message = { ...base };
  while (random.chance(0.2)) message[random.pick([...Object.keys(base), 'other'])] = value();
  let json = JSON.stringify(message);
  if (random.chance(0.05))
    json = json.replace('{', '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},');
  if (random.chance(0.03)) json = `{"a":"${'x'.repeat(random.int(4000, 4200))}",${json.slice(1)}`;
  if (random.chance(0.03)) json = '['.repeat(random.int(1, 4100)) + json;
  return random.chance(0.1) ? mutate(random, Buffer.from(json)).toString('latin1') : json;
}

/** What the rules say of a message: it ends the connection, is ignored, or is of this type. */
function judge(text: string, hasSettings: boolean): string {
  if (Buffer.byteLength(text) > 4096) return 'fatal';
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'fatal';
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'fatal';
  const field = (name: string): unknown =>
    Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
  const isCount = (name: string, least: number): boolean =>
    Number.isSafeInteger(field(name)) && (field(name) as number) >= least;
  const type = field('type');
  if (typeof type !== 'string') return 'fatal';
  let isValid = true;
  switch (type) {
    case 'settings':
      isValid =
        !hasSettings &&
        isCount('streamWindow', 65536) &&
        isCount('maxMessageSize', 1) &&
        (!Object.hasOwn(value, 'maxStreams') || isCount('maxStreams', 1)) &&
        (!Object.hasOwn(value, 'pingInterval') || isCount('pingInterval', 0));
      break;
    case 'ping':
    case 'pong':
      isValid = hasSettings && isCount('id', 0);
      break;
    case 'goaway': {
      const id = field('lastStreamId');
      isValid =
        hasSettings && (isCount('lastStreamId', 0) || (typeof id === 'string' && /^\d{1,20}$/.test(id)));
      break;
    }
    default:
      return 'ignored';
  }
  return isValid ? type : 'fatal';
}

/** Random messages on the control stream of a server, and of a client: each is taken, ignored, or the end. */
export const controlTarget: Target = {
  name: 'control',
  async run(random) {
    const clock = new VirtualClock();
    const socket = new StubSocket(clock);
    const isServer = random.chance(0.5);
    const options = { clock, pingInterval: 0, maxSendSize: 1 << 22 };
    let cause: Error | undefined;
    let connecting: Promise<unknown> | undefined;
    let manager: Manager | undefined;
    if (isServer)
      manager = new PeerServer(socket.duplex, options, {
        terminated: (error) => {
          cause ??= error;
        },
      }).manager;
    else {
      connecting = PeerConn.connect(socket.duplex, options, {
        terminated: (error) => {
          cause ??= error;
        },
      }).then(
        (conn) => (manager = conn.manager),
        () => undefined,
      );
    }
    let messageId = 0n;
    const send = (kind: number, data: string, done = true): void => {
      const frame: SlowFrame = {
        kind,
        done,
        control: false,
        streamId: 1n,
        messageId,
        data: Buffer.from(data),
      };
      socket.feed(frameBytes(frame));
      socket.settle();
    };
    if (isServer) {
      messageId++;
      send(1, CONTROL_RPC);
    }
    let hasSettings = false;
    let isDead = false;
    let pings = 0;
    for (let i = random.int(1, 12); i > 0; i--) {
      const text =
        i > 1 && !hasSettings && random.chance(0.8)
          ? marshalControl({ type: 'settings', ...SETTINGS })
          : messageFor(random);
      const verdict = isDead ? 'nothing' : judge(text, hasSettings);
      messageId++;
      const cut = random.chance(0.1) ? random.int(1, text.length) : 0;
      if (cut > 0) send(2, text.slice(0, cut), false);
      send(2, text.slice(cut));
      if (verdict === 'fatal') isDead = true;
      if (verdict === 'settings') hasSettings = true;
      if (verdict === 'ping') pings++;
      must(
        socket.destroyed === isDead,
        () => `dead: ${socket.destroyed} (${String(cause)}) after ${verdict}: ${text.slice(0, 500)}`,
      );
    }
    if (connecting && (hasSettings || isDead)) await connecting;
    const pongs = readSlowly(Buffer.concat(socket.written), 1 << 20).frames.filter(
      ({ kind, data }) => kind === 2 && data.includes('"pong"'),
    );
    must(isDead || pongs.length === pings, () => `${pongs.length} pongs for ${pings} pings`);
    must(({} as Record<string, unknown>).polluted === undefined, 'a prototype was polluted');
    must(!isDead || cause instanceof ProtocolError, () => `ended by ${String(cause)}`);
    manager?.terminate(new ProtocolError('over'));
    socket.settle();
    if (manager) {
      must(clock.pending === 0, `${clock.pending} timers at the end`);
      must(manager.pool.usage.lent === 0, `${manager.pool.usage.lent} buffers lent at the end`);
      must(manager.slots === 0, `${manager.slots} slots taken at the end`);
    }
  },
};
