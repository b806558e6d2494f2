import { Injectable } from '@nestjs/common';
import type { DrpcPattern } from '../bridge/pattern.js';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import type { DrpcClient } from './drpc.client.js';
import type { DrpcCallOptions } from './drpc.record.js';

/** What a check says, in the form that `@nestjs/terminus` takes; nothing of that package is needed for it. */
export type DrpcHealthResult<Key extends string = string> = Record<Key, DrpcHealthReport>;

export interface DrpcHealthReport {
  status: 'up' | 'down';
  /** How long the server took to answer, in ms. */
  responseTime: number;
  /** Why it is down. */
  message?: string;
  /** The same as a number. */
  code?: DrpcCode;
}

export interface DrpcHealthOptions {
  /** How long the server may take, connecting included, in ms. Default: 1 s. */
  timeout?: number | undefined;
}

export interface DrpcHealthCallOptions
  extends DrpcHealthOptions, Pick<DrpcCallOptions, 'metadata' | 'encoding'> {
  /** What the rpc is called with. */
  data?: unknown;
}

/** Nobody serves it, and every DRPC server says so at once: an answer without any handler. */
const PING_RPC = '/nestjs.drpc.v1.Health/Ping';

/** Errors in which a server is well: storj/drpc gives an unknown rpc no code, and some ask first who is calling. */
const ANSWERS: readonly DrpcCode[] = [
  DrpcCode.Unimplemented,
  DrpcCode.Unknown,
  DrpcCode.PermissionDenied,
  DrpcCode.Unauthenticated,
];

/**
 * Tells whether a service can be reached, through the very client that uses it. Checks never reject.
 *
 *   @Get() @HealthCheck()
 *   check() { return this.health.check([() => this.drpc.pingCheck('math', this.math)]); }
 */
@Injectable()
export class DrpcHealthIndicator {
  /** Whether the server answers at all. It is asked each time: a connection that is open may be dead. */
  async pingCheck<Key extends string, Api extends object>(
    key: Key,
    client: DrpcClient<Api>,
    { timeout }: DrpcHealthOptions = {},
  ): Promise<DrpcHealthResult<Key>> {
    return report(key, async () => {
      try {
        await anyCall(client, PING_RPC, undefined, timeout, {});
      } catch (error) {
        if (!(error instanceof DrpcError) || !ANSWERS.includes(error.code)) throw error;
      }
    });
  }

  /** Whether a call of an rpc with one answer, or an event, is answered without an error. */
  async callCheck<Key extends string, Api extends object>(
    key: Key,
    client: DrpcClient<Api>,
    pattern: DrpcPattern,
    { data, timeout, ...options }: DrpcHealthCallOptions = {},
  ): Promise<DrpcHealthResult<Key>> {
    return report(key, () => anyCall(client, pattern, data, timeout, options));
  }
}

const DEFAULT_TIMEOUT = 1000;

function anyCall<Api extends object>(
  client: DrpcClient<Api>,
  pattern: DrpcPattern,
  data: unknown,
  timeout = DEFAULT_TIMEOUT,
  options: DrpcCallOptions,
): Promise<unknown> {
  // The map of patterns is about the service's own calls.
  return (client as unknown as DrpcClient).call(pattern, data, { ...options, timeout });
}

async function report<Key extends string>(
  key: Key,
  check: () => Promise<unknown>,
): Promise<DrpcHealthResult<Key>> {
  const start = performance.now();
  const since = (): number => Math.round(performance.now() - start);
  try {
    await check();
    return { [key]: { status: 'up', responseTime: since() } } as DrpcHealthResult<Key>;
  } catch (thrown) {
    const { code, message } = DrpcError.from(thrown);
    return { [key]: { status: 'down', responseTime: since(), message, code } } as DrpcHealthResult<Key>;
  }
}
