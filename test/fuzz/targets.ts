import { controlTarget } from './control.target.js';
import { frameReaderTarget } from './frame-reader.target.js';
import { clientManagerTarget, serverManagerTarget } from './manager.target.js';
import { errorPayloadTarget, metadataTarget } from './payloads.target.js';
import type { Target } from './target.js';

/** All that is fuzzed. */
export const targets: readonly Target[] = [
  frameReaderTarget,
  serverManagerTarget,
  clientManagerTarget,
  controlTarget,
  metadataTarget,
  errorPayloadTarget,
];
