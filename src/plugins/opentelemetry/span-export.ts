/**
 * The OpenTelemetry packages, loaded when the first configuration needs them, and the way of spans to a collector: a bounded
 * queue, batches as OTLP over HTTP, sent in the background. Promise: nothing here waits on behalf of a request, throws, or keeps
 * the process from ending; what is lost is counted by cause; addresses that the node denies are never called.
 */
import { setMaxListeners } from "node:events";
import { createRequire } from "node:module";
import { hostname } from "node:os";
import type { Attributes, Context, HrTime, Span, SpanKind, Tracer } from "@opentelemetry/api";
import type { BatchSpanProcessor, ReadableSpan, SpanExporter, SpanProcessor } from "@opentelemetry/sdk-trace-base";
import { type Static, Type } from "typebox";
import { sleep } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { openLimitedWarn, type Warn } from "../../base/log.ts";
import type { Counter, Gauge } from "../../base/metrics.ts";
import { type ExchangeAnswer, type GuardedExchange, openExchange } from "../../base/net/guarded-exchange.ts";
import { makeStringsFast } from "../../base/v8-tuning.ts";
import { Defaulted, type NodeEnv, type StateRegistry } from "../../plugin/plugin.ts";
import { confHash } from "../shared/schema-parts.ts";

const Plain = { anyOf: [{ type: "boolean" }, { type: "number" }, { type: "string" }] };
const PlainMap = Type.Unsafe<Readonly<Record<string, boolean | number | string>>>({
  type: "object",
  additionalProperties: Plain,
});
/** `host:port`, or a URL to which `/v1/traces` is added. */
const ADDRESS = "^(https?://)?([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?(/[^\\s?#]*)?$";

/** Members of the plugin's metadata. */
export const collectorSchema = {
  resource: Type.Optional(PlainMap),
  collector: Defaulted(
    Type.Object(
      {
        address: Defaulted(Type.String({ pattern: ADDRESS, default: "127.0.0.1:4318" })),
        request_timeout: Defaulted(Type.Integer({ minimum: 1, maximum: 60, default: 3 })),
        request_headers: Type.Optional(PlainMap),
      },
      { default: { address: "127.0.0.1:4318", request_timeout: 3 } },
    ),
  ),
  batch_span_processor: Defaulted(
    Type.Object(
      {
        drop_on_queue_full: Type.Optional(Type.Boolean()),
        max_queue_size: Defaulted(Type.Integer({ minimum: 1, maximum: 100_000, default: 2_048 })),
        batch_timeout: Defaulted(Type.Number({ minimum: 0.01, maximum: 600, default: 5 })),
        inactive_timeout: Type.Optional(Type.Number({ minimum: 0 })),
        max_export_batch_size: Defaulted(Type.Integer({ minimum: 1, maximum: 100_000, default: 256 })),
      },
      { default: {} },
    ),
  ),
};
const Collecting = Type.Object(collectorSchema);
type Collecting = Pick<Static<typeof Collecting>, keyof typeof collectorSchema>;

const load = createRequire(import.meta.url);
let packages: ReturnType<typeof loadAll> | undefined;

function loadAll() {
  const api: typeof import("@opentelemetry/api") = load("@opentelemetry/api");
  const core: typeof import("@opentelemetry/core") = load("@opentelemetry/core");
  const resources: typeof import("@opentelemetry/resources") = load("@opentelemetry/resources");
  const sdk: typeof import("@opentelemetry/sdk-trace-base") = load("@opentelemetry/sdk-trace-base");
  const otlp: typeof import("@opentelemetry/otlp-transformer") = load("@opentelemetry/otlp-transformer");
  makeStringsFast();
  return { api, core, resources, sdk, otlp };
}

export type Packages = ReturnType<typeof loadAll>;

/** Takes some 100 ms the first time. */
export function loadPackages(): Packages {
  packages ??= loadAll();
  return packages;
}

interface SpanIds {
  readonly traceId: string;
  readonly spanId: string;
}

/** Of one batch, until it is given up. */
const ATTEMPTS = 3;
const PAUSE_MS = 500;
/** At the end of the process, for all that waits; less than what a worker has when its requests are over. */
const FLUSH_MS = 1_500;
const ANSWER_BYTES = 65_536;
const ATTRIBUTE_LENGTH = 4_096;
/** Statuses after which OTLP says that a batch may be sent again. */
const AGAIN: ReadonlySet<number> = new Set([429, 502, 503, 504]);

/** All spans for one collector; shared by every configuration with the same metadata. */
export class SpanExport implements SpanProcessor, SpanExporter {
  readonly errorStatus: number;
  readonly #packages = loadPackages();
  readonly #env: NodeEnv;
  readonly #warn: Warn;
  readonly #most: number;
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #exchange: GuardedExchange;
  readonly #abort = new AbortController();
  readonly #batches: BatchSpanProcessor;
  readonly #tracer: Tracer;
  readonly #counts: Readonly<Record<"exported" | "queue_full" | "failed" | "rejected" | "late", Counter>>;
  readonly #queued: Gauge;
  readonly #underWay = new Set<Promise<void>>();
  #waiting = 0;
  readonly #closing = new AbortController();
  /** The ids that the next span gets. */
  #next: SpanIds = { traceId: "", spanId: "" };

  static hold(conf: Collecting, env: NodeEnv): ReturnType<typeof env.states.hold<SpanExport>> {
    const key = `opentelemetry:${confHash(conf)}`;
    const states: StateRegistry = env.states;
    return states.hold(
      key,
      () => new SpanExport(conf, env),
      (state) => state.close(),
    );
  }

  constructor({ batch_span_processor: batch, collector, resource }: Collecting, env: NodeEnv) {
    const { api, resources, sdk } = this.#packages;
    this.#env = env;
    setMaxListeners(0, this.#abort.signal, this.#closing.signal); // bounded by the batches that fit in the queue
    this.#warn = openLimitedWarn(env.log, env.clock);
    this.errorStatus = api.SpanStatusCode.ERROR;
    this.#most = batch.max_queue_size;
    const address = collector.address.replace(/\/+$/, "");
    this.#url = `${/^https?:\/\//.test(address) ? address : `http://${address}`}/v1/traces`;
    const given = Object.entries(collector.request_headers ?? {}).map(([name, value]) => [name, String(value)]);
    this.#headers = { ...Object.fromEntries(given), "Content-Type": "application/x-protobuf" };
    const timeoutMs = collector.request_timeout * 1_000;
    this.#exchange = openExchange({
      ...{ clock: env.clock, timeoutMs, answerBytes: ANSWER_BYTES, signal: this.#abort.signal },
      denied: env.settings.deniedAddresses,
      nameServers: env.settings.nameServers,
    });
    const spans = env.metrics.counter("jotgate_opentelemetry_spans_total", "Spans by what became of them", ["outcome"]);
    this.#counts = {
      exported: spans.child("exported"),
      queue_full: spans.child("queue_full"),
      failed: spans.child("failed"),
      rejected: spans.child("rejected"),
      late: spans.child("late"),
    };
    this.#queued = env.metrics.gauge("jotgate_opentelemetry_queued_spans", "Spans that wait to be sent").child();
    this.#batches = new sdk.BatchSpanProcessor(this, {
      maxQueueSize: batch.max_queue_size,
      maxExportBatchSize: Math.min(batch.max_export_batch_size, batch.max_queue_size),
      scheduledDelayMillis: batch.batch_timeout * 1_000,
      exportTimeoutMillis: ATTEMPTS * (timeoutMs + ATTEMPTS * PAUSE_MS * 2),
    });
    this.#tracer = new sdk.BasicTracerProvider({
      resource: resources
        .defaultResource()
        .merge(resources.resourceFromAttributes({ "service.name": "APISIX", hostname: hostname(), ...resource })),
      sampler: new sdk.AlwaysOnSampler(), // whoever starts a span has decided
      idGenerator: { generateTraceId: () => this.#next.traceId, generateSpanId: () => this.#next.spanId },
      spanLimits: { attributeValueLengthLimit: ATTRIBUTE_LENGTH },
      spanProcessors: [this],
    }).getTracer("jotgate");
  }

  /** @param context of the caller's span, or the empty one @returns the context for spans below it */
  startServer(context: Context, ids: SpanIds, name: string, startTime: HrTime, attributes: Attributes) {
    const { SpanKind, trace } = this.#packages.api;
    const span = this.#start(context, ids, name, SpanKind.SERVER, startTime, attributes);
    return { span, context: trace.setSpan(context, span) };
  }

  startClient(context: Context, spanId: string, name: string, startTime: HrTime, attributes: Attributes): Span {
    const { CLIENT } = this.#packages.api.SpanKind;
    return this.#start(context, { traceId: "", spanId }, name, CLIENT, startTime, attributes);
  }

  startWait(context: Context, spanId: string, name: string, startTime: HrTime, attributes: Attributes): Span {
    const { INTERNAL } = this.#packages.api.SpanKind;
    return this.#start(context, { traceId: "", spanId }, name, INTERNAL, startTime, attributes);
  }

  onStart(): void {
    // Spans are made when they are over.
  }

  onEnd(span: ReadableSpan): void {
    if (this.#closing.signal.aborted) this.#counts.late.inc();
    else if (this.#waiting >= this.#most) this.#counts.queue_full.inc();
    else {
      this.#wait(1);
      this.#batches.onEnd(span);
    }
  }

  export(spans: ReadableSpan[], done: (result: { code: number }) => void): void {
    const { SUCCESS } = this.#packages.core.ExportResultCode;
    this.#wait(-spans.length);
    const sending = this.#send(spans).then(() => {
      this.#underWay.delete(sending);
      done({ code: SUCCESS });
    });
    this.#underWay.add(sending);
  }

  forceFlush(): Promise<void> {
    return this.#batches.forceFlush();
  }

  async shutdown(): Promise<void> {
    // The batches call it when they are done; there is nothing to end but what `close` ends.
  }

  /** Sends what waits, for a bounded time; never rejects. */
  async close(): Promise<void> {
    this.#closing.abort();
    const timer = this.#env.clock.after(FLUSH_MS, () => this.#abort.abort());
    await this.#batches.shutdown().catch((error: unknown) => this.#warn({ why: messageOf(error) }, LOST));
    await Promise.all(this.#underWay); // the batches know only of those that they sent now
    timer.cancel();
    this.#abort.abort();
  }

  #start(
    context: Context,
    ids: SpanIds,
    name: string,
    kind: SpanKind,
    startTime: HrTime,
    attributes: Attributes,
  ): Span {
    this.#next = ids;
    return this.#tracer.startSpan(name, { kind, startTime, attributes }, context);
  }

  #wait(spans: number): void {
    this.#waiting += spans;
    this.#queued.add(spans);
  }

  /** Takes bounded time; never rejects: whoever asked has nothing to do about it. */
  async #send(spans: ReadableSpan[]): Promise<void> {
    try {
      const body = Buffer.from(this.#packages.otlp.ProtobufTraceSerializer.serializeRequest(spans) ?? []);
      const answer = await this.#post(body, ATTEMPTS);
      if (answer.status !== 200) throw new Error(`status ${answer.status}`);
      const rejected = this.#rejectedOf(answer.body, spans.length);
      this.#counts.rejected.inc(rejected);
      this.#counts.exported.inc(spans.length - rejected);
    } catch (error) {
      this.#counts.failed.inc(spans.length);
      this.#warn({ why: messageOf(error), spans: spans.length }, LOST);
    }
  }

  async #post(body: Buffer, attempts: number): Promise<ExchangeAnswer> {
    const { signal } = this.#closing;
    for (let n = 1; ; n++) {
      const isLast = n >= attempts || signal.aborted;
      try {
        const answer = await this.#exchange({ method: "POST", url: this.#url, headers: this.#headers, body });
        if (isLast || !AGAIN.has(answer.status)) return answer;
      } catch (error) {
        if (isLast) throw error;
      }
      await sleep(this.#env.clock, PAUSE_MS * n * (0.5 + Math.random()), signal);
    }
  }

  /** Of a partial success; an answer that cannot be read rejects nothing. */
  #rejectedOf(body: Buffer, sent: number): number {
    try {
      const { partialSuccess } = this.#packages.otlp.ProtobufTraceSerializer.deserializeResponse(body);
      return Math.min(sent, Math.max(0, Number(partialSuccess?.rejectedSpans ?? 0)));
    } catch {
      return 0;
    }
  }
}

const LOST = "spans could not be sent to the collector";
