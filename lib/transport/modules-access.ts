import { ModulesContainer } from '@nestjs/core';

/** A strategy that wants to know the modules of the application it serves. */
export interface ModulesUser {
  [USE_MODULES](modules: ModulesContainer): void;
}

export const USE_MODULES: unique symbol = Symbol.for('nestjs-drpc.use-modules');

const PATCHED = Symbol.for('nestjs-drpc.modules-access');

/**
 * Lets strategies of ours see the modules of their application. Nest gives a strategy its handlers without
 * saying which of them were pinned to it, but it announces every strategy to the container of the modules,
 * where tracing agents hear of it; here the strategy hears of the container. Done once a process.
 */
export function giveModulesToStrategies(): void {
  const prototype = ModulesContainer.prototype as ModulesContainer & { [PATCHED]?: boolean };
  if (prototype[PATCHED]) return;
  const announce = (modules: ModulesContainer, target: unknown): void => {
    if (typeof target === 'object' && target !== null && USE_MODULES in target) {
      (target as ModulesUser)[USE_MODULES](modules);
    }
  };
  const { addRpcTarget } = Object.getOwnPropertyDescriptors(prototype);
  const original = addRpcTarget.value as (this: ModulesContainer, target: unknown) => void;
  prototype.addRpcTarget = function (this: ModulesContainer, target: unknown): void {
    announce(this, target);
    original.call(this, target);
  };
  Object.defineProperty(prototype, PATCHED, { value: true });
}
