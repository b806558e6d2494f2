import type { Uint64 } from '../wire/varint.js';

/**
 * What stands for an id as the key of a Map. V8 hashes a BigInt without a seed, so that a peer, who chooses the ids,
 * could have thousands of them share one bucket; strings are hashed with a seed of the process.
 */
export function idKey(id: Uint64): number | string {
  return typeof id === 'bigint' ? id.toString() : id;
}
