import type { Duplex } from 'node:stream';
import { Logger } from '@nestjs/common';
import { DrpcClient } from 'nestjs-drpc';
import { createInMemoryPair } from 'nestjs-drpc/testing';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { unknownRpc } from '../../lib/conn/serve-one.js';
import { PeerServer } from '../../lib/control/peer-server.js';
import { TestClock } from '../pool/helpers/test-clock.js';

/** What a client logs, and a server of which each connection is in the hands of the test. */
function connectable() {
  const lines: string[] = [];
  for (const level of ['log', 'warn', 'error'] as const) {
    const spy = vi
      .spyOn(Logger.prototype, level)
      .mockImplementation((line: unknown) => void lines.push(`${level} ${String(line)}`));
    onTestFinished(() => spy.mockRestore());
  }
  const sockets: Duplex[] = [];
  const dial = (): Promise<Duplex> => {
    const [own, other] = createInMemoryPair();
    new PeerServer(
      other,
      { pingInterval: 0 },
      {
        accept: (stream) => {
          stream.sendError(unknownRpc(stream.rpc));
          stream.handlerEnded();
        },
      },
    );
    sockets.push(other);
    return Promise.resolve(own);
  };
  const clock = new TestClock();
  const client = new DrpcClient({ dial, clock, pingInterval: 0 });
  onTestFinished(() => client.close());
  return { client, clock, lines, sockets };
}

type Connectable = ReturnType<typeof connectable>;

/** The server ends the connection, which had lived long enough not to count as a failed attempt. */
async function lose({ client, clock, sockets }: Connectable): Promise<void> {
  await client.connect();
  clock.advance(100);
  const lost = new Promise<void>((resolve) => client.on('disconnect', () => resolve()));
  sockets.at(-1)!.destroy();
  await lost;
}

async function lose15(connection: Connectable): Promise<void> {
  for (let i = 0; i < 15; i++) await lose(connection);
}

describe('the log of a client', () => {
  it('writes ten lines of connections in ten seconds, and says at their end how many it left out', async () => {
    const server = connectable();
    await lose15(server);
    expect(server.lines).toHaveLength(10);
    expect(new Set(server.lines)).toEqual(
      new Set(['warn disconnected from dial(): connection closed by the peer']),
    );
    server.clock.advance(8_500);
    expect(server.lines).toHaveLength(10);
    server.clock.advance(1_500);
    expect(server.lines.slice(10)).toEqual(['warn 5 more lines like these were left out']);
    await lose(server);
    expect(server.lines).toHaveLength(12);
  });

  it('writes ten lines of events, whatever it has to say of connections', async () => {
    const server = connectable();
    await lose15(server);
    for (let i = 0; i < 15; i++) server.client.emit(`event ${i}`, {});
    await server.client.connect();
    await expect(server.client.call('fence')).rejects.toThrow('unknown rpc');
    expect(server.lines.filter((line) => line.startsWith('error event "event '))).toHaveLength(10);
    server.clock.advance(10_000);
    expect(server.lines.slice(20)).toEqual([
      'warn 5 more lines like these were left out',
      'warn 5 more lines like these were left out',
    ]);
  });

  it('says when it is closed how many lines it left out, and keeps no timer', async () => {
    const server = connectable();
    await lose15(server);
    await server.client.connect();
    await server.client.close();
    expect(server.lines.slice(10)).toEqual(['warn 5 more lines like these were left out']);
    expect(server.clock.pendingTimers).toBe(0);
  });
});
