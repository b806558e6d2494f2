import type { Attributes, Meter } from '@opentelemetry/api';
import type { DrpcServer } from '../transport/drpc.server.js';
import type { DrpcServerStats } from '../transport/server-stats.js';
import { SERVER_ADDRESS, SERVER_PORT } from './conventions.js';
import { StatsWatch, type Instruments } from './stats-watch.js';

/**
 * Makes metrics of a server's numbers, from when it listens until it has closed.
 * @param meter asked for when the server listens
 */
export function observeServer(server: DrpcServer, meter: () => Meter): void {
  let watch: StatsWatch<DrpcServerStats> | undefined;
  server.on('listening', () => {
    watch = new StatsWatch(server, addressAttributes(server), meter(), instrumentsOf(meter()));
  });
  server.on('close', () => watch?.end());
}

/** A process may have several servers. */
function addressAttributes(server: DrpcServer): Attributes {
  const address = server.address();
  if (address === null) return {};
  return typeof address === 'string'
    ? { [SERVER_ADDRESS]: address }
    : { [SERVER_ADDRESS]: address.address, [SERVER_PORT]: address.port };
}

function instrumentsOf(meter: Meter): Instruments<DrpcServerStats> {
  const now = (name: string, description: string, unit: string) =>
    meter.createObservableUpDownCounter(`drpc.server.${name}`, { description, unit });
  return {
    connections: now('connections', 'Clients that are connected.', '{connection}'),
    calls: now('calls', 'Calls and events under way.', '{call}'),
    handlers: now('handlers', 'Handlers that run.', '{handler}'),
    receivedBytes: now('received', 'Held for messages that were received.', 'By'),
    queuedBytes: now('queued', 'Waiting to be sent.', 'By'),
    overloads: meter.createObservableCounter('drpc.server.overloads', {
      description: 'Calls that a limit ended, or kept from beginning.',
      unit: '{call}',
    }),
  };
}
