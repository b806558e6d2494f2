import { metrics, type Attributes, type Meter } from '@opentelemetry/api';
import { assertKnownOptions } from '../bridge/options.js';
import { DrpcStatus } from '../bridge/status.js';
import type { DrpcClientStats } from '../client/client-stats.js';
import type { DrpcClient } from '../client/drpc.client.js';
import { LIBRARY, VERSION } from '../control/version.js';
import type { TelemetryOptions } from './call-telemetry.js';
import { SERVER_ADDRESS, SERVER_PORT } from './conventions.js';
import { StatsWatch, type Instruments } from './stats-watch.js';

/** Where the numbers of a client go. */
export type ClientMetricsOptions = Pick<TelemetryOptions, 'meterProvider'>;

/**
 * Makes metrics of the {@link DrpcClient.stats} of a client, until it is closed, and again when it is opened anew. Its calls
 * are the affair of {@link telemetryInterceptor}.
 * @returns the client
 * @throws TypeError for an option that there is not.
 */
export function instrumentClient<Client extends DrpcClient>(
  client: Client,
  options: ClientMetricsOptions = {},
): Client {
  assertKnownOptions(options, ['meterProvider']);
  let watch: StatsWatch<DrpcClientStats> | undefined;
  client.status.subscribe((status) => {
    if (status === DrpcStatus.Closed) {
      watch?.end();
      watch = undefined;
    } else if (!watch) {
      const meter = (options.meterProvider ?? metrics).getMeter(LIBRARY, VERSION);
      watch = new StatsWatch(client, addressAttributes(client), meter, instrumentsOf(meter));
    }
  });
  return client;
}

/** A process may have several clients; one with several servers names all their hosts. */
function addressAttributes({ addresses }: DrpcClient): Attributes {
  const [first, ...others] = addresses;
  const hosts = [...new Set(addresses.map(({ host, path }) => host || path))].filter(Boolean);
  if (!first || hosts.length === 0) return {};
  const attributes = { [SERVER_ADDRESS]: hosts.join(',') };
  return others.length === 0 && first.port > 0 ? { ...attributes, [SERVER_PORT]: first.port } : attributes;
}

function instrumentsOf(meter: Meter): Instruments<DrpcClientStats> {
  const now = (name: string, description: string, unit: string) =>
    meter.createObservableUpDownCounter(`drpc.client.${name}`, { description, unit });
  return {
    connections: now('connections', 'Connections that are open.', '{connection}'),
    calls: now('calls', 'Calls and events under way.', '{call}'),
    waiting: now('waiting', 'Calls that wait for a connection.', '{call}'),
  };
}
