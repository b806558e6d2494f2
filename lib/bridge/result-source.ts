import { isObservable } from 'rxjs';
import { IterableResult } from './iterable-result.js';
import { ObservableResult } from './observable-result.js';
import type { ResultSource, ResultTarget } from './result.js';
import { isStreamedValue } from './streamed-value.js';

/** The way to draw what a handler gave; `undefined` for a plain value. */
export function resultSource(result: unknown, target: ResultTarget): ResultSource | undefined {
  if (typeof result !== 'object' || result === null) return undefined;
  if (isObservable(result)) return new ObservableResult(result, target);
  return isStreamedValue(result) ? new IterableResult(result, target) : undefined;
}
