/**
 * prometheus: counts requests under APISIX's metric names, beside the node's own, where a route or global rule has it.
 * Promise: label values come from configuration, consumers and targets, never from what a client wrote.
 * Source: docs/spec/plugins.md section 11, APISIX 3.18.
 */
import { Type } from "typebox";
import type { Counter, Histogram } from "../../base/metrics.ts";
import { Defaulted, definePlugin, type NodeEnv } from "../../plugin/plugin.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { RequestView, RouteInfo } from "../../plugin/request-view.ts";
import { disabledLabels, type ExtraLabels, openFamilies, type PrometheusFamilies } from "./prometheus-families.ts";

const schema = Type.Object({ prefer_name: Defaulted(Type.Boolean({ default: false })) });

export const prometheus = definePlugin({
  name: "prometheus",
  version: 0.2,
  priority: 500,
  preferRoute: true,
  schema,
  metadataSchema: disabledLabels,
  compile(conf, env) {
    const books = new Books(env, conf.prefer_name);
    return { log: (view) => count(view, books.seriesOf(view), env.clock.monotonicMs()) };
  },
  internalApis: (env) => [{ methods: ["GET"], path: env.settings.prometheus.exportUri, handle: () => exposition(env) }],
});

/** All metrics of the process that answers; the status listener has those of the whole node. */
async function exposition(env: NodeEnv): Promise<Answer> {
  const { registry } = env.metrics;
  const body = Buffer.concat(await env.metrics.chunks());
  return { status: 200, headers: ["Content-Type", registry.contentType], body, reason: "metrics" };
}

/** The time series of one route, consumer and node, bound once. */
interface Series {
  readonly request: Histogram;
  readonly upstream: Histogram;
  readonly gateway: Histogram;
  readonly ingress: Counter;
  readonly egress: Counter;
  statusOf(code: number, source: string): Counter;
}

function count(view: RequestView, series: Series, nowMs: number): void {
  const { sentMs, endMs, headMs } = view.upstream;
  const all = nowMs - view.startedMs;
  const upstream = sentMs > 0 ? Math.max(0, (endMs || headMs || nowMs) - sentMs) : 0;
  series.statusOf(view.response?.status ?? CLIENT_GONE, sourceOf(view)).inc();
  series.request.observe(all);
  if (sentMs > 0) series.upstream.observe(upstream);
  series.gateway.observe(Math.max(0, all - upstream));
  series.ingress.inc(view.receivedBytes);
  series.egress.inc(view.sentBytes);
}

const CLIENT_GONE = 499; // nginx's status for a client that went away before there was an answer

/** Who made the response: the upstream, a plugin ("apisix"), or the gateway because no upstream answered ("nginx"). */
function sourceOf(view: RequestView): string {
  if (view.response?.source === "upstream") return "upstream";
  return view.upstream.statuses.length > 0 ? "nginx" : "apisix";
}

const SERIES_MAX = 4096; // bound series per route kept here; the families themselves have their own bound
const NO_ROUTE: RouteInfo = Object.freeze({
  id: "",
  name: "",
  serviceId: "",
  serviceName: "",
  matchedUri: "",
  matchedHost: "",
});

const NONE: ExtraLabels = Object.freeze({ status: [], latency: [], bandwidth: [] });

function keyOf(consumer: string, address: string, { status, latency, bandwidth }: ExtraLabels): string {
  return [consumer, address, ...status, ...latency, ...bandwidth].join("\u0000");
}

/** Finds the series of a request: a map by route, then by consumer and node. */
class Books {
  readonly #env: NodeEnv;
  readonly #preferName: boolean;
  #metadata: unknown;
  #families: PrometheusFamilies;
  #generation: number;
  #byRoute = new WeakMap<RouteInfo, Map<string, Series>>();

  constructor(env: NodeEnv, preferName: boolean) {
    this.#env = env;
    this.#preferName = preferName;
    this.#metadata = env.metadata("prometheus");
    this.#families = openFamilies(env, this.#metadata);
    this.#generation = this.#families.generation;
  }

  seriesOf(view: RequestView): Series {
    const metadata = this.#env.metadata("prometheus");
    if (metadata !== this.#metadata || this.#families.generation !== this.#generation) this.#reload(metadata);
    const facts = view.route ?? NO_ROUTE;
    let known = this.#byRoute.get(facts);
    if (!known) {
      known = new Map();
      this.#byRoute.set(facts, known);
    }
    const consumer = view.consumer?.username ?? "";
    const extra = this.#families.extra?.(view);
    const key = extra ? keyOf(consumer, view.upstream.address, extra) : `${consumer} ${view.upstream.address}`;
    let series = known.get(key);
    if (!series) {
      if (known.size >= SERIES_MAX) known.clear();
      series = this.#bind(facts, consumer, view.upstream.address, extra ?? NONE);
      known.set(key, series);
    }
    return series;
  }

  #reload(metadata: unknown): void {
    this.#metadata = metadata;
    this.#families = openFamilies(this.#env, metadata);
    this.#generation = this.#families.generation;
    this.#byRoute = new WeakMap();
  }

  #bind(facts: RouteInfo, consumer: string, node: string, extra: ExtraLabels): Series {
    const families = this.#families;
    const route = (this.#preferName && facts.name) || facts.id;
    const service = (this.#preferName && facts.serviceName) || facts.serviceId;
    if (route !== facts.id) this.#env.metrics.named("route", facts.id, route);
    if (service !== facts.serviceId) this.#env.metrics.named("service", facts.serviceId, service);
    const latency = (type: string): Histogram =>
      families.latency([type, route, service, consumer, node], extra.latency);
    const bytes = (type: string): Counter =>
      families.bandwidth([type, route, service, consumer, node], extra.bandwidth);
    const statuses = new Map<string, Counter>();
    return {
      request: latency("request"),
      upstream: latency("upstream"),
      gateway: latency("apisix"),
      ingress: bytes("ingress"),
      egress: bytes("egress"),
      statusOf(code, source) {
        const key = `${code}${source}`;
        let counter = statuses.get(key);
        if (!counter) {
          const { matchedUri, matchedHost } = facts;
          const labels = [String(code), route, matchedUri, matchedHost, service, consumer, node] as const;
          counter = families.status(labels, source, extra.status);
          statuses.set(key, counter);
        }
        return counter;
      },
    };
  }
}
