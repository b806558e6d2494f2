import type { Attributes, BatchObservableCallback, Meter, Observable } from '@opentelemetry/api';

/** A metric for each number of `Stats`. */
export type Instruments<Stats> = Record<keyof Stats & string, Observable>;

/** Makes metrics of the numbers of one server or client, until told to end. */
export class StatsWatch<Stats extends { readonly [Name in keyof Stats]: number }> {
  readonly #source: { readonly stats: Stats };
  readonly #attributes: Attributes;
  readonly #meter: Meter;
  readonly #instruments: [name: keyof Stats, observable: Observable][];
  #isOver = false;

  /** @param source the server or client, whose numbers have these attributes */
  constructor(
    source: { readonly stats: Stats },
    attributes: Attributes,
    meter: Meter,
    instruments: Instruments<Stats>,
  ) {
    this.#source = source;
    this.#attributes = attributes;
    this.#meter = meter;
    this.#instruments = Object.entries(instruments) as [keyof Stats, Observable][];
    meter.addBatchObservableCallback(this.#observe, this.#observables);
  }

  /** What is collected last stays for good, so the numbers are observed once more. */
  end(): void {
    this.#isOver = true;
  }

  get #observables(): Observable[] {
    return this.#instruments.map(([, observable]) => observable);
  }

  readonly #observe: BatchObservableCallback = (result) => {
    const { stats } = this.#source;
    for (const [name, observable] of this.#instruments) {
      result.observe(observable, stats[name], this.#attributes);
    }
    // Not in here: the callbacks are being gone through.
    if (this.#isOver) {
      queueMicrotask(() => this.#meter.removeBatchObservableCallback(this.#observe, this.#observables));
    }
  };
}
