/**
 * One request's trace: what is noted while it runs, and the spans made of that when it is over.
 * Promise: one that is not sampled is its `traceparent` and nothing else; the number of spans is bounded.
 * Source: OpenTelemetry semantic conventions, HTTP spans; W3C Trace Context.
 */
import { randomFillSync } from "node:crypto";
import type { Attributes, Context, HrTime, Span } from "@opentelemetry/api";
import type { Clock } from "../../base/clock.ts";
import type { RequestTrace, RequestView, Wait } from "../../plugin/request-view.ts";
import type { SpanExport } from "./span-export.ts";

/** What traces of one configuration share. */
interface TraceParts {
  readonly exporting: SpanExport;
  readonly attributesOf: (view: RequestView) => Attributes;
  readonly clock: Clock;
  readonly hasVariables: boolean;
}

/** Tries of one request that get a span. */
const TRIES_MAX = 32;

interface Try {
  readonly spanId: string;
  readonly startMs: number;
  readonly node: string;
  readonly address: string;
  readonly port: number;
  readonly method: string;
  /** Results that were known before it. */
  readonly before: number;
  endMs: number;
  failure: string;
}

/** A trace that is passed on and not recorded. */
export class PassedTrace implements RequestTrace {
  readonly parent: string;
  readonly hasVariables: boolean;
  readonly waits = undefined;

  constructor(traceId: string, hasVariables: boolean) {
    this.parent = `00-${traceId}-${newSpanId()}-00`;
    this.hasVariables = hasVariables;
  }

  get traceId(): string {
    return this.parent.slice(3, 35);
  }

  get spanId(): string {
    return this.parent.slice(36, 52);
  }
}

export class CallTrace implements RequestTrace {
  readonly traceId: string;
  readonly spanId = newSpanId();
  readonly hasVariables: boolean;
  readonly waits: Wait[] = [];
  readonly #parts: TraceParts;
  /** Of the caller's span, if there is one. */
  readonly #context: Context;
  readonly #tries: Try[] = [];
  #isOver = false;

  constructor(parts: TraceParts, traceId: string, context: Context) {
    this.traceId = traceId;
    this.hasVariables = parts.hasVariables;
    this.#parts = parts;
    this.#context = context;
  }

  get parent(): string {
    return this.#parentOf(this.spanId);
  }

  /** Each try is a span of its own, and the parent of what the upstream does for it. */
  beginTry(view: RequestView): void {
    const tries = this.#tries;
    if (tries.length >= TRIES_MAX) return;
    this.#endTry(view);
    const { address, node, port, statuses } = view.upstream;
    const spanId = newSpanId();
    const startMs = this.#parts.clock.monotonicMs();
    const facts = { spanId, startMs, node, address, port, method: view.method, before: statuses.length };
    tries.push({ ...facts, endMs: 0, failure: "" });
    view.headers.set("traceparent", this.#parentOf(spanId), "traceparent");
  }

  /** The request is over: its spans are made and handed on. */
  end(view: RequestView): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#endTry(view);
    const { attributesOf, clock, exporting } = this.#parts;
    const endMs = clock.monotonicMs();
    const offsetMs = clock.nowMs() - endMs;
    const at = (ms: number): HrTime => timeOf(offsetMs + (ms || endMs));
    const { context, span } = exporting.startServer(
      this.#context,
      { traceId: this.traceId, spanId: this.spanId },
      nameOf(view),
      at(view.startedMs),
      attributesOf(view),
    );
    for (const wait of this.waits) {
      const attributes: Attributes = wait.plugin === "" ? {} : { "jotgate.plugin": wait.plugin };
      const name = wait.plugin === "" ? "body" : `plugin ${wait.plugin}`;
      exporting.startWait(context, newSpanId(), name, at(wait.startMs), attributes).end(at(wait.endMs));
    }
    this.#tries.forEach((one, n) => {
      const status = this.#statusOf(view, n);
      const failure = one.failure || (status === undefined ? view.reason : "");
      const child = exporting.startClient(context, one.spanId, one.method, at(one.startMs), tryFacts(one, n, status));
      fail(exporting, child, failure || (status !== undefined && status >= 400 ? String(status) : ""));
      child.end(at(one.endMs));
    });
    const status = view.response?.status ?? CLIENT_GONE;
    span.setAttributes({ "http.status_code": status, "http.response.status_code": status });
    if (view.reason !== "") span.setAttribute("jotgate.reason", view.reason);
    fail(exporting, span, status >= 500 ? view.reason || String(status) : "");
    span.end(at(endMs));
  }

  #parentOf(spanId: string): string {
    return `00-${this.traceId}-${spanId}-01`;
  }

  #endTry({ upstream }: RequestView): void {
    const last = this.#tries.at(-1);
    if (!last || last.endMs > 0) return;
    last.endMs = upstream.endMs;
    last.failure = upstream.failure;
  }

  /** What the upstream said to try `n`; undefined: nothing. */
  #statusOf({ upstream: { statuses } }: RequestView, n: number): number | undefined {
    const before = this.#tries[n]?.before ?? 0;
    const until = this.#tries[n + 1]?.before ?? statuses.length;
    return until > before ? statuses[before] || undefined : undefined;
  }
}

const CLIENT_GONE = 499; // nginx's status for a client that went away before there was an answer

function nameOf({ head, route }: RequestView): string {
  return route && route.matchedUri !== "" ? `${head.method} ${route.matchedUri}` : head.method;
}

function tryFacts({ address, method, node, port }: Try, n: number, status: number | undefined): Attributes {
  return {
    "http.request.method": method,
    "server.address": node.replace(/:\d+$/, ""),
    "server.port": port,
    "network.peer.address": address,
    "network.peer.port": port,
    ...(status === undefined ? {} : { "http.response.status_code": status }),
    ...(n === 0 ? {} : { "http.request.resend_count": n }),
  };
}

/** @param why "": it did not fail */
function fail(exporting: SpanExport, span: Span, why: string): void {
  if (why === "") return;
  span.setAttribute("error.type", why);
  span.setStatus({ code: exporting.errorStatus });
}

function timeOf(ms: number): HrTime {
  const seconds = Math.floor(ms / 1_000);
  return [seconds, Math.floor((ms - seconds * 1_000) * 1_000_000)];
}

/** Random digits for many ids, drawn at once. */
const POOL = Buffer.alloc(4_096);
let digits = "";
let used = 0;

function randomHex(length: number): string {
  if (used + length > digits.length) {
    digits = randomFillSync(POOL).toString("hex");
    used = 0;
  }
  used += length;
  return digits.slice(used - length, used);
}

/** 32 hexadecimal digits. */
export function newTraceId(): string {
  return randomHex(32);
}

/** Four words of 32 bits, as the official sampler by ratio looks at an id: their exclusive or. */
export function traceIdSum(traceId: string): number {
  let sum = 0;
  for (let at = 0; at < 32; at += 8) sum ^= Number.parseInt(traceId.slice(at, at + 8), 16);
  return sum >>> 0;
}

/** 16 hexadecimal digits. */
function newSpanId(): string {
  return randomHex(16);
}
