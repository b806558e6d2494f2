import { describe, expect, it } from 'vitest';
import { startDrpc } from './drpc-peer.js';
import { startGrpc } from './grpc-peer.js';
import {
  MarkerError,
  type StartPeer,
  type ClientStream,
  type Outcome,
  type Peer,
  type PeerOptions,
  type Service,
} from './peer.js';

/** A case that is played with both libraries: what its service does, what its client does and sees. */
interface Case {
  name: string;
  service: (seen: (what: string) => void) => Partial<Service>;
  play: (peer: Peer) => Promise<Outcome[]>;
  /** What the client must see, with either library. */
  client: Outcome[];
  /** What the handlers must see. */
  server?: string[];
  options?: PeerOptions;
}

/** Reads `count` outcomes. */
async function recvAll(stream: ClientStream, count: number): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (let i = 0; i < count; i++) outcomes.push(await stream.recv());
  return outcomes;
}

/** Something that happens once, and who waits for it. */
function event(): { happens: () => void; happened: Promise<void> } {
  let happens!: () => void;
  const happened = new Promise<void>((resolve) => {
    happens = resolve;
  });
  return { happens, happened };
}

const fail = (): Promise<never> => Promise.reject(new MarkerError());

const CASES: Case[] = [
  {
    name: 'basic: unary',
    service: () => ({ unary: { '/s/echo': (request) => Promise.resolve(`${request}!`) } }),
    play: async (peer) => [await peer.unary('/s/echo', 'hello')],
    client: ['message hello!'],
  },
  {
    name: 'basic: an empty request and an empty answer',
    service: () => ({ unary: { '/s/echo': (request) => Promise.resolve(request) } }),
    play: async (peer) => [await peer.unary('/s/echo', '')],
    client: ['message '],
  },
  {
    name: 'basic: client stream',
    service: () => ({
      stream: {
        '/s/count': async (stream) => {
          let count = 0;
          while ((await stream.recv()).startsWith('message')) count++;
          stream.send(`${count}`);
        },
      },
    }),
    play: async (peer) => {
      const stream = peer.stream('/s/count');
      for (let i = 0; i < 5; i++) stream.send(`${i}`);
      stream.closeSend();
      return recvAll(stream, 3);
    },
    client: ['message 5', 'end', 'end'],
  },
  {
    name: 'basic: server stream',
    service: () => ({
      stream: {
        '/s/list': async (stream) => {
          const count = Number((await stream.recv()).slice('message '.length));
          for (let i = 0; i < count; i++) stream.send(`${i}`);
        },
      },
    }),
    play: async (peer) => {
      const stream = peer.stream('/s/list');
      stream.send('3');
      stream.closeSend();
      return recvAll(stream, 4);
    },
    client: ['message 0', 'message 1', 'message 2', 'end'],
  },
  {
    name: 'basic: both directions, in turns, half-closed by the client first',
    service: (seen) => ({
      stream: {
        '/s/chat': async (stream) => {
          for (;;) {
            const outcome = await stream.recv();
            seen(outcome);
            if (outcome === 'end') return stream.send('bye');
            stream.send(outcome.slice('message '.length).toUpperCase());
          }
        },
      },
    }),
    play: async (peer) => {
      const stream = peer.stream('/s/chat');
      stream.send('a');
      const outcomes = [await stream.recv()];
      stream.send('b');
      outcomes.push(await stream.recv());
      stream.closeSend();
      return [...outcomes, ...(await recvAll(stream, 2))];
    },
    client: ['message A', 'message B', 'message bye', 'end'],
    server: ['message a', 'message b', 'end'],
  },
  {
    name: 'basic: the server ends while the client still sends',
    service: () => ({
      stream: {
        '/s/hasty': async (stream) => {
          await stream.recv();
          stream.send('enough');
        },
      },
    }),
    play: async (peer) => {
      const stream = peer.stream('/s/hasty');
      for (let i = 0; i < 20; i++) stream.send(`${i}`);
      return recvAll(stream, 2);
    },
    client: ['message enough', 'end'],
  },
  {
    name: 'metadata arrives, its keys in lower case',
    service: () => ({
      unary: { '/s/who': (_request, { metadata }) => Promise.resolve(metadata['user-name']!) },
    }),
    play: async (peer) => [await peer.unary('/s/who', '', { metadata: { 'User-Name': 'ann' } })],
    client: ['message ann'],
  },
  {
    name: 'error passed back: unary',
    service: () => ({ unary: { '/s/fail': fail } }),
    play: async (peer) => [await peer.unary('/s/fail', 'x')],
    client: ['marker'],
  },
  {
    name: 'error passed back: behind the messages of a stream',
    service: () => ({
      stream: {
        '/s/fail': async (stream) => {
          stream.send('1');
          stream.send('2');
          await fail();
        },
      },
    }),
    play: (peer) => recvAll(peer.stream('/s/fail'), 4),
    client: ['message 1', 'message 2', 'marker', 'marker'],
  },
  {
    name: 'error passed back: before the request was read',
    service: () => ({ stream: { '/s/fail': fail } }),
    play: async (peer) => {
      const stream = peer.stream('/s/fail');
      stream.send('unread');
      return recvAll(stream, 1);
    },
    client: ['marker'],
  },
  {
    name: 'a handler that breaks by mistake: code 2',
    service: () => ({ unary: { '/s/break': () => Promise.reject(new TypeError('oops')) } }),
    play: async (peer) => [await peer.unary('/s/break', 'x')],
    client: ['code 2'],
  },
  {
    name: 'an unknown method: code 12, and the connection goes on',
    service: () => ({ unary: { '/s/known': () => Promise.resolve('here') } }),
    play: async (peer) => [await peer.unary('/s/unknown', 'x'), await peer.unary('/s/known', 'x')],
    client: ['code 12', 'message here'],
  },
  {
    name: 'an unknown method as a stream: code 12',
    service: () => ({}),
    play: async (peer) => {
      const stream = peer.stream('/s/unknown');
      stream.send('x');
      return recvAll(stream, 2);
    },
    client: ['code 12', 'code 12'],
  },
  {
    name: 'canceled before the call: no handler runs',
    service: (seen) => ({
      unary: {
        '/s/never': () => Promise.resolve(seen('ran') ?? ''),
        '/s/after': () => Promise.resolve('after'),
      },
    }),
    play: async (peer) => [
      await peer.unary('/s/never', 'x', { signal: AbortSignal.abort() }),
      await peer.unary('/s/after', 'x'),
    ],
    client: ['canceled', 'message after'],
    server: [],
  },
  {
    name: 'canceled while a unary call waits: the handler is told',
    service: (seen) => ({
      unary: {
        '/s/wait': async (_request, { gone }) => {
          seen('started');
          started.happens();
          await gone;
          seen('gone');
          ended.happens();
          return 'late';
        },
      },
    }),
    play: async (peer) => {
      const controller = new AbortController();
      const call = peer.unary('/s/wait', 'x', { signal: controller.signal });
      await started.happened;
      controller.abort();
      const outcome = await call;
      await ended.happened;
      return [outcome];
    },
    client: ['canceled'],
    server: ['started', 'gone'],
  },
  {
    name: 'cancel after success changes nothing',
    service: (seen) => ({
      unary: {
        '/s/quick': (_request, { gone }) => {
          void gone.then(() => seen('gone'));
          return Promise.resolve('done');
        },
      },
    }),
    play: async (peer) => {
      const controller = new AbortController();
      const outcome = await peer.unary('/s/quick', 'x', { signal: controller.signal });
      controller.abort();
      return [outcome, await peer.unary('/s/quick', 'x')];
    },
    client: ['message done', 'message done'],
    server: [],
  },
  {
    name: 'cancel after the end of a stream changes nothing',
    service: () => ({ stream: { '/s/quick': (stream) => Promise.resolve(stream.send('done')) } }),
    play: async (peer) => {
      const stream = peer.stream('/s/quick');
      stream.closeSend();
      const outcomes = await recvAll(stream, 2);
      stream.cancel();
      return [...outcomes, await stream.recv()];
    },
    client: ['message done', 'end', 'end'],
  },
  {
    name: 'cancel after an error leaves the error',
    service: () => ({ stream: { '/s/fail': fail } }),
    play: async (peer) => {
      const stream = peer.stream('/s/fail');
      const first = await stream.recv();
      stream.cancel();
      return [first, await stream.recv()];
    },
    client: ['marker', 'marker'],
  },
  {
    name: 'an error after a cancel is not seen',
    service: (seen) => ({
      stream: {
        '/s/late': async (stream) => {
          stream.send('started');
          await stream.gone;
          seen('gone');
          ended.happens();
          await fail();
        },
      },
    }),
    play: async (peer) => {
      const stream = peer.stream('/s/late');
      const first = await stream.recv();
      stream.cancel();
      const second = await stream.recv();
      await ended.happened;
      return [first, second, await stream.recv()];
    },
    client: ['message started', 'canceled', 'canceled'],
    server: ['gone'],
  },
  {
    name: 'cancel in the middle of a stream: the handler that reads is told',
    service: (seen) => ({
      stream: {
        '/s/read': async (stream) => {
          seen(await stream.recv());
          started.happens();
          seen(await stream.recv());
          ended.happens();
        },
      },
    }),
    play: async (peer) => {
      const stream = peer.stream('/s/read');
      stream.send('one');
      await started.happened;
      stream.cancel();
      const outcome = await stream.recv();
      await ended.happened;
      return [outcome];
    },
    client: ['canceled'],
    server: ['message one', 'canceled'],
  },
  {
    name: 'canceling one call leaves the others alone',
    service: () => ({
      unary: {
        '/s/wait': async (_request, { gone }) => {
          started.happens();
          await gone;
          return 'late';
        },
        '/s/echo': (request) => Promise.resolve(request),
      },
    }),
    play: async (peer) => {
      const controller = new AbortController();
      const waiting = peer.unary('/s/wait', 'x', { signal: controller.signal });
      await started.happened;
      const others = Promise.all([1, 2, 3].map((n) => peer.unary('/s/echo', `${n}`)));
      controller.abort();
      return [await waiting, ...(await others)];
    },
    client: ['canceled', 'message 1', 'message 2', 'message 3'],
  },
  {
    name: 'a deadline that passes: unary, and the handler is told',
    service: (seen) => ({
      unary: {
        '/s/wait': async (_request, { gone }) => {
          await gone;
          seen('gone');
          ended.happens();
          return 'late';
        },
      },
    }),
    play: async (peer) => {
      const outcome = await peer.unary('/s/wait', 'x', { timeout: 200 });
      await ended.happened;
      return [outcome];
    },
    client: ['deadline'],
    server: ['gone'],
  },
  {
    name: 'a deadline that passes in the middle of a stream',
    service: () => ({
      stream: {
        '/s/wait': async (stream) => {
          stream.send('first');
          await stream.gone;
        },
      },
    }),
    play: (peer) => recvAll(peer.stream('/s/wait', { timeout: 200 }), 3),
    client: ['message first', 'deadline', 'deadline'],
  },
  {
    name: 'a deadline that is far changes nothing',
    service: () => ({ unary: { '/s/echo': (request) => Promise.resolve(request) } }),
    play: async (peer) => [await peer.unary('/s/echo', 'x', { timeout: 60_000 })],
    client: ['message x'],
  },
  {
    name: 'an answer over the limit of the client: code 8, and the connection goes on',
    options: { maxMessageSize: 1000 },
    service: () => ({ unary: { '/s/long': (request) => Promise.resolve('x'.repeat(Number(request))) } }),
    play: async (peer) => [await peer.unary('/s/long', '2000'), await peer.unary('/s/long', '3')],
    client: ['code 8', 'message xxx'],
  },
  {
    name: 'a request over the limit of the server: code 8, and the connection goes on',
    options: { maxMessageSize: 1000 },
    service: () => ({ unary: { '/s/size': (request) => Promise.resolve(`${request.length}`) } }),
    play: async (peer) => [await peer.unary('/s/size', 'x'.repeat(2000)), await peer.unary('/s/size', 'xxx')],
    client: ['code 8', 'message 3'],
  },
  {
    name: 'a connection that breaks: code 14 for every call on it, and the handlers are told',
    service: (seen) => ({
      unary: {
        '/s/wait': async (_request, { gone }) => {
          started.happens();
          await gone;
          seen('gone');
          ended.happens();
          return 'late';
        },
      },
      stream: {
        '/s/stream': async (stream) => {
          stream.send('first');
          await stream.gone;
        },
      },
    }),
    play: async (peer) => {
      const call = peer.unary('/s/wait', 'x');
      const stream = peer.stream('/s/stream');
      const first = await stream.recv();
      await started.happened;
      peer.breakConnection();
      const outcomes = [await call, first, await stream.recv()];
      await ended.happened;
      return outcomes;
    },
    client: ['code 14', 'message first', 'code 14'],
    server: ['gone'],
  },
];

// Made anew for each run of a case.
let started = event();
let ended = event();

/** Plays a case with one library; what its client and its handlers saw. */
async function playWith(
  start: StartPeer,
  { service, play, options }: Case,
): Promise<{ client: Outcome[]; server: string[] }> {
  started = event();
  ended = event();
  const server: string[] = [];
  const { unary = {}, stream = {} } = service((what) => void server.push(what));
  const peer = await start({ unary, stream }, options);
  try {
    return { client: await play(peer), server };
  } finally {
    await peer.close();
  }
}

describe('Visible results', () => {
  it.each(CASES.map((one) => [one.name, one] as const))('as with gRPC: %s', async (_name, one) => {
    const withGrpc = await playWith(startGrpc, one);
    expect(withGrpc).toEqual({ client: one.client, server: one.server ?? [] });
    expect(await playWith(startDrpc, one)).toEqual(withGrpc);
  });
});
