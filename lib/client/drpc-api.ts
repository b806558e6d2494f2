import type { ReadableStream } from 'node:stream/web';
import type { Observable } from 'rxjs';
import type { DrpcPattern } from '../bridge/pattern.js';
import type { DrpcRecord } from './drpc.record.js';

/*
 * A typed map of patterns is an interface whose members are the handlers' signatures, written out or taken
 * from a controller:
 *
 *   interface MathApi {
 *     sum(numbers: number[]): number;
 *     ticks(): Observable<number>;
 *     total: MathController['total'];
 *   }
 *   const math: DrpcClient<MathApi>
 */

/** The patterns of `Api`; none for a client without a map. */
export type DrpcApiPattern<Api> = keyof Api & (string | number);

/** What a client without a map takes as a pattern; nothing where there is a map. */
export type DrpcFreePattern<Api> = [DrpcApiPattern<Api>] extends [never] ? DrpcPattern : never;

/** The request of a pattern: what its handler takes first, alone or in a record. */
export type DrpcRequest<Api, P extends keyof Api> = WithRecord<RequestOf<Api[P]>>;

/** The answers of a pattern: what its handler gives, unwrapped. */
export type DrpcResponse<Api, P extends keyof Api> = Api[P] extends (...args: never[]) => infer R
  ? ValueOf<R>
  : never;

/** What `Api[P]` leaves open about the request parameter: it may be left out where the handler takes none. */
export type DrpcArguments<Api, P extends keyof Api, Rest extends unknown[]> =
  undefined extends RequestOf<Api[P]>
    ? [data?: DrpcRequest<Api, P>, ...Rest]
    : [data: DrpcRequest<Api, P>, ...Rest];

type RequestOf<Handler> = Handler extends (...args: infer A) => unknown
  ? A extends [infer First, ...unknown[]]
    ? Streamed<First>
    : A extends [(infer First)?, ...unknown[]]
      ? unknown extends First
        ? unknown
        : Streamed<First> | undefined
      : unknown
  : never;

/** A stream of requests may be given in either form, whichever the handler takes. */
type Streamed<T> = T extends Observable<infer V> | AsyncIterable<infer V>
  ? Observable<V> | AsyncIterable<V>
  : T;

type WithRecord<T> = unknown extends T ? unknown : T | DrpcRecord<T>;

type ValueOf<R> =
  R extends PromiseLike<infer V>
    ? ValueOf<V>
    : R extends Observable<infer V> | AsyncIterable<infer V> | ReadableStream<infer V>
      ? V
      : R extends void
        ? undefined
        : R;
