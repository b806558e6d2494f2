import { metrics, type Attributes, type Meter, type MeterProvider } from '@opentelemetry/api';
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
  let place: Place | undefined;
  client.status.subscribe((status) => {
    if (status === DrpcStatus.Closed) {
      place?.leave(client);
      place = undefined;
    } else if (!place) {
      place = Place.of(options.meterProvider ?? metrics.getMeterProvider(), addressAttributes(client));
      place.join(client);
    }
  });
  return client;
}

/** The open clients of the same servers. Of numbers with the same attributes the last one stands, so they are one sum. */
class Place {
  static readonly #all = new WeakMap<MeterProvider, Map<string, Place>>();

  readonly #clients = new Set<DrpcClient>();
  readonly #watch: StatsWatch<DrpcClientStats>;
  /** The last client has left. */
  readonly #onEmpty: () => void;

  private constructor(provider: MeterProvider, attributes: Attributes, onEmpty: () => void) {
    const meter = provider.getMeter(LIBRARY, VERSION);
    this.#watch = new StatsWatch(this, attributes, meter, instrumentsOf(meter));
    this.#onEmpty = onEmpty;
  }

  static of(provider: MeterProvider, attributes: Attributes): Place {
    const places = Place.#all.get(provider) ?? new Map<string, Place>();
    Place.#all.set(provider, places);
    const key = JSON.stringify(attributes);
    const place = places.get(key) ?? new Place(provider, attributes, () => places.delete(key));
    places.set(key, place);
    return place;
  }

  get stats(): DrpcClientStats {
    const sum = { connections: 0, calls: 0, waiting: 0 };
    for (const { stats } of this.#clients) {
      sum.connections += stats.connections;
      sum.calls += stats.calls;
      sum.waiting += stats.waiting;
    }
    return sum;
  }

  join(client: DrpcClient): void {
    this.#clients.add(client);
  }

  leave(client: DrpcClient): void {
    if (!this.#clients.delete(client) || this.#clients.size > 0) return;
    this.#onEmpty();
    this.#watch.end();
  }
}

/** A client with several servers names all their hosts. */
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
