import { fileURLToPath } from 'node:url';
import { bytesPayload } from '../contestant.js';

/** `bench.proto` stays where it is; what runs is compiled into a folder beside its own. */
export const PROTO_PATH = fileURLToPath(new URL('../../../bench/bench.proto', import.meta.url));

export interface Blob {
  data: Uint8Array;
}

export function blob(size: number): Blob {
  return { data: bytesPayload(size) };
}

/** Options of the loader, in Nest's names and in its own: numbers are numbers, fields are `limitMs`, none is left out. */
export const LOADER = { keepCase: false, longs: Number, defaults: true };
