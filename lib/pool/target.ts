import { lookup as lookupName } from 'node:dns/promises';
import type { Timer } from '../clock/clock.js';
import { ClosedError } from '../errors/drpc-error.js';
import {
  checkedLookup,
  formatAddress,
  isNamed,
  isSameServer,
  spread,
  type Address,
  type LookupAddress,
} from './address.js';
import { Endpoint, Want, type EndpointHost } from './endpoint.js';
import { RetryPause } from './retry-pause.js';

/** How long a name server may hold up the dialling of servers that it named before, in ms. */
const KNOWN_TIMEOUT = 1000;

/** What the user named: one server, or a name behind which there may be several. */
export class Target {
  readonly #host: EndpointHost;
  readonly #address: Address;
  readonly #pause: RetryPause;
  #endpoints: Endpoint[] = [];
  #retired: Endpoint[] = [];
  #isLookingUp = false;
  #resolving: Promise<readonly LookupAddress[]> | undefined;
  /** Until the name is looked up although all is well. */
  #refreshTimer: Timer | undefined;
  #giveUpLookup: ((error: Error) => void) | undefined;
  #closeCause: Error | undefined;

  constructor(host: EndpointHost, address: Address) {
    this.#host = host;
    this.#address = address;
    this.#pause = new RetryPause(host.clock, host.options.backoff);
    if (!isNamed(address)) this.#endpoints = [new Endpoint(host, address)];
  }

  get endpoints(): readonly Endpoint[] {
    return this.#endpoints;
  }

  /** Servers that are gone from the name and have calls to finish. */
  get retired(): readonly Endpoint[] {
    return this.#retired;
  }

  /** Whether an attempt is under way. */
  get isDialing(): boolean {
    return this.#isLookingUp || this.#endpoints.some((endpoint) => endpoint.dialing > 0);
  }

  /** Dials what is missing; looks the name up before where servers are not known or do not answer. */
  ensure(want: Want): void {
    if (this.#closeCause || this.#isLookingUp) return;
    if (this.#shouldLookUp(want)) void this.#lookUp(want);
    else this.#ensureAll(want);
  }

  #ensureAll(want: Want): void {
    this.#host.countOnce(() => {
      for (const endpoint of this.#endpoints) endpoint.ensure(want);
    });
  }

  /** Ends everything now; resolves when all sockets are closed. */
  async close(cause: Error): Promise<void> {
    this.#closeCause = cause;
    this.#pause.cancel();
    this.#refreshTimer?.cancel();
    this.#giveUpLookup?.(cause);
    await Promise.all([...this.#endpoints, ...this.#retired].map((endpoint) => endpoint.close(cause)));
  }

  #shouldLookUp(want: Want): boolean {
    if (!isNamed(this.#address)) return false;
    if (this.#endpoints.length > 0) {
      // Not for each further connection: a server that answers is where it was.
      return this.#endpoints.some(
        (endpoint) => (endpoint.usable === 0 || endpoint.isFailing) && endpoint.missing(want) > 0,
      );
    }
    if (want === Want.KeepUp && !this.#host.isKeptUp) return false;
    if (want === Want.Connect || this.#pause.isOver(want === Want.Call)) return true;
    this.#pause.arm(() => this.#host.retry());
    return false;
  }

  async #lookUp(want: Want): Promise<void> {
    this.#isLookingUp = true;
    this.#pause.cancel();
    let found: readonly LookupAddress[] = [];
    let error: unknown;
    try {
      found = await this.#resolve();
    } catch (failure) {
      error = failure;
    }
    if (this.#closeCause) return;
    if (found.length > 0) {
      this.#pause.clear();
      this.#adopt(spread(this.#address, found));
    }
    this.#isLookingUp = false;
    // A name server that does not answer is no reason to forget what it said before.
    if (this.#endpoints.length > 0) {
      this.#refreshLater();
      this.#ensureAll(want);
      return this.#host.tried();
    }
    this.#pause.begin();
    // What is wrong with the function is for whoever wrote it.
    const reason = error instanceof TypeError ? error.message : 'the name is not known';
    const message = `cannot connect to ${formatAddress(this.#address)}: ${reason}`;
    this.#host.failed(new ClosedError(message, { cause: error }));
  }

  #refreshLater(): void {
    const { lookupInterval } = this.#host.options;
    this.#refreshTimer?.cancel();
    if (lookupInterval === 0) return;
    this.#refreshTimer = this.#host.clock.after(lookupInterval, () => void this.#refresh());
  }

  /** Looks for servers that have come or gone. Nobody waits for it: what is known goes on, and may be dialled. */
  async #refresh(): Promise<void> {
    const found = await this.#resolve().catch(() => []);
    // What is being looked up for a dial as well is adopted there.
    if (this.#closeCause || this.#isLookingUp) return;
    let want = Want.KeepUp;
    if (found.length > 0) {
      this.#isLookingUp = true;
      // Whoever waits for a server that is gone would hear of no other.
      if (this.#adopt(spread(this.#address, found))) want = Want.Connect;
      this.#isLookingUp = false;
    }
    this.#refreshLater();
    this.#ensureAll(want);
  }

  /** Keeps the servers that are still there, and lets go of the others. Answers whether one of those was being dialled. */
  #adopt(addresses: readonly Address[]): boolean {
    const gone = new Set(this.#endpoints);
    this.#endpoints = addresses.map((address) => {
      const known = [...gone].find((endpoint) => isSameServer(endpoint.address, address));
      if (!known) return new Endpoint(this.#host, address);
      gone.delete(known);
      known.address = address;
      return known;
    });
    this.#retired = [...this.#retired.filter(({ links }) => links.size > 0), ...gone];
    const isDialing = [...gone].some(({ dialing }) => dialing > 0);
    for (const endpoint of gone) endpoint.retire(new ClosedError('the server is gone from its name'));
    return isDialing;
  }

  /** The addresses behind the name; those who ask at the same time share one look-up. */
  #resolve(): Promise<readonly LookupAddress[]> {
    this.#resolving ??= this.#ask().finally(() => {
      this.#resolving = undefined;
    });
    return this.#resolving;
  }

  #ask(): Promise<readonly LookupAddress[]> {
    const { lookup = lookUpAll, connectTimeout } = this.#host.options;
    // Where servers are known, they are dialled rather than waited for.
    const limit = this.#endpoints.length > 0 ? Math.min(connectTimeout, KNOWN_TIMEOUT) : connectTimeout;
    let timer: Timer;
    return new Promise<readonly LookupAddress[]>((resolve, reject) => {
      this.#giveUpLookup = reject;
      timer = this.#host.clock.after(limit, () =>
        reject(new ClosedError(`no answer from the name server within ${limit} ms`)),
      );
      lookup(this.#address.host).then(resolve, reject);
    })
      .then(checkedLookup)
      .finally(() => {
        this.#giveUpLookup = undefined;
        timer.cancel();
      });
  }
}

function lookUpAll(host: string): Promise<LookupAddress[]> {
  return lookupName(host, { all: true, verbatim: true });
}
