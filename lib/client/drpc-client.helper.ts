import type { DrpcClientOptions } from './drpc-client.options.js';
import { DrpcClient } from './drpc.client.js';

/** What `ClientsModule` and `ClientProxyFactory` take for a {@link DrpcClient}. */
export interface DrpcClientProvider<Name extends string | symbol | undefined = undefined> {
  readonly name: Name;
  readonly customClass: typeof DrpcClient;
  readonly options: Given<DrpcClientOptions>;
}

/** Without those that are `undefined`, which are none of what `@Client()` takes where TypeScript is exact about them. */
type Given<Options> = { [Name in keyof Options]: Exclude<Options[Name], undefined> };

/**
 * The entry for `ClientsModule.register()`, with options that an editor knows and the compiler checks; without
 * a name for `registerAsync()`, `ClientProxyFactory.create()` and `@Client()`.
 *
 *   ClientsModule.register([drpcClient({ name: 'MATH', url: 'drpc://127.0.0.1:4000' })])
 */
export function drpcClient<Name extends string | symbol>(
  options: DrpcClientOptions & { name: Name },
): DrpcClientProvider<Name>;
export function drpcClient(options?: DrpcClientOptions): DrpcClientProvider;
export function drpcClient({
  name,
  ...options
}: DrpcClientOptions & { name?: string | symbol } = {}): DrpcClientProvider<string | symbol | undefined> {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return { name, customClass: DrpcClient, options: Object.fromEntries(given) };
}
