import { HttpAdapterHost, MetadataScanner, type ModulesContainer } from '@nestjs/core';

/** Where Nest's pattern decorators leave what they were given, on the method. */
export const TRANSPORT_METADATA = 'microservices:transport';
export const PATTERN_EXTRAS_METADATA = 'microservices:pattern_extras';

/** Which handlers of an application were pinned to a transport, as in `@MessagePattern('sum', DRPC_TRANSPORT)`. */
export class HandlerPins {
  readonly #modules: ModulesContainer;
  #transports: WeakMap<object, unknown> | undefined;

  constructor(modules: ModulesContainer) {
    this.#modules = modules;
  }

  /** Whether the application is reached in other ways as well: by HTTP, or by another transport. */
  get isHybrid(): boolean {
    let targets = 0;
    this.#modules
      .getRpcTargetRegistry()
      .subscribe(() => targets++)
      .unsubscribe();
    return targets > 1 || this.#hasHttp();
  }

  /** Whether a handler was pinned; found by the very object that its extras are. */
  isPinned(extras: object): boolean {
    this.#transports ??= this.#readTransports();
    return this.#transports.get(extras) !== undefined;
  }

  #hasHttp(): boolean {
    return [...this.#modules.values()].some(({ providers }) => {
      const host: unknown = providers.get(HttpAdapterHost)?.instance;
      return host instanceof HttpAdapterHost && Boolean(host.httpAdapter);
    });
  }

  #readTransports(): WeakMap<object, unknown> {
    const scanner = new MetadataScanner();
    const transports = new WeakMap<object, unknown>();
    for (const { controllers } of this.#modules.values()) {
      for (const { instance } of controllers.values()) {
        if (!instance) continue;
        const prototype = Object.getPrototypeOf(instance) as Record<string, object>;
        for (const name of scanner.getAllMethodNames(prototype)) {
          const method = prototype[name]!;
          const extras: unknown = Reflect.getMetadata(PATTERN_EXTRAS_METADATA, method);
          if (typeof extras !== 'object' || extras === null) continue;
          transports.set(extras, Reflect.getMetadata(TRANSPORT_METADATA, method));
        }
      }
    }
    return transports;
  }
}
