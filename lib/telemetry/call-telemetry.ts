import {
  metrics,
  trace,
  type Attributes,
  type Context,
  type Histogram,
  type Meter,
  type MeterProvider,
  type Span,
  type SpanKind,
  type Tracer,
  type TracerProvider,
} from '@opentelemetry/api';
import { assertKnownOptions } from '../bridge/options.js';
import { LIBRARY, VERSION } from '../control/version.js';
import type { DrpcCode } from '../errors/codes.js';
import { callAttributes, DURATION_BOUNDS, endAttributes, faultStatus, isFault } from './conventions.js';

/** Where spans and measurements go. */
export interface TelemetryOptions {
  /** Default: the global one. */
  tracerProvider?: TracerProvider | undefined;
  /** Default: the global one. */
  meterProvider?: MeterProvider | undefined;
  /** Written to all spans, and to no metric. Default: none. */
  attributes?: Attributes | undefined;
}

const OPTIONS: readonly string[] = [
  'tracerProvider',
  'meterProvider',
  'attributes',
] satisfies (keyof TelemetryOptions)[];

/** Makes a span and a duration of each call of one side. */
export class CallTelemetry {
  readonly kind: SpanKind;
  readonly #options: TelemetryOptions;
  readonly #metric: string;
  #tracer: Tracer | undefined;
  #durations: Histogram | undefined;

  /** @throws TypeError for an option that there is not. */
  constructor(kind: SpanKind, metric: string, options: TelemetryOptions) {
    assertKnownOptions(options, OPTIONS);
    this.kind = kind;
    this.#metric = metric;
    this.#options = options;
  }

  // Not before they are needed: an SDK that starts after the imports of an application is in time.
  get meter(): Meter {
    return (this.#options.meterProvider ?? metrics).getMeter(LIBRARY, VERSION);
  }

  /** A call begins, as a part of what `parent` says. */
  begin(rpc: string, parent: Context, attributes?: Attributes): CallSpan {
    this.#tracer ??= (this.#options.tracerProvider ?? trace).getTracer(LIBRARY, VERSION);
    const own = callAttributes(rpc);
    const span = this.#tracer.startSpan(
      rpc,
      { kind: this.kind, attributes: { ...this.#options.attributes, ...attributes, ...own } },
      parent,
    );
    return new CallSpan(this, span, trace.setSpan(parent, span), own);
  }

  /** @param seconds how long a call took that had these attributes */
  measure(seconds: number, attributes: Attributes, context: Context): void {
    this.#durations ??= this.meter.createHistogram(this.#metric, {
      description: 'How long calls take, from their beginning to their end.',
      unit: 's',
      advice: { explicitBucketBoundaries: DURATION_BOUNDS },
    });
    this.#durations.record(seconds, attributes, context);
  }
}

/** One call under way. */
export class CallSpan {
  /** For what happens within the call. */
  readonly context: Context;
  readonly #telemetry: CallTelemetry;
  readonly #span: Span;
  readonly #attributes: Attributes;
  readonly #begun = performance.now();
  #isEnded = false;

  constructor(telemetry: CallTelemetry, span: Span, context: Context, attributes: Attributes) {
    this.#telemetry = telemetry;
    this.#span = span;
    this.context = context;
    this.#attributes = attributes;
  }

  /**
   * The call has ended; a second time does nothing.
   * @param message what its error says; becomes that of the span
   * @param isMeant an end that is no fault whatever its code is: who has read enough has left
   */
  end(code: DrpcCode, message?: string, isMeant = false): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const isFailed = !isMeant && isFault(this.#telemetry.kind, code);
    const attributes = endAttributes(code, isFailed);
    this.#span.setAttributes(attributes);
    if (isFailed) this.#span.setStatus(faultStatus(message));
    this.#span.end();
    const seconds = (performance.now() - this.#begun) / 1000;
    this.#telemetry.measure(seconds, { ...this.#attributes, ...attributes }, this.context);
  }
}
