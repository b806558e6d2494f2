import { context, propagation, SpanKind } from '@opentelemetry/api';
import { Observable } from 'rxjs';
import { ONE_FOR_ONE, type DrpcClientInterceptor } from '../client/drpc-client.interceptor.js';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import { CallTelemetry, type TelemetryOptions } from './call-telemetry.js';
import { CLIENT_DURATION } from './conventions.js';

/**
 * An interceptor of a client that makes a span of each call, measures it, and sends the trace along in its metadata
 * (`traceparent` and what else the propagator writes). Interceptors before it see the whole, as a retry does: each
 * attempt is a span then.
 *
 * A caller that leaves before the end (unsubscribes, breaks out of its loop) ends the span with `CANCELLED`, which
 * is no fault.
 */
export function telemetryInterceptor(options: TelemetryOptions = {}): DrpcClientInterceptor {
  const telemetry = new CallTelemetry(SpanKind.CLIENT, CLIENT_DURATION, options);
  const interceptor: DrpcClientInterceptor = (call, next) =>
    new Observable((subscriber) => {
      const span = telemetry.begin(call.rpc, context.active());
      const metadata = { ...call.metadata };
      propagation.inject(span.context, metadata);
      const subscription = context.with(span.context, () =>
        next({ ...call, metadata }).subscribe({
          next: (value) => subscriber.next(value),
          error: (error) => {
            const { code, message } = DrpcError.from(error);
            span.end(code, message);
            subscriber.error(error);
          },
          complete: () => {
            span.end(DrpcCode.Ok);
            subscriber.complete();
          },
        }),
      );
      return () => {
        span.end(DrpcCode.Canceled, undefined, true);
        subscription.unsubscribe();
      };
    });
  return Object.assign(interceptor, { [ONE_FOR_ONE]: true });
}
