import { defaultIfEmpty, from, isObservable, takeLast, type Observable } from 'rxjs';
import { isStreamedValue } from './streamed-value.js';

/**
 * What a handler gave, for a method that answers one message: of many values the last, of none `undefined`; a
 * plain value is itself.
 */
export function lastValue(result: unknown): unknown {
  if (isObservable(result)) return last(result);
  return isStreamedValue(result) ? last(from(result)) : result;
}

function last(values: Observable<unknown>): Observable<unknown> {
  return values.pipe(takeLast(1), defaultIfEmpty(undefined));
}
