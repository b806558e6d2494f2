import { GoProcess, type GoModule } from './go-process.js';

/** What a Go client says of a scenario; see test/interop/go/README.md. */
export interface GoResult {
  readonly scenario: string;
  readonly ok: boolean;
  readonly problem?: string;
  readonly code?: number;
  readonly error?: string;
  readonly details?: readonly { readonly typeUrl: string; readonly value: string }[];
  readonly class?: 'eof' | 'canceled' | 'deadline' | 'closed' | 'rpc';
  readonly connection?: 'open' | 'closed';
  readonly notes?: Readonly<Record<string, unknown>>;
}

/** A Go client that plays one scenario. */
export class GoClient {
  readonly #process: GoProcess;

  private constructor(process: GoProcess) {
    this.#process = process;
  }

  /** Its cancels wait for {@link goOn}. */
  static async start(
    module: GoModule,
    where: number | string,
    scenario: string,
    args: readonly string[] = [],
  ): Promise<GoClient> {
    const address = ['--addr', addressOf(where)];
    return new GoClient(
      await GoProcess.start(module, 'client', [...address, '--scenario', scenario, '--interactive', ...args]),
    );
  }

  /** Plays a scenario that waits for nobody. */
  static async play(
    module: GoModule,
    where: number | string,
    scenario: string,
    args?: readonly string[],
  ): Promise<GoResult> {
    return (await GoClient.start(module, where, scenario, args)).result();
  }

  /** Plays scenarios one after another; their cancels come after `cancelAfter` ms. */
  static async playAll(
    module: GoModule,
    where: number | string,
    scenarios: readonly string[],
    cancelAfter: number,
    args: readonly string[],
  ): Promise<GoResult[]> {
    const address = ['--addr', addressOf(where)];
    const names = ['--scenario', scenarios.join(','), '--cancel-after', `${cancelAfter}ms`];
    const process = await GoProcess.start(module, 'client', [...address, ...names, ...args]);
    const results: GoResult[] = [];
    for (let i = 0; i < scenarios.length; i++) results.push(await process.json<GoResult>());
    await process.close();
    return results;
  }

  /** Resolves when it is about to cancel. */
  async ready(): Promise<void> {
    const line = await this.#process.json<{ event?: string }>();
    if (line.event !== 'ready') throw new Error(`the client is done already: ${JSON.stringify(line)}`);
  }

  /** Lets it cancel. */
  goOn(): void {
    this.#process.say('');
  }

  async result(): Promise<GoResult> {
    const result = await this.#process.json<GoResult>();
    await this.#process.close();
    return result;
  }
}

/** A port of this machine, or the path of a unix socket. */
function addressOf(where: number | string): string {
  return typeof where === 'number' ? `127.0.0.1:${where}` : where;
}
