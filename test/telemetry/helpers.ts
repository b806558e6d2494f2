import { context, propagation, SpanKind, SpanStatusCode, trace, type Attributes } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  type ReadableSpan,
} from '@opentelemetry/sdk-trace-base';
import type { ClientMetricsOptions, TelemetryOptions } from 'nestjs-drpc/opentelemetry';

/** An SDK whose spans and metrics a test can read; its context and propagation are those of the process. */
export class Telemetry {
  readonly #spans = new InMemorySpanExporter();
  readonly #metrics = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  readonly #reader = new PeriodicExportingMetricReader({
    exporter: this.#metrics,
    exportIntervalMillis: 3_600_000,
  });
  readonly options: Required<Pick<TelemetryOptions, 'tracerProvider' | 'meterProvider'>> = {
    tracerProvider: new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(this.#spans)] }),
    meterProvider: new MeterProvider({ readers: [this.#reader] }),
  };

  get metricsOptions(): ClientMetricsOptions {
    return { meterProvider: this.options.meterProvider };
  }

  /** Once in a file of tests. */
  static useContexts(): void {
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  }

  /** Those that have ended, in the order of their ends. */
  get spans(): ReadableSpan[] {
    return this.#spans.getFinishedSpans();
  }

  /** Of those of `kind`, how each ended: `name CODE`, with `!` and its message where it counts as failed. */
  ends(kind: SpanKind): string[] {
    return this.spans
      .filter((span) => span.kind === kind)
      .map(({ name, attributes, status }) => {
        const failure = status.code === SpanStatusCode.ERROR ? ` ! ${status.message ?? ''}`.trimEnd() : '';
        return `${name} ${String(attributes['rpc.status_code'])}${failure}`;
      });
  }

  /** The last values of a metric, each with its attributes. */
  async metric(name: string): Promise<{ attributes: Attributes; value: unknown }[]> {
    this.#metrics.reset();
    await this.#reader.forceFlush();
    return this.#metrics
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics)
      .flatMap(({ metrics }) => metrics)
      .filter(({ descriptor }) => descriptor.name === name)
      .flatMap(({ dataPoints }) => dataPoints.map(({ attributes, value }) => ({ attributes, value })));
  }

  /** Runs `task` within a span of the application. */
  async within<T>(name: string, task: () => Promise<T>): Promise<T> {
    const tracer = this.options.tracerProvider!.getTracer('application');
    const span = tracer.startSpan(name);
    try {
      return await context.with(trace.setSpan(context.active(), span), task);
    } finally {
      span.end();
    }
  }
}
