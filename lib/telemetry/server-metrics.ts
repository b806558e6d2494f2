import type { Attributes, BatchObservableCallback, Meter, Observable } from '@opentelemetry/api';
import type { DrpcServer } from '../transport/drpc.server.js';
import type { DrpcServerStats } from '../transport/server-stats.js';
import type { CallTelemetry } from './call-telemetry.js';
import { SERVER_ADDRESS, SERVER_PORT } from './conventions.js';

type Instrument = [observable: Observable, number: keyof DrpcServerStats];

/** Makes metrics of a server's numbers, from when it listens until it has closed. */
export function observeStats(server: DrpcServer, telemetry: CallTelemetry): void {
  let watch: StatsWatch | undefined;
  server.on('listening', () => {
    watch = new StatsWatch(server, telemetry.meter);
  });
  server.on('close', () => watch?.end());
}

/** The metrics of a server while it listens once. */
class StatsWatch {
  readonly #server: DrpcServer;
  readonly #meter: Meter;
  readonly #instruments: Instrument[];
  readonly #attributes: Attributes;
  #isOver = false;

  constructor(server: DrpcServer, meter: Meter) {
    this.#server = server;
    this.#meter = meter;
    this.#instruments = instrumentsOf(meter);
    this.#attributes = addressAttributes(server);
    meter.addBatchObservableCallback(this.#observe, this.#observables);
  }

  /** What is collected last stays for good, so the numbers are observed once more. */
  end(): void {
    this.#isOver = true;
  }

  get #observables(): Observable[] {
    return this.#instruments.map(([observable]) => observable);
  }

  readonly #observe: BatchObservableCallback = (result) => {
    const { stats } = this.#server;
    for (const [observable, number] of this.#instruments) {
      result.observe(observable, stats[number], this.#attributes);
    }
    // Not in here: the callbacks are being gone through.
    if (this.#isOver) {
      queueMicrotask(() => this.#meter.removeBatchObservableCallback(this.#observe, this.#observables));
    }
  };
}

/** A process may have several servers. */
function addressAttributes(server: DrpcServer): Attributes {
  const address = server.address();
  if (address === null) return {};
  return typeof address === 'string'
    ? { [SERVER_ADDRESS]: address }
    : { [SERVER_ADDRESS]: address.address, [SERVER_PORT]: address.port };
}

function instrumentsOf(meter: Meter): Instrument[] {
  const now = (name: string, description: string, unit: string) =>
    meter.createObservableUpDownCounter(name, { description, unit });
  return [
    [now('drpc.server.connections', 'Clients that are connected.', '{connection}'), 'connections'],
    [now('drpc.server.calls', 'Calls and events under way.', '{call}'), 'calls'],
    [now('drpc.server.handlers', 'Handlers that run.', '{handler}'), 'handlers'],
    [now('drpc.server.received', 'Held for messages that were received.', 'By'), 'receivedBytes'],
    [now('drpc.server.queued', 'Waiting to be sent.', 'By'), 'queuedBytes'],
    [
      meter.createObservableCounter('drpc.server.overloads', {
        description: 'Calls that a limit ended, or kept from beginning.',
        unit: '{call}',
      }),
      'overloads',
    ],
  ];
}
